"""What is done before a study's first job and after its last."""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from lanflow.core.errors import UserError
from lanflow.data.generation.config import GenerationConfig
from lanflow.study.check import check_study
from lanflow.study.config import StudyConfig
from lanflow.study.trainings import Training
from lanflow.tracking.store import Store, redact
from lanflow.tracking.sync import describe_unsent

# Before the first job of a study: the store is made ready, or nothing starts.


def prepare_store(store: Store, experiments: Sequence[str], record_path: Path) -> None:
    """Run ``lanflow prepare``, unless its record says that it was done for this store.

    Not a rule: whatever waited for such a job would either run again with it, or be passed over
    (Snakemake issue 4166). A store that was ready once may be silent now; jobs know what to do.

    Raises
    ------
    UserError
        If the store would fail a job. The command has said why.
    """
    if _is_prepared(store, experiments, record_path):
        return
    program = str(Path(sys.executable).with_name("lanflow"))
    command = [program, "prepare", *experiments, "--output", str(record_path)]
    sys.stderr.write(f"making the MLflow store ready: {store.shown_uri}\n")
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)  # noqa: S603
    if done.returncode != 0:
        raise UserError(f"the MLflow store is not ready ({store.shown_uri}), so no job was started")


def _is_prepared(store: Store, experiments: Sequence[str], record_path: Path) -> bool:
    try:
        record = json.loads(record_path.read_text())
        known = {experiment["name"] for experiment in record["experiments"]}
        of_store = record["tracking_uri"], record["artifact_location"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    asked = store.shown_uri, redact(store.artifact_location or "") or None
    return of_store == asked and known.issuperset(experiments)


# What happens when a study has ended, well or not: runs that wait are sent to MLflow.


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
        As for :func:`lanflow.study.check.check_study`.
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
