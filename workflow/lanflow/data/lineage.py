"""The lineage of a network: the files of its manifest, and those that its training used.

``training_data_lineage.json`` in a network's folder has LANfactory's keys, then ours.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

from lanflow.data.manifest import Manifest


class _LineageFile(TypedDict):
    """A file of the data set, as the manifest froze it."""

    name: str
    sha256: str
    size_bytes: int
    run_id: str | None


class Lineage(TypedDict):
    """The content of ``training_data_lineage.json``: LANfactory's keys (version 0.7.0), then ours.

    LANfactory writes the keys down to ``data_gen_runs_info``; ``extra_files`` to ``missing_files``
    compare the folder with what the runs of the experiment say.
    """

    data_generation_experiment_id: str | None
    data_generation_experiment_name: str | None
    expected_files: list[str]
    expected_num_runs: int
    training_data_folder: str
    actual_files_found: list[str]
    actual_files_used: list[str]
    num_files_used: int
    missing_files: list[str]
    extra_files: list[str]
    data_gen_runs_info: list[dict[str, object]]
    data_digest: str
    label_source: str | None
    model: str
    split_by: str
    training_files: list[str]
    validation_files: list[str]
    n_training_parameter_sets: int
    n_validation_parameter_sets: int
    files: list[_LineageFile]
    dropped_rows: NotRequired[dict[str, int]]
    started_from: NotRequired[dict[str, object]]


def describe_lineage(
    manifest: Manifest,
    *,
    train_files: Sequence[str],
    val_files: Sequence[str],
    n_train_sets: int,
    n_val_sets: int,
) -> Lineage:
    """Describe what of a manifest a training used.

    Parameters
    ----------
    manifest
        What the data set was packed from.
    train_files, val_files
        Names of the files that rows of each side come from.
    n_train_sets, n_val_sets
        Parameter sets on each side; no set is on both.
    """
    names = [file.name for file in manifest.files]
    extra = set(manifest.extra_files)
    experiment = manifest.experiment
    used = sorted({*train_files, *val_files})
    lineage: Lineage = {
        "data_generation_experiment_id": None if experiment is None else experiment.id,
        "data_generation_experiment_name": None if experiment is None else experiment.name,
        "expected_files": [name for name in names if name not in extra],
        "expected_num_runs": len(manifest.runs),
        "training_data_folder": common_folder(manifest),
        "actual_files_found": sorted({*names, *extra}),
        "actual_files_used": used,
        "num_files_used": len(used),
        "missing_files": sorted({name for each in manifest.left_out for name in each.files}),
        "extra_files": manifest.extra_files,
        "data_gen_runs_info": [run.model_dump() for run in manifest.runs],
        "data_digest": manifest.digest,
        "label_source": manifest.label_source,
        "model": manifest.model,
        "split_by": "parameter set",
        "training_files": list(train_files),
        "validation_files": list(val_files),
        "n_training_parameter_sets": n_train_sets,
        "n_validation_parameter_sets": n_val_sets,
        "files": [
            {
                "name": file.name,
                "sha256": file.sha256,
                "size_bytes": file.size_bytes,
                "run_id": file.run_id,
            }
            for file in manifest.files
        ],
    }
    if manifest.drop_invalid:
        lineage["dropped_rows"] = manifest.dropped_rows
    return lineage


def common_folder(manifest: Manifest) -> str:
    """The folder of a manifest's files; if there are several, all of them, separated by commas."""
    return ", ".join(sorted({str(Path(file.path).parent) for file in manifest.files}))
