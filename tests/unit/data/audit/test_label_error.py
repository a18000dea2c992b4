from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanflow.data.audit.measure import audit_data_set, label_error
from lanflow.data.dataset import DataSet
from lanflow.data.locate import Places
from lanflow.data.packing import materialise
from lanflow.data.prepare import PackedData, freeze
from lanflow.report.sections import describe_audit
from tests.conftest import training_file_content, write_training_file


def packed_of(folder: Path, relabel: str | None, **keys: Any) -> PackedData:
    write_training_file(folder / "files/a.pickle", training_file_content(n_sets=30, n_per_set=60))
    manifest = freeze(
        query=None, places=Places(folder=folder / "files"), model="ddm", relabel=relabel
    )
    return PackedData(materialise(manifest, folder / "packed"), manifest)


@pytest.fixture
def exact(tmp_path: Path) -> PackedData:
    return packed_of(tmp_path, "analytic")


def with_labels_off_by(data_set: DataSet, folder: Path, by: np.ndarray | float) -> DataSet:
    """A copy with labels of the lan changed."""
    (folder / "arrays").mkdir(parents=True)
    for path in (data_set.folder / "arrays").glob("lan_*.npy"):
        array = np.load(path)
        np.save(folder / "arrays" / path.name, array + by if "labels" in path.name else array)
    return replace(data_set, folder=folder)


def test_exact_labels_have_no_error(exact: PackedData) -> None:
    error = label_error(exact.data_set)
    assert error is not None
    assert error.n_rows > 400
    assert error.percentile_99 < 1e-5


def test_an_error_of_labels_is_found_with_its_sign(exact: PackedData, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shape = exact.data_set.shapes["lan"][0], 1
    noise = rng.normal(0.1, 0.5, shape).astype("f4")
    error = label_error(with_labels_off_by(exact.data_set, tmp_path / "off", noise))
    assert error is not None
    assert error.mean_difference == pytest.approx(0.1, abs=0.08)
    assert error.median_absolute == pytest.approx(0.35, abs=0.08)
    assert error.mean_absolute == pytest.approx(0.41, abs=0.08)
    assert error.percentile_99 == pytest.approx(1.3, abs=0.4)


@pytest.mark.parametrize("model", ["race_3", "weibull", "full_ddm"])
def test_a_model_whose_likelihood_is_not_known_has_none(exact: PackedData, model: str) -> None:
    assert label_error(replace(exact.data_set, model=model)) is None


def test_names_of_another_model_have_none(exact: PackedData) -> None:
    assert label_error(replace(exact.data_set, parameters=("v", "a", "z", "x"))) is None
    assert label_error(replace(exact.data_set, shapes={})) is None


def test_the_audit_and_its_table_say_how_far_labels_are_off(exact: PackedData) -> None:
    audit = audit_data_set(exact.data_set, exact.manifest)
    assert audit.label_error is not None
    assert audit.label_error == label_error(exact.data_set)
    record = audit.model_dump()
    table = dict(describe_audit(record))
    (text,) = [value for name, value in table.items() if "exact log-likelihood" in name]
    assert text.startswith("mean absolute ")
    assert f"({audit.label_error.n_rows:,} rows)" in text
    none = describe_audit({**record, "label_error": None})
    assert len(none) == len(table) - 1
