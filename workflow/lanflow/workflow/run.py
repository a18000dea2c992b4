"""The start and the end of a study: prepare the store, send unsent runs, check the results."""

import os
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
from lanflow.tracking.preflight import PreparedStore
from lanflow.tracking.store import Store, redact
from lanflow.tracking.sync import describe_unsent


def prepare_store(
    store: Store,
    experiments: Sequence[str],
    record_path: Path,
    tell: Callable[[str], None],
) -> None:
    """Run ``lanflow prepare``, unless its record says that it was done for this store.

    This is not a rule, because jobs that depend on such a rule would either run again with it or
    be skipped (Snakemake issue 4166). A store that was prepared once is not contacted again; jobs
    handle a store that does not answer.

    Parameters
    ----------
    store, experiments
        The store, and the names of the experiments, that jobs will use.
    record_path
        The record of ``lanflow prepare``.
    tell
        Writes lines to the person who started the build.

    Raises
    ------
    UserError
        If the store would fail a job. The command has written the reason to standard error.
    """
    if _is_prepared(store, experiments, record_path):
        return
    program = str(Path(sys.executable).with_name("lanflow"))
    command = [program, "prepare", *experiments, "--output", str(record_path)]
    tell(f"making the MLflow store ready: {store.shown_uri}")
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)  # noqa: S603
    if done.returncode != 0:
        raise UserError(f"the MLflow store is not ready ({store.shown_uri}), so no job was started")


def _is_prepared(store: Store, experiments: Sequence[str], record_path: Path) -> bool:
    """Tell whether the record of an earlier ``lanflow prepare`` covers these experiments."""
    try:
        record = PreparedStore.model_validate_json(record_path.read_text())
    except (OSError, ValueError):
        return False
    known = {experiment.name for experiment in record.experiments}
    location = redact(store.artifact_location or "") or None
    is_same_store = (record.tracking_uri, record.artifact_location) == (store.shown_uri, location)
    return is_same_store and known.issuperset(experiments)


def describe_start(study: StudyConfig, log_paths: Sequence[str]) -> str:
    """Name a study as it begins, and where its results and logs go.

    Parameters
    ----------
    study
        The study that is made.
    log_paths
        Of Snakemake itself.
    """
    own = ", ".join(str(Path(os.path.relpath(path))) for path in log_paths)
    logs = f"logs in {study.results}/logs/" + (f" and {own}" if own else "")
    return f"study {study.study}: results in {study.results}/, {logs}"


def end_study(
    study: StudyConfig,
    generations: Mapping[str, GenerationConfig],
    trainings: Iterable[Training],
    is_made: Callable[[], bool],
    tell: Callable[[str], None],
) -> None:
    """Send runs that MLflow lacks and, if the study is complete, check it and say what came out.

    Called once jobs are over, whether they failed or not.

    Parameters
    ----------
    study, generations, trainings
        As for :func:`lanflow.study.check.check_study`.
    is_made
        Tells whether Snakemake considers the whole study done; only then it is checked.
    tell
        Writes lines to the person who started the build.

    Raises
    ------
    UserError
        If files of the study are missing or of an older study.
    """
    send_unsent(study, tell)
    if is_made():
        from lanflow.report.ending import describe_ending

        check_study(study, generations, trainings)
        tell(describe_ending(Path(study.results)))


def send_unsent(study: StudyConfig, tell: Callable[[str], None]) -> None:
    """Run ``lanflow sync`` if runs are still to be sent, and say how many could not be sent.

    The machine that started the study may reach a store that its jobs did not reach.
    """
    results = Path(study.results)
    if not describe_unsent([results]):
        return
    command = ["lanflow", "sync", str(results)]
    tell(f"sending runs that MLflow did not get yet: {shlex.join(command)}")
    program = str(Path(sys.executable).with_name(command[0]))
    subprocess.run([program, *command[1:]], stdout=subprocess.DEVNULL, check=False)  # noqa: S603
    left = describe_unsent([results])
    tell(left or "MLflow: every run was sent")
