"""The manifest: the training files of a network, frozen.

``manifest.json`` lists the training files with their sha256, the model they are of, and the runs
they come from. It is made from files that were located, read back as a :class:`Manifest`, checked
again by ``lanflow verify``, and passed on into the lineage of each network. The schema
``config/manifest.schema.json`` is generated from the classes here.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from lanflow.core.errors import UserError
from lanflow.core.files import file_sha256, read_record
from lanflow.core.progress import Progress
from lanflow.core.settings import Settings, parse_settings
from lanflow.data.experiment import GenerationExperiment, GenerationRun, Query
from lanflow.data.locate import LeftOut, LocatedFile, LocatedFiles
from lanflow.data.training_file import (
    TrainingFileContent,
    own_definition,
    read_training_file,
    require_file_memory,
)
from lanflow.models.definition import Definition
from lanflow.models.models_file import ModelsFile
from lanflow.models.parameters import Bounds
from lanflow.models.simulators import resolve_model
from lanflow.networks.types import NetworkTypeName

MANIFEST_VERSION = 2

Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]

_MAX_LISTED = 100


class ManifestRun(GenerationRun):
    """A data-generation run whose files were taken."""

    n_files: int = Field(ge=0, description="files in its inventory")


class ManifestFile(Settings):
    """A training file."""

    name: str = Field(min_length=1, description="without its folder")
    path: str = Field(description="where it was found")
    size_bytes: int = Field(ge=0, description="its size")
    sha256: Sha256 = Field(description="of its content")
    run_id: str | None = Field(description="the run that made it; null where no run tracks it")
    dropped_rows: dict[NetworkTypeName, Annotated[int, Field(ge=1)]] = Field(
        {},
        exclude_if=lambda value: not value,
        description="network type: rows left out for values that cannot be; left out where none is",
    )


class Manifest(Settings):
    """Frozen list of what a network is trained on."""

    manifest_version: Literal[2] = Field(description="of this format")
    digest: Sha256 = Field(
        description="of model, parameters, bounds, files' sha256, relabel, drop_invalid; not of "
        "names, paths, runs"
    )
    model: str = Field(min_length=1, description="the cognitive model")
    parameters: list[str] = Field(description="of the model, in the order of the columns")
    bounds: Bounds = Field(
        description="parameter: lower and upper bound of the values it was drawn from"
    )
    relabel: Literal["analytic", "solver"] | None = Field(
        description="labels are computed anew from the model's density; null: those in the files"
    )
    drop_invalid: bool = Field(
        False,
        exclude_if=lambda value: not value,
        description="rows with values that cannot be are left out; left out where they are refused",
    )
    files: list[ManifestFile] = Field(
        min_length=1, description="each content once, in the order of the rows"
    )
    experiment: GenerationExperiment | None = Field(
        description="where the files came from; null: a folder, without lineage"
    )
    runs: list[ManifestRun] = Field(description="of the experiment, those taken")
    extra_files: list[str] = Field(description="files of the folder that no run tracks")
    left_out: list[LeftOut] = Field([], description="what is not part of the data set")
    generator: dict[str, Any] = Field(
        description="settings of the generator, as the files have them"
    )
    definition: Definition | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="functions and choices of a model that ssm-simulators' catalogue does not "
        "have, or has otherwise; left out for its own models",
    )

    def content_digest(self) -> str:
        """Sha256 (hex) of what decides the data: model, parameters, bounds, files, and so on."""
        content: dict[str, object] = {
            "model": self.model,
            "parameters": self.parameters,
            "bounds": self.bounds.to_json(),
            "files": sorted(file.sha256 for file in self.files),
        }
        if self.relabel is not None:
            content["relabel"] = self.relabel
        if self.definition is not None:
            content["definition"] = self.definition.identity()
        if self.drop_invalid:
            content["drop_invalid"] = True
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def relabelled(self, source: Literal["analytic", "solver"] | None) -> "Manifest":
        """The manifest of the same files with labels from another source, and its own digest."""
        changed = self.model_copy(update={"relabel": source})
        return changed.model_copy(update={"digest": changed.content_digest()})

    @property
    def dropped_rows(self) -> dict[str, int]:
        """Network type -> rows of all files that were left out for values that cannot be."""
        counts = Counter[str]()
        for file in self.files:
            counts.update(file.dropped_rows)
        return dict(counts)

    @property
    def label_source(self) -> str | None:
        """Source of the labels; ``None`` where the files do not say."""
        estimator = self.generator.get("estimator")
        if self.relabel is not None or not isinstance(estimator, dict):
            return self.relabel
        source = estimator.get("label_source") or estimator.get("type")
        return None if source is None else str(source)


def read_manifest(path: Path) -> Manifest:
    """Read a ``manifest.json``.

    Raises
    ------
    UserError
        If it is missing, damaged or of another version; naming the file and the key.
    """
    content = read_record(path, "manifest_version", MANIFEST_VERSION)
    return parse_settings(Manifest, content, str(path))


def require_own_digest(manifest: Manifest, path: Path) -> None:
    """Refuse a manifest whose digest is not that of its content: it was edited.

    Raises
    ------
    UserError
        Naming the file.
    """
    if manifest.digest != manifest.content_digest():
        raise UserError(
            f"{path}: digest is {manifest.digest[:12]}..., but that of its model, parameters, "
            f"bounds, files and relabel is {manifest.content_digest()[:12]}...; the manifest was "
            "changed. Write it again with 'lanflow manifest'"
        )


def build_manifest(
    located: LocatedFiles,
    *,
    query: Query | None,
    model: str | None,
    models_file: ModelsFile | None = None,
    drop_invalid: bool = False,
) -> Manifest:
    """Freeze located files, with a progress bar; labels are those in the files.

    Parameters
    ----------
    located
        Files as they are on this machine.
    query
        Where the files come from; ``None`` for a folder, without lineage.
    model
        The model the files must be of; ``None`` takes what the first file says.
    models_file
        Defines the model, where the files do not say.
    drop_invalid
        Count the rows with values that cannot be, of which the data set is made without; each file
        is read for that.

    Raises
    ------
    UserError
        If a file cannot be read, changed since it was generated (with the policy ``salvage``: if
        no file is whole), or is of another model.
    """
    head: TrainingFileContent | None = None
    content: TrainingFileContent
    files: dict[str, ManifestFile] = {}  # by sha256: rows of a copy would weigh double
    changed: list[LocatedFile] = []
    with Progress(len(located.files), "reading files", "file") as progress:
        for file in located.files:
            sha256 = file_sha256(file.path)
            if file.sha256 in (None, sha256):
                if head is None:
                    head = content = _read(file.path, model, drop_invalid=drop_invalid)
                elif drop_invalid and sha256 not in files:
                    content = _read(file.path, model, drop_invalid=True)
                files.setdefault(sha256, _describe_file(file, sha256, content.n_dropped))
            else:
                changed.append(file)
                if (
                    query is None
                    or query.policy == "complete"
                    or len(changed) == len(located.files)
                ):
                    raise UserError(
                        f"{file.path}: its content changed since it was generated (sha256 "
                        f"{sha256[:12]}..., recorded {file.sha256[:12]}...)"
                    )
            progress.advance()
    assert head is not None
    manifest = Manifest(
        manifest_version=MANIFEST_VERSION,
        digest="0" * 64,
        model=head.model,
        parameters=list(head.parameters),
        bounds=head.bounds,
        relabel=None,
        drop_invalid=drop_invalid,
        files=list(files.values()),
        experiment=None if query is None else query.experiment,
        runs=[] if query is None else _describe_runs(query),
        extra_files=located.extra,
        left_out=[] if query is None else _describe_left_out(query, located.left_out, changed),
        generator=dict(head.generator),
        definition=_definition(head, models_file, str(located.files[0].path)),
    )
    return manifest.relabelled(None)  # which gives it its digest


def _read(path: Path, model: str | None, *, drop_invalid: bool) -> TrainingFileContent:
    """Read a file; the first says for all of them model, parameters, bounds, generator."""
    require_file_memory(path.stat().st_size, f"reading {path}, a file")
    head = read_training_file(path.read_bytes(), path, drop_invalid=drop_invalid)
    if model is not None and head.model != model:
        raise UserError(
            f"{path}: simulated from model {head.model!r}, but {model!r} is to be trained"
        )
    return head


def _definition(
    head: TrainingFileContent, models_file: ModelsFile | None, where: str
) -> Definition | None:
    """Definition of the model beside its name; None where the catalogue has it."""
    found = own_definition(head)
    if models_file is None or found is None or not models_file.mentions(head.model):
        return found
    model = resolve_model(
        head.model,
        parameters=head.parameters,
        definition=found,
        models_file=models_file,
        where=where,
    )
    return model.definition


def _describe_file(
    file: LocatedFile, sha256: str, n_dropped: Mapping[NetworkTypeName, int]
) -> ManifestFile:
    return ManifestFile(
        name=file.name,
        path=str(file.path.absolute()),
        size_bytes=file.size_bytes,
        sha256=sha256,
        run_id=file.run_id,
        dropped_rows=dict(n_dropped),
    )


def _describe_runs(query: Query) -> list[ManifestRun]:
    return [
        ManifestRun(**run.model_dump(exclude={"files"}), n_files=len(run.files))
        for run in query.runs
    ]


def _describe_left_out(
    query: Query, not_whole: Sequence[LeftOut], changed: Sequence[LocatedFile]
) -> list[LeftOut]:
    """Whole runs that the query left out (no ``files``), then files that are not whole."""
    runs = [
        LeftOut(run_id=run.run_id, run_name=run.run_name, reason=run.reason, files=[])
        for run in query.left_out
    ]
    names = {run.run_id: run.run_name for run in query.runs}
    files = [
        LeftOut(
            run_id=run_id,
            run_name=names[run_id],
            reason="not of the recorded sha256",
            files=[file.name for file in changed if file.run_id == run_id],
        )
        for run_id in dict.fromkeys(file.run_id for file in changed if file.run_id is not None)
    ]
    return [*runs, *not_whole, *files]


def verify_manifest(manifest: Manifest) -> None:
    """Check a manifest's own digest, and that its files are what was frozen, with a progress bar.

    Raises
    ------
    UserError
        Listing all that differs: files that are missing, of another size or another sha256.
    """
    found: list[str] = []
    if manifest.digest != manifest.content_digest():
        found.append("the digest is not that of the files, so the manifest itself was changed")
    with Progress(len(manifest.files), "verifying files", "file") as progress:
        for file in manifest.files:
            if difference := _difference(file):
                found.append(difference)
            progress.advance()
    if found:
        lines = "".join(f"\n  {line}" for line in found[:_MAX_LISTED])
        more = f"\n  and {len(found) - _MAX_LISTED} more" if len(found) > _MAX_LISTED else ""
        raise UserError(
            f"{len(found)} difference(s) to the manifest of {len(manifest.files)} file(s):"
            f"{lines}{more}"
        )


def _difference(file: ManifestFile) -> str | None:
    """Compare a file with what was frozen; ``None`` if they agree."""
    path = Path(file.path)
    try:
        size = path.stat().st_size
        if not path.is_file():
            return f"{path}: not a file"
        if size != file.size_bytes:
            return f"{path}: {size} bytes, frozen are {file.size_bytes}"
        sha256 = file_sha256(path)
    except FileNotFoundError:
        return f"{path}: missing"
    except OSError as e:
        return f"{path}: cannot be read ({e.strerror})"
    except UserError as e:
        return str(e)
    if sha256 != file.sha256:
        return f"{path}: sha256 {sha256[:12]}..., frozen is {file.sha256[:12]}..."
    return None
