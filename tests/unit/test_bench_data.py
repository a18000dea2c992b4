import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY


@pytest.mark.slow
def test_the_benchmark_of_data_compares_every_source_in_one_run() -> None:
    size = ["--files", "3", "--sets", "2", "--simulations", "500", "--rows", "50"]
    shown = subprocess.run(
        [sys.executable, str(REPOSITORY / "bench" / "data.py"), *size],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    lines = {line[:28].strip(): line[28:].split() for line in shown[3:]}
    sources = ["exact_kde", "kde", "pyddm", "solver", "analytic"]
    assert list(lines) == ["ssm-simulators generate", *(f"lanflow {name}" for name in sources)]
    # Seconds a set, distinct vectors "2 of 6", mean and median error.
    assert lines["ssm-simulators generate"][1:4] == ["2", "of", "6"]
    for name in sources:
        assert lines[f"lanflow {name}"][1:4] == ["6", "of", "6"]
    errors = {name: float(values[4]) for name, values in lines.items()}
    assert errors["lanflow analytic"] < 1e-4 < errors["ssm-simulators generate"]
    assert errors["lanflow solver"] < 1e-2
    assert all(float(values[0]) > 0 for values in lines.values())
