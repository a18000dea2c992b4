"""Rule refresh_manifests: rewrite each manifest whose experiment or folder has changed."""

import logging
from pathlib import Path

from lanflow.core.errors import UserError
from lanflow.core.files import write_text
from lanflow.study.config import StudyConfig
from lanflow.tracking.store import resolve_store
from lanflow.workflow.refresh import refresh_manifests

logging.basicConfig(format="%(message)s", level=logging.INFO)
study = StudyConfig.model_validate(snakemake.params.study)
try:
    changed = refresh_manifests(study, resolve_store())
except UserError as error:
    raise SystemExit(f"refresh_manifests: {error}") from None
text = f"changed: {', '.join(changed)}" if changed else "no manifest changed"
write_text(Path(snakemake.log[0]), text + "\n")
logging.getLogger().info("%s", text)
