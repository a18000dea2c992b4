"""What a person gives to ``jaxtrain`` or ``torchtrain``."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from lanflow.store import Sending

# Megabytes that rows may take while training.
DEFAULT_MEMORY_MB = 4000


@dataclass(frozen=True)
class TrainingOptions:
    """What a person gives to ``jaxtrain`` or ``torchtrain``; see their ``--help``."""

    backend: Literal["jax", "torch"]
    networks_path_base: Path
    config_path: Path | None = None
    network_id: int = 0
    model: str | None = None
    seed: int = 1
    device: str = "auto"
    threads: int = 1
    memory_mb: int = DEFAULT_MEMORY_MB
    network_name: str | None = None
    run_uuid: str | None = None
    export_onnx: bool = True
    dry_run: bool = False
    training_data_folder: Path | None = None
    data_generation_experiment: str | None = None
    data_set: Path | None = None
    manifest: Path | None = None
    data_cache: Path | None = None
    root: Path | None = None
    path_map: Mapping[str, str] = field(default_factory=dict)
    use_extra_files: bool = False
    max_repeated_sets: float = 1.0
    mlflow_on: bool = False
    mlflow_run_id: str | None = None
    mlflow_run_name: str | None = None
    mlflow_experiment_name: str | None = None
    mlflow_tracking_uri: str | None = None
    mlflow_artifact_location: str | None = None
    mlflow_send: Sending = "now"

    @property
    def is_tracked(self) -> bool:
        """Whether the training is an MLflow run; some options imply it."""
        return bool(
            self.mlflow_on
            or self.mlflow_run_id
            or self.mlflow_run_name
            or self.data_generation_experiment
        )


def without_tracking(options: TrainingOptions) -> TrainingOptions:
    """The same options with tracking off, for a machine without MLflow."""
    return replace(options, mlflow_on=False, mlflow_run_name=None)
