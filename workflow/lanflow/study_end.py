"""What happens when a study has ended, well or not: runs that wait are sent to MLflow."""

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from lanflow.generation_config import GenerationConfig
from lanflow.study import StudyConfig
from lanflow.study_check import check_study
from lanflow.trainings import Training
from lanflow.unsent_runs import describe_unsent


def end_study(
    study: StudyConfig,
    generations: Mapping[str, GenerationConfig],
    trainings: Iterable[Training],
    is_made: Callable[[], bool],
) -> None:
    """Do what is left once jobs are over, whether they failed or not.

    Parameters
    ----------
    study, generations, trainings
        As for :func:`lanflow.study_check.check_study`.
    is_made
        Whether Snakemake holds the whole study for made; then it is looked at.

    Raises
    ------
    UserError
        If it is not whole.
    """
    send_unsent(study)
    if is_made():
        check_study(study, generations, trainings)


def send_unsent(study: StudyConfig) -> None:
    """Send runs that wait beside the results, and say which still do and how to send them.

    Done where the study was started, which may reach the store that its jobs did not reach.
    """
    results = Path(study.results)
    if not describe_unsent([results]):
        return
    command = ["lanflow", "sync", str(results)]
    sys.stderr.write(f"sending runs that MLflow did not get yet: {shlex.join(command)}\n")
    program = str(Path(sys.executable).with_name(command[0]))
    subprocess.run([program, *command[1:]], stdout=subprocess.DEVNULL, check=False)  # noqa: S603
    left = describe_unsent([results])
    sys.stderr.write(f"{left or 'MLflow: every run was sent'}\n")
