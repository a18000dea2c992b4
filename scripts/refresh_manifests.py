"""Rule refresh_manifests: rewrite each manifest whose experiment or folder has changed."""

from lanflow.workflow.script import hand_over, log_to

hand_over()  # before what takes seconds to import

import sys

from lanflow.core.errors import UserError
from lanflow.study.config import StudyConfig
from lanflow.tracking.store import resolve_store
from lanflow.workflow.refresh import refresh_manifests

log_to(snakemake.log[0])
study = StudyConfig.model_validate(snakemake.params.study)
try:
    changed = refresh_manifests(study, resolve_store())
except UserError as error:
    raise SystemExit(f"refresh_manifests: error: {error}") from None
text = f"changed: {', '.join(changed)}" if changed else "no manifest changed"
sys.stderr.write(f"{text}\n")
