import numpy as np

from lanflow.evaluation.recovery.fit import Fit, FittedSubject
from lanflow.evaluation.recovery.posterior import Posterior
from lanflow.evaluation.recovery.record import (
    LikelihoodRecovery,
    PosteriorRecovery,
    likelihood_record,
    posterior_record,
)
from lanflow.evaluation.recovery.subjects import Subject
from lanflow.models.parameters import Bounds
from lanflow.networks.network import Network
from lanflow.report.figures.records import draw_recovery
from tests.made_networks import exact_choice, made


def record(n_parameters: int, *, n_subjects: int = 6, spread: float = 0.1) -> LikelihoodRecovery:
    network, subjects = made_up(n_parameters, n_subjects)
    no = np.zeros(n_parameters, bool)
    fits = [
        FittedSubject(-100.0, Fit(subject.theta + spread, -98.0, no, no)) for subject in subjects
    ]
    return likelihood_record(network, subjects, fits, n_trials=100, seed=1)


def made_up(n_parameters: int, n_subjects: int) -> tuple[Network, list[Subject]]:
    rng = np.random.default_rng(1)
    thetas = rng.uniform(-0.8, 0.8, (n_subjects, n_parameters))
    one = np.ones(1)
    bounds = Bounds({f"p{i}": (-1.0, 1.0) for i in range(n_parameters)})
    network = made("ddm", "lan", exact_choice().outputs, bounds)
    return network, [Subject(theta, one, one, 0, 1) for theta in thetas]


def sampled(n_parameters: int, *, off: float = 0.0) -> PosteriorRecovery:
    network, subjects = made_up(n_parameters, 30)
    rng = np.random.default_rng(2)
    one = np.ones(n_parameters)
    posteriors = [
        Posterior(
            subject.theta + off + rng.normal(0, 0.05, (2, 200, n_parameters)), one, one, 0, "9.9"
        )
        for subject in subjects
    ]
    return posterior_record(network, subjects, posteriors, n_trials=100, seed=1)


def test_any_number_of_parameters_has_a_figure_of_its_own() -> None:
    sizes = {}
    for n in (1, 2, 4, 5, 7):
        png = draw_recovery(record(n)).png()
        assert png.startswith(b"\x89PNG")
        sizes[n] = tuple(int.from_bytes(png[start : start + 4]) for start in (16, 20))
    assert sizes[1][0] < sizes[2][0] == sizes[4][0] < sizes[5][0] == sizes[7][0]
    assert sizes[1][1] == sizes[2][1] < sizes[4][1] == sizes[5][1] < sizes[7][1]


def test_the_same_record_is_the_same_figure_and_another_is_not() -> None:
    assert draw_recovery(record(2)).png() == draw_recovery(record(2)).png()
    assert draw_recovery(record(2)).png() != draw_recovery(record(2, spread=0.2)).png()


def test_two_subjects_have_a_figure_that_says_why_there_are_no_ranks() -> None:
    figure = draw_recovery(record(1, n_subjects=2))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[0].startswith("no rank correlation: too few subjects\n")
    assert figure.png().startswith(b"\x89PNG")


def test_posteriors_have_ranks_under_their_values() -> None:
    heights = {}
    for n in (1, 3, 4, 5):
        png = draw_recovery(sampled(n)).png()
        assert png.startswith(b"\x89PNG")
        heights[n] = int.from_bytes(png[20:24])
    assert heights[1] == heights[3] < heights[4] == heights[5]
    assert heights[1] > int.from_bytes(draw_recovery(record(1)).png()[20:24])
    assert draw_recovery(sampled(2)).png() != draw_recovery(sampled(2, off=0.1)).png()
