"""The manifest: what a network is trained on, frozen; and what of it a training used."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from lanflow.core.errors import UserError
from lanflow.core.files import file_sha256
from lanflow.core.settings import Settings
from lanflow.data.training_file import TrainingFileContent, read_training_file

MANIFEST_VERSION = 2


def build_manifest(
    files: Sequence[Mapping[str, Any]],
    *,
    query: Mapping[str, Any] | None,
    model: str | None,
    extra: Sequence[str] = (),
    left_out: Sequence[Mapping[str, Any]] = (),
    on_file: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Freeze what a network is trained on.

    Parameters
    ----------
    files
        From :func:`locate_files` or :func:`list_folder`.
    query
        From :func:`build_query`; ``None`` without lineage.
    model
        The model the files must be of; ``None`` takes what the first file says.
    extra
        Files in the folder that are left out.
    left_out
        Tracked files that are not whole here; from :func:`locate_files`.
    on_file
        Called after each file.

    Returns
    -------
    dict
        The manifest. Its digest depends on model, parameters, bounds and the files' contents, not
        on names, paths or runs. Labels are those in the files, see :func:`with_labels_from`.

    Raises
    ------
    UserError
        If a file cannot be read, changed (with the policy ``salvage``: if no file is whole), or is
        of another model.
    """
    frozen, head = [], None
    changed: list[Mapping[str, Any]] = []
    for file in files:
        path = Path(file["path"])
        sha256 = file_sha256(path)
        if file["sha256"] not in (None, sha256):
            error = UserError(
                f"{path}: its content changed since it was generated (sha256 {sha256[:12]}..., "
                f"recorded {file['sha256'][:12]}...)"
            )
            if query is None or query["policy"] == "complete" or len(changed) + 1 == len(files):
                raise error
            changed.append(file)
            on_file()
            continue
        if head is None:
            head = read_training_file(path.read_bytes(), path)
            _check_model(head, model, path)
        frozen.append(
            {
                "name": file["name"],
                "path": str(path.absolute()),
                "size_bytes": file["size_bytes"],
                "sha256": sha256,
                "run_id": file["run_id"],
            }
        )
        on_file()
    assert head is not None
    content = {
        "model": head.model,
        "parameters": list(head.parameters),
        "bounds": {name: list(pair) for name, pair in head.bounds.items()},
        "relabel": None,
        "files": _once_each(frozen),
    }
    return {
        "manifest_version": MANIFEST_VERSION,
        "digest": content_digest(content),
        **content,
        "experiment": None if query is None else query["experiment"],
        "runs": [] if query is None else _summarise_runs(query),
        "extra_files": list(extra),
        "left_out": _summarise_left_out(query, left_out, changed),
        "generator": dict(head.generator),
    }


def _check_model(head: TrainingFileContent, model: str | None, path: Path) -> None:
    if model is not None and head.model != model:
        raise UserError(
            f"{path}: simulated from model {head.model!r}, but {model!r} is to be trained"
        )


def _once_each(files: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Files of equal content count once: rows of a copy would weigh double."""
    first: dict[str, dict[str, Any]] = {}
    for file in files:
        first.setdefault(file["sha256"], file)
    return list(first.values())


def content_digest(manifest: Mapping[str, Any]) -> str:
    """Digest of a manifest's content: model, parameters, bounds, files, and whose labels."""
    content: dict[str, Any] = {
        "model": manifest["model"],
        "parameters": list(manifest["parameters"]),
        "bounds": {name: list(pair) for name, pair in manifest["bounds"].items()},
        "files": sorted(file["sha256"] for file in manifest["files"]),
    }
    if manifest["relabel"] is not None:
        content["relabel"] = manifest["relabel"]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def with_labels_from(manifest: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The manifest of the same files with labels computed anew: another digest."""
    relabelled = {**manifest, "relabel": source}
    return {**relabelled, "digest": content_digest(relabelled)}


def label_source_of(manifest: Mapping[str, Any]) -> str | None:
    """Where a data set's labels come from; ``None`` where the files do not say."""
    if manifest["relabel"] is not None:
        return str(manifest["relabel"])
    estimator = manifest["generator"].get("estimator")
    if not isinstance(estimator, dict):
        return None
    source = estimator.get("label_source") or estimator.get("type")
    return None if source is None else str(source)


def _summarise_runs(query: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            **{key: value for key, value in run.items() if key != "files"},
            "n_files": len(run["files"]),
        }
        for run in query["runs"]
    ]


def _summarise_left_out(
    query: Mapping[str, Any] | None,
    not_whole: Sequence[Mapping[str, Any]],
    changed: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Whole runs that the query left out (no ``files``), then files that are not whole."""
    if query is None:
        return []
    runs = [
        {**{key: entry[key] for key in ("run_id", "run_name", "reason")}, "files": []}
        for entry in query["left_out"]
    ]
    names = {run["run_id"]: run["run_name"] for run in query["runs"]}
    files = [
        {
            "run_id": run_id,
            "run_name": names[run_id],
            "reason": "not of the recorded sha256",
            "files": [file["name"] for file in changed if file["run_id"] == run_id],
        }
        for run_id in dict.fromkeys(file["run_id"] for file in changed)
    ]
    return [*runs, *map(dict, not_whole), *files]


def describe_lineage(
    manifest: Mapping[str, Any],
    *,
    train_files: Sequence[str],
    val_files: Sequence[str],
    n_train_sets: int,
    n_val_sets: int,
) -> dict[str, Any]:
    """``training_data_lineage.json``: LANfactory's keys (version 0.7.0), and what they leave out.

    Parameters
    ----------
    manifest
        What the data set was packed from.
    train_files, val_files
        Names of the files that rows of each side come from.
    n_train_sets, n_val_sets
        Parameter sets on each side; no set is on both.
    """
    names = [file["name"] for file in manifest["files"]]
    extra = set(manifest["extra_files"])
    experiment = manifest["experiment"]
    used = sorted({*train_files, *val_files})
    return {
        "data_generation_experiment_id": None if experiment is None else experiment["id"],
        "data_generation_experiment_name": None if experiment is None else experiment["name"],
        "expected_files": [name for name in names if name not in extra],
        "expected_num_runs": len(manifest["runs"]),
        "training_data_folder": common_folder(manifest),
        "actual_files_found": sorted({*names, *extra}),
        "actual_files_used": used,
        "num_files_used": len(used),
        "missing_files": sorted(
            {name for entry in manifest.get("left_out", []) for name in entry["files"]}
        ),
        "extra_files": manifest["extra_files"],
        "data_gen_runs_info": manifest["runs"],
        "data_digest": manifest["digest"],
        "label_source": label_source_of(manifest),
        "model": manifest["model"],
        "split_by": "parameter set",
        "training_files": list(train_files),
        "validation_files": list(val_files),
        "n_training_parameter_sets": n_train_sets,
        "n_validation_parameter_sets": n_val_sets,
        "files": [
            {key: file[key] for key in ("name", "sha256", "size_bytes", "run_id")}
            for file in manifest["files"]
        ],
    }


def common_folder(manifest: Mapping[str, Any]) -> str:
    """The folder of a manifest's files, or all of them behind commas."""
    folders = sorted({str(Path(file["path"]).parent) for file in manifest["files"]})
    return ", ".join(folders)


# The shape of ``manifest.json``; ``config/manifest.schema.json`` is made from it.


Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class ManifestExperiment(Settings):
    """The data-generation experiment in MLflow that was asked."""

    id: str = Field(description="MLflow's number of it")
    name: str = Field(description="its name")


class ManifestRun(Settings):
    """A data-generation run whose files were taken."""

    run_id: str = Field(description="MLflow's id of the run")
    run_name: str = Field(description="its name")
    status: str = Field(description="in MLflow, when asked; it decides nothing")
    data_output_folder: str = Field(description="where it wrote, as recorded by it")
    batch_id: str | None = Field(description="ties the runs of one build together")
    artifact_path: str | None = Field(
        None, description="where its files are among its artifacts; null: they are not"
    )
    n_files: int = Field(ge=0, description="files in its inventory")


class ManifestLeftOut(Settings):
    """A run, or files of one, that is not part of the data set."""

    run_id: str = Field(description="MLflow's id of the run")
    run_name: str = Field(description="its name")
    reason: str = Field(description="why it was left out")
    files: list[str] = Field(description="which of its files; empty: all of the run")


class ManifestFile(Settings):
    """A training file."""

    name: str = Field(min_length=1, description="without its folder")
    path: str = Field(description="where it was found")
    size_bytes: int = Field(ge=0, description="its size")
    sha256: Sha256 = Field(description="of its content")
    run_id: str | None = Field(description="the run that made it; null where no run tracks it")


class Manifest(Settings):
    """What a network is trained on, frozen."""

    manifest_version: Literal[2] = Field(description="of this format")
    digest: Sha256 = Field(
        description="of model, parameters, bounds, the files' sha256 and relabel; not of names, "
        "paths, runs"
    )
    model: str = Field(min_length=1, description="the cognitive model")
    parameters: list[str] = Field(description="of the model, in the order of the columns")
    bounds: dict[str, tuple[float, float]] = Field(
        description="parameter: lower and upper end of the box it was drawn from"
    )
    relabel: Literal["analytic", "solver"] | None = Field(
        description="labels are computed anew from the model's density; null: those in the files"
    )
    experiment: ManifestExperiment | None = Field(
        description="where the files came from; null: a folder, without lineage"
    )
    runs: list[ManifestRun] = Field(description="of the experiment, those taken")
    files: list[ManifestFile] = Field(
        min_length=1, description="each content once, in the order of the rows"
    )
    extra_files: list[str] = Field(description="files of the folder that no run tracks")
    left_out: list[ManifestLeftOut] = Field([], description="what is not part of the data set")
    generator: dict[str, Any] = Field(
        description="settings of the generator, as the files have them"
    )


# Checking again that a manifest's files are what was frozen.


_MAX_LISTED = 100


def verify_manifest(
    manifest: Mapping[str, Any], *, on_file: Callable[[], None] = lambda: None
) -> None:
    """Check the digest of a manifest and every file: that it exists, its size, its sha256.

    Parameters
    ----------
    manifest
        As :func:`lanflow.data.manifest.build_manifest` made it.
    on_file
        Called after each file.

    Raises
    ------
    UserError
        Listing all that differs.
    """
    found: list[str] = []
    if manifest["digest"] != content_digest(manifest):
        found.append("the digest is not that of the files, so the manifest itself was changed")
    for file in manifest["files"]:
        if difference := _difference(file):
            found.append(difference)
        on_file()
    if found:
        raise UserError(_explain(found, len(manifest["files"])))


def _difference(file: Mapping[str, Any]) -> str | None:
    path = Path(file["path"])
    try:
        size = path.stat().st_size
        if not path.is_file():
            return f"{path}: not a file"
        if size != file["size_bytes"]:
            return f"{path}: {size} bytes, frozen are {file['size_bytes']}"
        sha256 = file_sha256(path)
    except FileNotFoundError:
        return f"{path}: missing"
    except OSError as e:
        return f"{path}: cannot be read ({e.strerror})"
    except UserError as e:
        return str(e)
    if sha256 != file["sha256"]:
        return f"{path}: sha256 {sha256[:12]}..., frozen is {file['sha256'][:12]}..."
    return None


def _explain(found: Sequence[str], n_files: int) -> str:
    lines = "\n".join(f"  {line}" for line in found[:_MAX_LISTED])
    more = f"\n  and {len(found) - _MAX_LISTED} more" if len(found) > _MAX_LISTED else ""
    return f"{len(found)} difference(s) to the manifest of {n_files} file(s):\n{lines}{more}"
