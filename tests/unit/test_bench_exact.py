import importlib.util
from types import ModuleType
from typing import Any

import pytest

from lanflow.models.simulators import find_model
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_exact", REPOSITORY / "bench" / "exact.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_every_model_with_its_source_and_test(bench: Any) -> None:
    page = (REPOSITORY / "docs" / "exact.md").read_text()
    for model in bench.exact_models():
        rows = [line for line in page.splitlines() if line.startswith(f"| `{model.name}` |")]
        row = max(rows, key=lambda line: line.count("|"))  # its chapter may have its name
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[1] in ("analytic", "solver")
        test = REPOSITORY / "tests" / "unit" / "models" / cells[-1].strip("`")
        assert test.exists()
        # What is asked of labels, from the page: mean, 99th percentile, largest, above 1.
        mean, percentile, largest, above = map(float, cells[3:7])
        assert mean < 2e-3
        assert percentile < 2e-2
        assert largest < 1
        assert above < 5e-3


def test_a_row_is_measured(bench: Any) -> None:
    name, source, milliseconds, mean, *_, test = bench.measured(find_model("lba2"), 1)
    assert (name, source, test) == ("`lba2`", "analytic", "`exact/test_ballistic.py`")
    assert float(milliseconds) < 1000
    assert float(mean) < 1e-9
