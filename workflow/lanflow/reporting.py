"""What a person sees when a study has run to its end: the report, and what is still to be sent."""

import logging
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from lanflow.atomic import write_text
from lanflow.study import StudyConfig
from lanflow.unsent_runs import describe_unsent

log = logging.getLogger(__name__)

REPORT_NAME = "report.html"
STUDY_NAME = "study.yaml"


def write_report(study: StudyConfig, products: Iterable[str], *, snakefile: str) -> Path | None:
    """Write ``report.html`` and the configuration as used, ``study.yaml``, into the results.

    Parameters
    ----------
    study
        The configuration; a run of parts of the workflow makes no report.
    products
        What must be there; a report newer than all of them is kept.
    snakefile
        The workflow.

    Returns
    -------
    Path or None
        The report, if all of the study was made.
    """
    import yaml

    paths = [Path(product) for product in products]
    if not all(path.exists() for path in paths):
        return None
    results = Path(study.results)
    report = results / REPORT_NAME
    newest = max(path.stat().st_mtime for path in paths)
    if not report.exists() or report.stat().st_mtime <= newest:
        # Credentials stay in the environment, where the store was found.
        settings = study.model_dump(mode="json", exclude={"tracking"})
        write_text(results / STUDY_NAME, yaml.safe_dump(settings, sort_keys=False))
        _run_snakemake(snakefile, results / STUDY_NAME, report)
    sys.stderr.write(f"report: {report}\n")
    return report


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


def _run_snakemake(snakefile: str, study_path: Path, report: Path) -> None:
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", snakefile),
        *("--configfile", str(study_path), "--profile", "none", "--workflow-profile", "none"),
        *("--cores", "1", "--nolock", "--report", str(report)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise RuntimeError(f"snakemake --report failed:\n{done.stdout}{done.stderr}")
