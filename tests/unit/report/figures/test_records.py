import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from lanflow.core.figures import BLUE, ORANGE
from lanflow.data.audit.measure import audit_data_set
from lanflow.data.prepare import PackedData
from lanflow.report.figures.records import draw_audit
from tests.conftest import training_file_content
from tests.unit.core.test_figures import n_pixels_of
from tests.unit.data.audit.test_measure import audit_of, same_sets


@pytest.fixture
def record(packed: PackedData) -> dict[str, Any]:
    return audit_data_set(packed.data_set, packed.manifest).model_dump()


def image_of(record: dict[str, Any]) -> np.ndarray:
    """The picture as an array (height, width, colours)."""
    image: np.ndarray = imread(io.BytesIO(draw_audit(record).png()))
    return image[:, :, :3]


def n_orange_pixels_of_title(record: dict[str, Any]) -> int:
    return n_pixels_of(image_of(record)[:30], ORANGE)


def test_parameters_and_trials_are_drawn(record: dict[str, Any]) -> None:
    image = image_of(record)
    height = len(image)
    bars = np.array(to_rgb(BLUE)) * 0.75 + 0.25
    is_bar = (np.abs(image - bars) < 0.02).all(axis=2)
    assert is_bar[: height // 2].sum() > 2000
    for colour in (BLUE, ORANGE):
        assert n_pixels_of(image[height // 2 :], colour) > 50


def test_repeats_colour_the_title(record: dict[str, Any], tmp_path: Path) -> None:
    assert n_orange_pixels_of_title(record) == 0
    assert n_orange_pixels_of_title(audit_of(tmp_path, *same_sets(2)).model_dump()) > 100


def test_many_parameters_take_more_rows_of_the_figure(record: dict[str, Any]) -> None:
    few = image_of(record)
    parameters = record["coverage"]["parameters"]
    parameters |= {f"p{i}": parameters["v"] for i in range(3)}
    many = image_of(record)
    assert many.shape[1] == few.shape[1]
    assert many.shape[0] > few.shape[0] + 150


def test_data_without_trials_or_without_bounds_can_be_drawn(tmp_path: Path) -> None:
    content = training_file_content()
    del content["lan_data"]
    image_of(audit_of(tmp_path / "one", content).model_dump())
    content = training_file_content()
    del content["model_config"]["param_bounds"]
    image_of(audit_of(tmp_path / "two", content).model_dump())
    del content["lan_data"]
    image_of(audit_of(tmp_path / "three", content).model_dump())


def test_the_same_audit_gives_the_same_bytes(record: dict[str, Any]) -> None:
    assert draw_audit(record).png() == draw_audit(record).png()
    changed = {**record, "model": "angle"}
    assert draw_audit(record).png() != draw_audit(changed).png()
