"""MLflow's model registry: versions of ONNX models, their tags, and aliases.

Apart from :mod:`lanflow.tracking`, only this module imports MLflow: writing a model in MLflow's
format loads much that only registering needs.
"""

import contextlib
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# First, because it switches MLflow's telemetry off before mlflow is imported.
from lanflow.tracking.client import MlflowClient, connect
from lanflow.tracking.experiments import ensure_experiment

# isort: split

import mlflow.onnx
import numpy as np
from mlflow.entities import LoggedModelOutput
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

from lanflow.core.errors import StoreError, UserError
from lanflow.networks.graph import parse_onnx
from lanflow.tracking.retry import store_request
from lanflow.tracking.runs import find_run
from lanflow.tracking.store import Store

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of types that its own agents declare
    import mlflow.pyfunc

_ONNX_FILE = "model.onnx"  # MLflow's name, by chance also that in a network's folder
_MAX_DESCRIPTION = 5000  # MLflow's column


@dataclass(frozen=True)
class Entry:
    """A model to register.

    Attributes
    ----------
    name
        Of the registered model that gets a version.
    onnx
        The model; it keeps the single-trial contract.
    description
        Markdown, shown in MLflow.
    tags
        Of the version.
    files
        Content by name; kept beside the model.
    metadata
        Part of MLflow's record of the model, for those who load it.
    experiment_name
        Experiment that gets the model if its run is not known.
    run_id
        Run that made it.
    """

    name: str
    onnx: bytes
    description: str
    tags: Mapping[str, str]
    files: Mapping[str, bytes]
    metadata: Mapping[str, Any]
    experiment_name: str
    run_id: str | None = None


@dataclass(frozen=True)
class Version:
    """A version of a registered model."""

    name: str
    number: int
    tags: Mapping[str, str]


class Registry:
    """The registry of a store.

    Raises
    ------
    UserError
        If the store is a folder. For such a store MLflow looks models up in the store that the
        process last named, and makes one if there is none.
    """

    def __init__(self, store: Store) -> None:
        if store.is_folder:
            raise UserError(
                f"{store.shown_uri} is a folder, whose registry MLflow does not keep apart from "
                "other stores; move it to SQLite with 'mlflow migrate-filestore'"
            )
        self._store = store
        self._client: MlflowClient = connect(store)

    @property
    def tracking_uri(self) -> str:
        """The address of the store."""
        return self._store.uri

    @store_request("reading the model registry")
    def versions(self, name: str) -> list[Version]:
        """The versions of a registered model that can be loaded, oldest first."""
        found: list[Version] = []
        token = None
        while True:
            page = self._client.search_model_versions(f"name = '{name}'", page_token=token)
            found += [
                Version(name, int(version.version), dict(version.tags))
                for version in page
                if version.status == "READY"
            ]
            token = page.token
            if not token:
                return sorted(found, key=lambda version: version.number)

    @store_request("reading the model registry")
    def has_run(self, run_id: str) -> bool:
        """Tell whether a run is in this store."""
        try:
            find_run(self._client, run_id)
        except StoreError:
            raise
        except UserError:
            return False
        return True

    @store_request("registering the network")
    def register(self, entry: Entry, *, about: str) -> Version:
        """Add a version to a registered model; make the model if it is not there.

        Parameters
        ----------
        entry
            The model.
        about
            Description of the registered model, if it is new.
        """
        client = self._client
        if entry.run_id is None:
            experiment_id = ensure_experiment(client, self._store, entry.experiment_name).id
        else:
            experiment_id = find_run(client, entry.run_id).experiment_id
        logged = client.create_logged_model(
            experiment_id, name=entry.name, source_run_id=entry.run_id, tags=dict(entry.tags)
        )
        with self._finalised(logged.model_id), tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model")
            _save(entry, path, logged)
            client.log_model_artifacts(logged.model_id, str(path))
        if entry.run_id is not None:
            client.log_outputs(entry.run_id, [LoggedModelOutput(logged.model_id, step=0)])
        self._ensure_registered_model(entry.name, about)
        # The source is a place: MLflow looks a models:/ address up in the store that the process
        # last named, which need not be this one. Without a run it does the same with an id.
        by_id = entry.run_id is not None or self._store.uri.startswith("http")
        created = client.create_model_version(
            entry.name,
            source=logged.artifact_location,
            run_id=entry.run_id,
            tags=dict(entry.tags),
            description=shorten(entry.description),
            model_id=logged.model_id if by_id else None,
        )
        return Version(entry.name, int(created.version), dict(entry.tags))

    @contextlib.contextmanager
    def _finalised(self, model_id: str) -> Iterator[None]:
        """Tell MLflow whether the body wrote the model's files."""
        try:
            yield
        except BaseException:
            with contextlib.suppress(MlflowException):
                self._client.finalize_logged_model(model_id, "FAILED")
            raise
        self._client.finalize_logged_model(model_id, "READY")

    def _ensure_registered_model(self, name: str, about: str) -> None:
        try:
            self._client.create_registered_model(name, description=about)
        except MlflowException as e:
            if e.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    @store_request("recording tags of a version")
    def set_tags(self, version: Version, tags: Mapping[str, str]) -> Version:
        """Set the tags that differ; returns the version with its new tags."""
        for key, value in tags.items():
            if version.tags.get(key) != value:
                self._client.set_model_version_tag(version.name, str(version.number), key, value)
        return Version(version.name, version.number, {**version.tags, **tags})

    @store_request("setting an alias")
    def set_alias(self, alias: str, version: Version) -> None:
        """Point an alias at a version, and at no other."""
        self._client.set_registered_model_alias(version.name, alias, str(version.number))


def _save(entry: Entry, path: Path, logged: Any) -> None:
    """Write a model in MLflow's format, for onnxruntime on the CPU."""
    model = parse_onnx(entry.onnx)
    mlflow.onnx.save_model(
        model,
        str(path),
        mlflow_model=Model(
            artifact_path=logged.artifact_location,
            model_uuid=logged.model_id,
            run_id=entry.run_id,
        ),
        signature=ModelSignature(
            inputs=Schema([_tensor(model.graph.input[0])]),
            outputs=Schema([_tensor(model.graph.output[0])]),
        ),
        pip_requirements=mlflow.onnx.get_default_pip_requirements(),
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
        metadata=dict(entry.metadata),
    )
    # MLflow writes a file of its own; the one that was evaluated takes its place.
    for name, content in {**entry.files, _ONNX_FILE: entry.onnx}.items():
        (path / name).write_bytes(content)


def _tensor(value: Any) -> TensorSpec:
    shape = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
    return TensorSpec(np.dtype("float32"), shape, name=value.name)


def shorten(text: str) -> str:
    """The text, cut at the end of a line where MLflow would not take it whole."""
    if len(text) <= _MAX_DESCRIPTION:
        return text
    rest = "\n\n(The whole text is README.md among the artifacts.)"
    return text[: _MAX_DESCRIPTION - len(rest)].rpartition("\n")[0] + rest
