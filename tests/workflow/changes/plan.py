"""A finished study without its heavy work, and what Snakemake plans for it.

The real Snakefile and rules, by Snakemake's own programming interface: a command would spend ten
times as long on starting. Outputs are files that hold their own name; `touch` in Snakemake's sense
writes down that they were made by these jobs with these params.
"""

import contextlib
import io
import logging
import os
import unittest.mock
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lanflow.tracking import store as exported
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
    from snakemake.settings.types import ExecutionSettings

    with _dag(folder, environment) as dag:
        outputs = [output for job in dag.jobs for output in job.output]
    for output in outputs:
        path = folder / str(output)
        if output.is_directory:
            path.mkdir(parents=True, exist_ok=True)
        elif not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(output))
    with _workflow(folder, environment or {}, forceall=forceall) as workflow:
        workflow.execute_workflow(
            executor="touch", execution_settings=ExecutionSettings(lock=False, no_hooks=True)
        )


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
    exported._exported.clear()
    os.environ.update(environment)
    os.chdir(folder)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stderr(io.StringIO()),
            unittest.mock.patch("snakemake.workflow.parse", _parse),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        os.chdir(here)
        os.environ.clear()
        os.environ.update(before)
        logging.getLogger("snakemake").handlers.clear()


# What Snakemake's parser makes of a file, by path, text, and how many rules stand before it.
_PARSED: dict[tuple[str, str, int], tuple[str, int, dict[int, int]]] = {}


def _parse(path: Any, workflow: Any, linemap: dict[int, int], rulecount: int) -> tuple[str, int]:
    """Snakemake's parser, asked once for a text: it takes a quarter of the time of a plan."""
    from snakemake.parser import parse

    with workflow.sourcecache.open(path) as file:
        key = path.get_path_or_uri(secret_free=True), file.read(), rulecount
    if key not in _PARSED:
        lines: dict[int, int] = {}
        _PARSED[key] = (*parse(path, workflow, lines, rulecount=rulecount), lines)
    code, n_rules, lines = _PARSED[key]
    linemap |= lines
    return code, n_rules
