"""A study: models, the data of each, the networks to train on it. The workflow's configuration."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, field_validator

from lanflow.config import Settings, parse_number, parse_settings, read_yaml
from lanflow.data_config import DataConfig
from lanflow.errors import UserError
from lanflow.generation_config import GenerationConfig, read_generation_file
from lanflow.names import MAX_LENGTH
from lanflow.store import redact
from lanflow.training_config import Count
from lanflow.training_options import DEFAULT_MEMORY_MB

Backend = Literal["jax", "torch"]
# With the backend's name behind it still a name; see lanflow.names.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*$", max_length=90)]
ModelName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=MAX_LENGTH)
]
Seed = Annotated[int, BeforeValidator(parse_number), Field(ge=0, lt=2**63)]


class NetworkConfig(Settings):
    """One network to train, on each of its backends."""

    config: str = Field(description="training YAML in LANfactory's format")
    network_id: Annotated[int, BeforeValidator(parse_number), Field(ge=0)] = Field(
        0, description="index into its LAYER_SIZES and ACTIVATIONS"
    )
    backends: list[Backend] = Field(
        ["jax", "torch"], min_length=1, description="each gives a network of its own"
    )
    seed: Seed | None = Field(
        None, description="decides weights, split and order; the study's seed when left out"
    )
    device: Literal["auto", "cpu", "gpu"] = Field(
        "auto", description="gpu asks the scheduler for one and fails where it is not seen"
    )
    memory_mb: Count = Field(
        DEFAULT_MEMORY_MB,
        description="megabytes for rows while training; data of more than half of it is shuffled "
        "in groups of pieces",
    )

    @field_validator("backends")
    @classmethod
    def _each_backend_once(cls, value: list[Backend]) -> list[Backend]:
        if len(set(value)) < len(value):
            raise ValueError("a backend is listed twice")
        return value


class ModelConfig(Settings):
    """One cognitive model of a study."""

    data: DataConfig = Field(description="where its training files come from")
    networks: dict[Name, NetworkConfig] = Field(description="a name of your own: a network")


class EvaluationConfig(Settings):
    """How thoroughly each network is evaluated."""

    n_sets: Count | None = Field(
        None,
        description="random parameter vectors of the scores; when left out 500 with an analytic "
        "reference, 100 with a solver, 20 with simulations",
    )
    rows: Count = Field(200, description="simulated trials of each")
    n_simulated_sets: Count = Field(
        20, description="random parameter vectors that the simulator is run at"
    )
    reference: Literal["auto", "analytic", "solver", "kde"] = Field(
        "auto", description="what is taken for the truth; auto is the best for the model"
    )
    hssm_python: str | None = Field(
        None,
        description="interpreter that has HSSM, for its gate and for recovery; else lanflow's own",
    )


class RecoveryConfig(Settings):
    """Subjects whose parameters each likelihood network is to find again."""

    n_subjects: Count = Field(50, description="subjects, at random parameters inside the box")
    n_trials: Count = Field(500, description="simulated trials of each")
    method: Literal["auto", "nuts", "maximum-likelihood"] = Field(
        "auto",
        description="nuts samples posteriors with HSSM; auto does where HSSM is installed "
        "(evaluation.hssm_python), and takes maximum likelihood elsewhere",
    )


class TrackingConfig(Settings):
    """The MLflow store. Environment variables come next, then the defaults."""

    uri: str | None = Field(None, description="else MLFLOW_TRACKING_URI, else sqlite:///mlflow.db")
    artifact_location: str | None = Field(
        None, description="else MLFLOW_ARTIFACT_LOCATION, else MLflow's own"
    )

    @field_validator("uri", "artifact_location")
    @classmethod
    def _without_a_password(cls, value: str | None) -> str | None:
        if value is not None and redact(value) != value:
            raise ValueError(
                "it holds a password, which Snakemake would write into the command line of every "
                "job; set MLFLOW_TRACKING_URI (MLFLOW_ARTIFACT_LOCATION) in your shell instead"
            )
        return value


class StudyConfig(Settings):
    """Every key of the workflow."""

    study: Name = Field("study", description="name of the study")
    seed: Seed = Field(1, description="every random draw of the study derives from it")
    results: str = Field("results", description="folder of everything the workflow makes")
    tracking: TrackingConfig = Field(
        default_factory=lambda: TrackingConfig(), description="the MLflow store"
    )
    evaluation: EvaluationConfig = Field(
        default_factory=lambda: EvaluationConfig(), description="of every network"
    )
    recover_parameters: bool = Field(
        False,
        description="find parameters of simulated subjects again with likelihood networks (not of "
        "models with a deadline)",
    )
    recovery: RecoveryConfig = Field(
        default_factory=lambda: RecoveryConfig(), description="of parameters, where it is wanted"
    )
    require_gates: bool = Field(
        False, description="a network that does not pass its gates fails the build"
    )
    register_networks: bool = Field(
        True,
        description="networks that pass their gates go to MLflow's model registry; the best gets "
        "the alias {study}-best",
    )
    bundle_networks: bool = Field(
        True, description="each network is packed, with all that belongs to it, under bundles/"
    )
    models: dict[ModelName, ModelConfig] = Field(
        {}, description="name of a cognitive model, as ssm-simulators has it: its data, networks"
    )


def load_study(content: Mapping[str, Any], config_paths: Sequence[Path | str]) -> StudyConfig:
    """Validate the workflow's merged configuration.

    Parameters
    ----------
    content
        The configuration as Snakemake merged it.
    config_paths
        The files it was merged from, for errors.

    Raises
    ------
    UserError
        Naming the file and the key.
    """
    study = parse_settings(StudyConfig, content, partial(_file_of_key, config_paths))
    if not study.models:
        raise UserError(
            f"{', '.join(map(str, config_paths))}: 'models' is empty, so there is nothing to "
            "train; name a study, for example --configfile config/examples/tiny.yaml"
        )
    return study


def _file_of_key(config_paths: Sequence[Path | str], location: Sequence[Any]) -> str:
    """The last configuration file that holds (the longest part of) a key."""
    best, best_depth = "config", 0
    for path in config_paths:
        node: Any = read_yaml(path)
        depth = 0
        for part in location:
            if not isinstance(node, dict) or part not in node:
                break
            node, depth = node[part], depth + 1
        if depth >= best_depth and depth > 0:
            best, best_depth = str(path), depth
    return best if best_depth else "--config or " + ", ".join(map(str, config_paths))


def read_generations(study: StudyConfig) -> dict[str, GenerationConfig]:
    """The data-generation settings of every model that is simulated here.

    Raises
    ------
    UserError
        If a data-generation YAML is missing or wrong.
    """
    return {
        model: read_generation_file(config.data.generate.config, model=model)
        for model, config in study.models.items()
        if config.data.generate is not None
    }
