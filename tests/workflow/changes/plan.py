"""A finished study without its heavy work, and what Snakemake plans for it.

The real Snakefile and rules, by Snakemake's own programming interface: a command would spend ten
times as long on starting. Outputs are files that hold their own name; `touch` in Snakemake's sense
writes down that they were made by these jobs with these params.
"""

import contextlib
import gc
import io
import logging
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lanflow.tracking import store as exported
from tests.workflow.changes.kept import answers_kept
from tests.workflow.changes.table import Edited, Job, write_files
from tests.workflow.conftest import make_checkout


def make_finished_study(folder: Path) -> None:
    """The study of the table, with a file for each that its jobs would have made."""
    make_checkout(folder)
    (folder / "more").mkdir()
    write_files(Edited(folder))
    for name in ("logs/x", "benchmarks/x", "tracking/prepared.json"):
        path = folder / "results" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    build(folder, forceall=True)


def build(
    folder: Path, environment: Mapping[str, str] | None = None, *, forceall: bool = False
) -> None:
    """Let Snakemake believe that the jobs which it would run were run."""
    from snakemake.executors import touch
    from snakemake.settings.types import ExecutionSettings

    touch.Executor.SLEEPING_TIME = 0  # it waits before each job, for whole seconds of old disks
    with _workflow(folder, environment or {}, forceall=forceall) as api:
        workflow = api.workflow_api._workflow
        build_dag = workflow._build_dag

        def build_dag_and_outputs() -> None:
            build_dag()
            _write_outputs(folder, workflow.dag.jobs)

        workflow._build_dag = build_dag_and_outputs
        api.execute_workflow(
            executor="touch", execution_settings=ExecutionSettings(lock=False, no_hooks=True)
        )


def _write_outputs(folder: Path, jobs: Iterable[Any]) -> None:
    for output in [output for job in jobs for output in job.output]:
        path = folder / str(output)
        if output.is_directory:
            path.mkdir(parents=True, exist_ok=True)
        elif not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(output))


def plan(folder: Path, environment: Mapping[str, str]) -> tuple[set[Job], set[Job]]:
    """All jobs of the study, and those that Snakemake would run."""
    with _dag(folder, environment) as dag:
        every = {_job(job) for job in dag.jobs if job.rule.name != "all"}
        planned = {_job(job) for job in dag.needrun_jobs() if job.rule.name != "all"}
        return every, planned


def _job(job: Any) -> Job:
    names = ("model", "network", "backend", "chunk", "device")
    wildcards = job.wildcards_dict
    return job.rule.name, "/".join(str(wildcards[name]) for name in names if name in wildcards)


@contextlib.contextmanager
def _dag(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[Any]:
    with _workflow(folder, environment or {}) as api:
        workflow = api.workflow_api._workflow
        workflow._prepare_dag(forceall=False, ignore_incomplete=False, lock_warn_only=True)
        workflow._build_dag()
        yield workflow.dag


@contextlib.contextmanager
def _workflow(
    folder: Path, environment: Mapping[str, str], *, forceall: bool = False
) -> Iterator[Any]:
    from snakemake.api import SnakemakeApi
    from snakemake.settings.types import (
        ConfigSettings,
        DAGSettings,
        OutputSettings,
        Quietness,
        ResourceSettings,
    )

    given = ConfigSettings(configfiles=[folder / "study.yaml"])
    with (
        _as_before(folder, environment),
        SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api,
    ):
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=given,
            snakefile=folder / "Snakefile",
            workdir=folder,
        )
        yield workflow.dag(DAGSettings(forceall=forceall))


@contextlib.contextmanager
def _as_before(folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """The variables given and no trace afterwards: the workflow sets some for its jobs."""
    before, here = dict(os.environ), Path.cwd()
    collects = gc.isenabled()
    gc.disable()  # Snakemake keeps all of a plan; looking for garbage in it finds none
    exported._exported.clear()
    os.environ.update(environment)
    os.chdir(folder)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stderr(io.StringIO()),
            answers_kept(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        os.chdir(here)
        os.environ.clear()
        os.environ.update(before)
        logging.getLogger("snakemake").handlers.clear()
        if collects:
            gc.enable()
