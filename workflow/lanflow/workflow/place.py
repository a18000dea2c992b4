"""The place of the workflow, and how Snakemake uses it: alone, or as a module of another workflow.

This is the only file that knows Snakemake's objects. Snakemake can read a Snakefile from a
checkout, from another working directory, as a module with a prefix for its paths, or from a
repository on the web.
"""

import atexit
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lanflow.core.errors import UserError
from lanflow.core.files import absolute
from lanflow.tracking.store import redact


class WorkflowPlace:
    """The workflow whose ``workflow/Snakefile`` Snakemake is reading."""

    def __init__(self, workflow: Any) -> None:
        self._workflow = workflow
        self._folder = workflow.current_basedir  # of workflow/Snakefile
        self._modifier = workflow.modifier

    @property
    def is_module(self) -> bool:
        """True if another workflow uses this one as a module."""
        return not self._modifier.is_main_snakefile()

    @property
    def is_main_process(self) -> bool:
        """True in the process that the user started, False in its jobs."""
        return bool(self._workflow.is_main_process)

    @property
    def config_paths(self) -> list[Path]:
        """The configuration files that Snakemake merged, in order of increasing precedence."""
        given = list(map(Path, self._workflow.overwrite_configfiles))
        in_snakefiles = [
            Path(path) for path in self._workflow.configfiles if Path(path) not in given
        ]
        return [*in_snakefiles, *given]

    @property
    def has_given_config(self) -> bool:
        """True if the command line names a configuration file."""
        return bool(self._workflow.overwrite_configfiles)

    @property
    def uses_conda(self) -> bool:
        """True if jobs run in conda environments that Snakemake creates."""
        methods = self._workflow.deployment_settings.deployment_method
        return any(method.name == "CONDA" for method in methods)

    def workflow_file(self, name: str) -> str | None:
        """Return the path of one of the workflow's own files, or None if there is no such file.

        The name is relative to the workflow's root or to its ``config/``.
        """
        source: Any
        for parent in ("..", "../config"):
            source = self._folder.join(f"{parent}/{name}")
            if isinstance(source, os.PathLike):
                path = absolute(source)
                if path.exists():
                    return str(path)
            elif self._workflow.sourcecache.exists(source):
                return str(self._workflow.sourcecache.get_path(source))
        return None

    @property
    def pip_requirement(self) -> str | None:
        """The requirement for ``pip install`` of this workflow's lanflow; None if unknown."""
        folder = self._folder
        if isinstance(folder, os.PathLike):
            return str(absolute(folder).parent)
        if hasattr(folder, "repo_path"):
            return f"git+file://{absolute(folder.repo_path)}@{folder.ref}"
        if hasattr(folder, "repo"):
            return f"git+https://{folder.host}/{folder.repo}@{folder.ref}"
        return None

    def tell(self, text: str) -> None:
        """Write lines to the person who started the build, in order with what Snakemake writes."""
        if self.is_module:  # which ends after Snakemake's logger
            sys.stderr.write(f"{text}\n")
            return
        from snakemake.logging import logger

        logger.info("%s", text)

    def with_prefix(self, path: str) -> str:
        """Return a relative path of this workflow's rules with the prefix of the module, if any."""
        return str(self._modifier.path_modifier.replace_prefix(path))

    def set_default_target(self, rule: str) -> None:
        """Make a rule the default; named as in this workflow's Snakefile."""
        name = self._modifier.modify_rulename(rule)
        if self._workflow.is_rule(name):
            self._workflow.default_target = name

    def at_module_end(self, action: Callable[[], None]) -> None:
        """Call a function when the jobs of a module are over, whether they failed or not.

        Snakemake does not run ``onsuccess`` and ``onerror`` of a module. So the function is called
        as the process ends, in the working directory of the jobs. It is not called after a dry-run
        or with ``--no-hooks``.
        """
        if self.is_module and self.is_main_process:
            atexit.register(self._end, action, Path.cwd())

    def jobs_here(self, without: str) -> Counter[int]:
        """Count the jobs that Snakemake is about to run on this machine, by their threads.

        They do not count if it submits jobs to a scheduler, runs them in environments or containers
        of their own, or only touches their files.

        Parameters
        ----------
        without
            A rule that does nothing.
        """
        deployment = self._workflow.deployment_settings.deployment_method
        if not self._workflow.local_exec or deployment or self._workflow.touch:
            return Counter()
        name = self._modifier.modify_rulename(without)
        jobs = self._workflow.dag.needrun_jobs()
        return Counter(int(job.threads) for job in jobs if job.rule.name != name)

    def will_run(self, *rules: str) -> bool:
        """Tell whether Snakemake is about to run a job of one of these rules."""
        names = {self._modifier.modify_rulename(rule) for rule in rules}
        return any(job.rule.name in names for job in self._workflow.dag.needrun_jobs())

    def is_complete(self, rule: str) -> bool:
        """Tell whether a rule was a target of this Snakemake run and every job is done."""
        name, dag = self._modifier.modify_rulename(rule), self._workflow.dag
        if dag is None or self._workflow.touch:
            return False
        is_asked_for = any(job.rule.name == name for job in dag.jobs)
        return is_asked_for and next(iter(dag.needrun_jobs()), None) is None

    def _end(self, action: Callable[[], None], directory: Path) -> None:
        if not self._has_run_jobs():
            return
        os.chdir(directory)
        try:
            action()
        except UserError as e:
            sys.stderr.write(f"{redact(str(e))}\n")
            logging.shutdown()
            sys.stderr.flush()
            sys.stdout.flush()
            os._exit(1)  # the only way to set the exit status while Python ends

    def _has_run_jobs(self) -> bool:
        workflow = self._workflow
        is_real = workflow.executor_plugin is not None and not workflow.dryrun
        return is_real and not workflow.touch and not workflow.execution_settings.no_hooks
