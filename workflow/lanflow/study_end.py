"""What happens when a study has ended, well or not: runs that wait are sent to MLflow."""

import shlex
import subprocess
import sys
from pathlib import Path

from lanflow.study import StudyConfig
from lanflow.unsent_runs import describe_unsent


def send_unsent(study: StudyConfig, *, directory: str = "") -> None:
    """Send runs that wait beside the results, and say which still do and how to send them.

    Done where the study was started, which may reach the store that its jobs did not reach.

    Parameters
    ----------
    study
        Its results are where Snakemake put them.
    directory
        What the results' folder is relative to; the working directory when left out.
    """
    results = Path(directory, study.results)
    if not describe_unsent([results]):
        return
    command = ["lanflow", "sync", str(results)]
    sys.stderr.write(f"sending runs that MLflow did not get yet: {shlex.join(command)}\n")
    program = str(Path(sys.executable).with_name(command[0]))
    subprocess.run([program, *command[1:]], stdout=subprocess.DEVNULL, check=False)  # noqa: S603
    left = describe_unsent([results])
    sys.stderr.write(f"{left or 'MLflow: every run was sent'}\n")
