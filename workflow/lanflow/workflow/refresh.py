"""Rewriting manifests whose experiment or folder has changed; the others keep their files."""

import logging
from pathlib import Path

from lanflow.core.files import write_json
from lanflow.data.generation.config import read_models_file
from lanflow.data.locate import Places
from lanflow.data.manifest import read_manifest
from lanflow.data.prepare import download_absent, freeze, query_experiment
from lanflow.study.config import DataConfig, StudyConfig
from lanflow.tracking.store import Store

log = logging.getLogger(__name__)

# Folder of downloaded training files in a model's results; the same as in rule write_manifest.
DOWNLOADS_NAME = "downloaded"


def refresh_manifests(study: StudyConfig, store: Store) -> list[str]:
    """Rewrite each manifest whose experiment or folder has changed.

    Data that the study generates itself is skipped, because its rules keep it up to date.

    Parameters
    ----------
    study
        The workflow's configuration.
    store
        The store of the experiments.

    Returns
    -------
    list of str
        Models whose manifest changed.

    Raises
    ------
    UserError
        If an experiment or files are missing; the manifest of that model is not changed.
    """
    changed = []
    for model, config in study.models.items():
        folder = Path(study.results, model)
        if config.data.source == "generate" or not (folder / "manifest.json").exists():
            continue
        data, places = config.data, _places_of(config.data)
        query = None
        if data.experiment is not None:
            query = query_experiment(store, data.experiment, data.run_selection)
            places = download_absent(store, query, places, folder / DOWNLOADS_NAME)
        manifest = freeze(
            query=query,
            places=places,
            model=model,
            relabel=data.relabel,
            drop_invalid=data.drop_invalid,
            models_file=read_models_file(study.models_file),
        )
        old = read_manifest(folder / "manifest.json")
        if old.digest == manifest.digest:
            log.info("%s: unchanged, %d file(s)", model, len(manifest.files))
            continue
        if query is not None:
            write_json(folder / "query.json", query.model_dump())
        write_json(folder / "manifest.json", manifest.model_dump())
        changed.append(model)
        log.info("%s: %d file(s), were %d", model, len(manifest.files), len(old.files))
    return changed


def _places_of(data: DataConfig) -> Places:
    """Return the folders in which a model's training files are."""
    return Places(
        folder=None if data.folder is None else Path(data.folder),
        root=None if data.root is None else Path(data.root),
        path_map=data.path_map,
        use_extra_files=data.use_extra_files,
    )
