"""Nothing in the workflow is Slurm's: a generic submit command runs the same jobs."""

import json

import pytest

from tests.workflow.conftest import TINY, Checkout

# The simplest scheduler there is: a job runs at once, in the background, and has a number.
SUBMIT = """\
#!/bin/sh
echo "$1" >> submitted.txt
nohup sh "$1" > "job.$$.log" 2>&1 &
echo $!
"""


@pytest.mark.slow
def test_jobs_run_through_a_generic_submit_command(checkout: Checkout) -> None:
    submit = checkout.folder / "submit"
    submit.write_text(SUBMIT)
    submit.chmod(0o755)
    record = "results/ddm/generation/chunk_0/chunk.json"
    checkout.snakemake(
        *("--executor", "cluster-generic", "--cluster-generic-submit-cmd", str(submit)),
        *("--seconds-between-status-checks", "1", "--jobs", "2", record),
        study=TINY,
    )
    submitted = (checkout.folder / "submitted.txt").read_text()
    assert "generate_data" in submitted
    # The job has reached the store itself before it simulated.
    assert len(list((checkout.folder / "results/tracking/contacts").iterdir())) == 1
    assert json.loads((checkout.folder / record).read_text())["n_files"] == 1
