"""Tags that every run of lanflow carries."""

import os

from lanflow import __version__

_SLURM_VARIABLES = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID")


def source_tags() -> dict[str, str]:
    """Who made the run, and the Slurm job it ran in."""
    tags = {"schema_version": "1", "lanflow_version": __version__, "mlflow.source.name": "lanflow"}
    for variable in _SLURM_VARIABLES:
        if os.environ.get(variable):
            tags[variable.lower()] = os.environ[variable]
    return tags
