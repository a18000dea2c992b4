import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY


@pytest.mark.slow
def test_the_benchmark_of_labels_trains_and_scores_each_source_in_one_run() -> None:
    size = ["--seconds", "0.1", "--visits", "20000", "--n-sets", "10", "--n-samples", "1000"]
    shown = subprocess.run(
        [sys.executable, str(REPOSITORY / "bench" / "labels.py"), *size],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    lines = {line[:24].strip(): line[24:].split() for line in shown[3:]}
    assert list(lines) == ["ssm-simulators generate", "lanflow kde", "lanflow auto"]
    # Distinct vectors "20 of 40": every file of theirs holds the same ones.
    assert lines["ssm-simulators generate"][:3] == ["20", "of", "40"]
    assert lines["lanflow kde"][:3] == ["40", "of", "40"]
    for values in lines.values():
        assert all(float(value) > 0 for value in values[4:7])
