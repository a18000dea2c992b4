"""Training files that releases of ssm-simulators wrote; see tests/fixtures/README.md."""

from pathlib import Path

import numpy as np
import pytest

from lanflow.data.locate import Places
from lanflow.data.packing import materialise
from lanflow.data.prepare import freeze
from lanflow.data.training_file import TrainingFileContent, read_training_file
from tests.conftest import REPOSITORY

FILES = REPOSITORY / "tests" / "fixtures" / "training_files"
BOUNDS = {
    "ddm": {"v": (-3, 3), "a": (0.3, 2.5), "z": (0.1, 0.9), "t": (0, 2)},
    "angle": {
        "v": (-3, 3),
        "a": (0.3, 3),
        "z": (0.1, 0.9),
        "t": (0.001, 2),
        "theta": (-0.1, 1.3),
    },
}
READABLE = sorted(path.name for path in FILES.iterdir() if not path.name.startswith("0.6"))
FLOOR = np.float32(-66.77497)


def read(name: str) -> TrainingFileContent:
    return read_training_file((FILES / name).read_bytes(), FILES / name)


def test_old_and_new_releases_are_here() -> None:
    versions = {name.split("_")[0] for name in READABLE}
    assert versions == {"0.8.3", "0.10.4", "0.12.5", "0.13.2", "0.15.0"}


@pytest.mark.parametrize("name", [name for name in READABLE if "race" not in name])
def test_a_file_is_read_with_model_parameters_bounds_and_arrays(name: str) -> None:
    file = read(name)
    assert file.model == name.removesuffix(".pickle").partition("_")[2]
    assert file.bounds == BOUNDS[file.model]
    assert file.parameters == tuple(file.bounds)
    assert file.generator
    n = len(file.parameters)
    assert {kind: (f.shape[1], ls.shape[1]) for kind, (f, ls) in file.arrays.items()} == {
        "lan": (n + 2, 1),
        **dict.fromkeys(("cpn", "opn", "gonogo"), (n, 1)),
    }
    features, labels = file.arrays["lan"]
    theta, shares = file.arrays["cpn"]
    assert len(theta) == 2
    low, high = np.array(list(file.bounds.values()), "f4").T
    assert ((theta >= low) & (theta <= high)).all()
    sets, counts = np.unique(features[:, :n], axis=0, return_counts=True)
    np.testing.assert_array_equal(sets, np.unique(theta, axis=0))
    assert counts[0] == counts[1] >= 11
    assert set(np.unique(features[:, -1])) <= {-1, 1}
    assert (labels[features[:, -2] < 0] == FLOOR).all()
    assert np.median(labels) > -10
    assert ((shares >= 0) & (shares <= 1)).all()
    np.testing.assert_allclose(file.arrays["gonogo"][1], 1 - shares, atol=0.02)


def test_a_model_of_three_choices_is_read() -> None:
    file = read("0.12.5_race_3.pickle")
    assert len(file.parameters) == 8
    assert file.arrays["lan"][0].shape == (24, 10)
    assert set(np.unique(file.arrays["lan"][0][:, -1])) <= {0, 1, 2}
    assert file.arrays["cpn"][1].shape == (2, 3)


def test_a_release_that_wrote_other_keys_is_read_as_data_of_likelihood_networks() -> None:
    file = read("0.6.1_ddm.pickle")
    assert list(file.arrays) == ["lan"]
    features, labels = file.arrays["lan"]
    assert features.shape[1] == len(file.parameters) + 2
    assert len(labels) == len(features)


def test_files_of_releases_are_packed_together_and_relabelled(tmp_path: Path) -> None:
    for name in READABLE:
        if name.endswith("_ddm.pickle"):
            (tmp_path / name).write_bytes((FILES / name).read_bytes())
    places = Places(folder=tmp_path)
    manifest = freeze(query=None, places=places, model="ddm", relabel="analytic")
    data_set = materialise(manifest, tmp_path / "packed")
    # Two of the releases draw the same vectors in every file.
    assert (data_set.n_sets, len(data_set.files)) == (8, 5)
    features, labels = (np.asarray(data_set.array("lan", kind)) for kind in ("features", "labels"))
    old = np.concatenate([read(file.name).arrays["lan"][1] for file in data_set.files])
    # The kernel density of 200 simulations is coarse, but it is of the same thing.
    close = (labels > -5) & (features[:, -2:-1] > 0)
    assert np.median(np.abs(labels - old)[close]) < 0.5
