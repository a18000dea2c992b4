from typing import Any

import numpy as np

from lanflow.maximum_likelihood import Fit
from lanflow.recovery import Recoverable, Subject
from lanflow.recovery_plots import draw_recovery
from lanflow.recovery_record import recovery_record


def record(n_parameters: int, *, n_subjects: int = 6, spread: float = 0.1) -> dict[str, Any]:
    bounds = {f"p{i}": (-1.0, 1.0) for i in range(n_parameters)}
    rng = np.random.default_rng(1)
    no = np.zeros(n_parameters, bool)
    subjects = []
    for _ in range(n_subjects):
        true = rng.uniform(-0.8, 0.8, n_parameters)
        subjects.append(Subject(true, -100.0, Fit(true + spread, -98.0, no, no), 0))
    network = Recoverable("made up", "ddm", "jax", b"", bounds)
    return recovery_record(network, subjects, n_trials=100, seed=1)


def test_any_number_of_parameters_has_a_figure_of_its_own() -> None:
    sizes = {}
    for n in (1, 2, 4, 5, 7):
        png = draw_recovery(record(n))
        assert png.startswith(b"\x89PNG")
        sizes[n] = tuple(int.from_bytes(png[start : start + 4]) for start in (16, 20))
    assert sizes[1][0] < sizes[2][0] == sizes[4][0] < sizes[5][0] == sizes[7][0]
    assert sizes[1][1] == sizes[2][1] < sizes[4][1] == sizes[5][1] < sizes[7][1]


def test_the_same_record_is_the_same_figure_and_another_is_not() -> None:
    assert draw_recovery(record(2)) == draw_recovery(record(2))
    assert draw_recovery(record(2)) != draw_recovery(record(2, spread=0.2))


def test_two_subjects_have_a_figure_without_ranks() -> None:
    assert draw_recovery(record(1, n_subjects=2)).startswith(b"\x89PNG")
