"""Every model of the installed ssm-simulators, as far as a minute allows.

``make models`` evaluates and draws a network of each, too, and writes docs/models.md.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from lanflow.core.settings import parse_settings
from lanflow.data.generation.config import GenerationConfig
from lanflow.data.generation.generate import generate_chunk
from lanflow.data.generation.plan import ChunkPlan
from lanflow.data.training_file import TrainingFileContent, own_definition, read_training_file
from lanflow.evaluation.reference import choose_reference
from lanflow.models import catalogue
from lanflow.models.simulators import (
    draw_parameters,
    find_model,
    has_times,
    model_names,
    possible_corners,
)
from tests.catalogue import installed

TINY = {
    "PIPELINE": {"N_PARAMETER_SETS": 6},
    "SIMULATOR": {"N_SAMPLES": 100, "DELTA_T": 0.01},
    "TRAINING": {"N_SAMPLES_PER_PARAM": 20},
}


def generated(model: str, folder: Path) -> TrainingFileContent:
    config = parse_settings(GenerationConfig, {**TINY, "MODEL": model}, "generation.yaml")
    generate_chunk(ChunkPlan(config, 1, 0, 1), folder, n_processes=1)
    (path,) = (folder / "training_data").iterdir()
    return read_training_file(path.read_bytes(), path)


@pytest.mark.parametrize("name", model_names())
def test_a_model_is_simulated_written_read_back_and_has_a_reference(
    name: str, tmp_path: Path
) -> None:
    model = find_model(name)
    file = generated(name, tmp_path)
    assert file.model == name
    assert file.parameters == model.parameters
    assert dict(file.bounds) == dict(model.bounds)
    assert own_definition(file) is None  # it is the catalogue's
    assert ("lan" in file.arrays) == has_times(model)
    features = file.arrays["lan" if has_times(model) else "cpn"][0]
    assert not has_times(model) or set(np.unique(features[:, -1])) <= set(model.choices)
    assert len(np.unique(features[:, : len(model.parameters)], axis=0)) == 6
    reference = choose_reference(model)
    for vector in draw_parameters(model, model.bounds, 2, seed=1):
        theta = model.bounds.named(vector)
        once, again = (reference.simulate(theta, 20, seed=1) for _ in range(2))
        assert once[0].shape == (20,)
        np.testing.assert_array_equal(once, again)


@pytest.mark.parametrize("name", ["ddm", "race_3", "lba2", "weibull_cdf", "tradeoff_no_bias"])
def test_its_variant_with_a_deadline_too(name: str, tmp_path: Path) -> None:
    file = generated(f"{name}_deadline", tmp_path)
    assert file.model == f"{name}_deadline"
    assert file.parameters[-1] == "deadline"


@pytest.mark.parametrize(
    ("name", "above", "below"),
    [
        ("lba2", "b", "A"),
        ("lba3", "b", "A"),
        ("lba_3_vs_constraint", "a", "z"),
        ("lba_angle_3_vs_constraint", "a", "z"),
        ("lba_angle_3", "a", "z"),
    ],
)
def test_a_particle_of_the_lba_starts_below_its_bound(name: str, above: str, below: str) -> None:
    model = find_model(name)
    drawn = draw_parameters(model, model.bounds, 200, seed=1)
    columns = [drawn[:, model.parameters.index(p)] for p in (above, below)]
    assert (columns[0] > columns[1]).all()


def test_corners_that_cannot_be_are_moved_to_where_parameters_can_be() -> None:
    lba = find_model("lba3")
    corners = possible_corners(lba, lba.bounds, seed=1)
    a, b = (corners[:, lba.parameters.index(name)] for name in ("A", "b"))
    assert (b >= a).all()
    assert len(corners) == 24  # of 32, a quarter with the bound below the start
    summing = find_model("lba_3_vs_constraint")
    corners = possible_corners(summing, summing.bounds, seed=1)
    drifts = [summing.parameters.index(name) for name in ("v0", "v1", "v2")]
    np.testing.assert_allclose(corners[:, drifts].sum(axis=1), 1)
    varying = find_model("full_ddm_rv")
    corners = possible_corners(varying, varying.bounds, seed=1)
    st, t = (corners[:, varying.parameters.index(name)] for name in ("st", "t"))
    assert (st <= t).all()
    assert set(t) == set(varying.bounds["t"])
    ddm = find_model("ddm")
    found = possible_corners(ddm, ddm.bounds, seed=1)
    np.testing.assert_array_equal(found, np.unique(ddm.bounds.corners(seed=1), axis=0))


def test_a_bound_that_is_another_parameter_is_its_bound_in_the_data(tmp_path: Path) -> None:
    assert generated("full_ddm_rv", tmp_path).bounds["st"] == (0.001, 2.25)


def test_its_record_is_what_the_installed_release_says(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = json.loads(catalogue.CATALOGUE_PATH.read_text())[version("ssm-simulators")]
    assert recorded == installed(), "run 'python -m tests.catalogue'"
    names = [name + ending for name in model_names() for ending in ("", "_deadline")]
    asked = [catalogue.ask_for_entry(name) for name in (*names, "my_model")]
    monkeypatch.setattr(catalogue, "ask_for_entry", None)  # nobody is asked
    assert [catalogue.catalogue_entry(name) for name in (*names, "my_model")] == asked
    assert asked[-1] is None


def test_a_release_that_is_not_recorded_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = catalogue.ask_for_entry("angle_deadline")
    monkeypatch.setattr(catalogue, "_recorded", lambda: None)
    assert catalogue.catalogue_entry("angle_deadline") == expected
    assert catalogue.catalogue_entry("anglo") is None
