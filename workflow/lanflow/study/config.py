"""The configuration of a study: its models, the data of each, and the networks to train on it."""

import os.path
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    field_validator,
    model_validator,
)

from lanflow.core.errors import UserError
from lanflow.core.names import DEFAULT_MEMORY_MB
from lanflow.core.settings import (
    Count,
    Index,
    Number,
    PathText,
    Seed,
    Settings,
    Word,
    parse_settings,
    read_yaml,
)
from lanflow.data.experiment import Policy, RunSelection
from lanflow.data.generation.config import (
    GenerationConfig,
    read_generation_file,
    read_models_file,
)
from lanflow.networks.types import BackendName
from lanflow.study.nested_keys import check_nested_keys
from lanflow.tracking.store import redact

RecordedPrefix = Annotated[Word, StringConstraints(pattern="^[^=]+$")]
RelabelSource = Literal["auto", "analytic", "solver"]


class GenerateConfig(Settings):
    """Data that the study simulates itself."""

    config: PathText = Field(description="data-generation YAML in ssm-simulators' format")
    chunks: Annotated[Count, Field(le=100_000)] = Field(
        1, description="jobs; each is one run in {model}-data-generation"
    )
    files_per_chunk: Count = Field(1, description="training files that each job makes")
    threads: Annotated[Count, Field(le=1024)] = Field(
        2, description="processor cores of each job; the files are the same with any number"
    )
    log_files: bool = Field(
        False,
        description="log the files as artifacts of the runs, for machines that do not see them",
    )


class DataConfig(Settings):
    """The source of a model's data: simulations, an experiment, a folder, or the last two."""

    generate: GenerateConfig | None = Field(
        None, description="simulate it; takes the place of experiment and folder"
    )
    experiment: Word | None = Field(
        None, description="id or name of a data-generation experiment in MLflow"
    )
    folder: PathText | None = Field(
        None,
        description="folder of training files; with experiment every tracked file must be in it, "
        "alone it is used as it is, without lineage",
    )
    root: PathText | None = Field(
        None, description="folder that relative recorded folders are resolved against"
    )
    path_map: dict[RecordedPrefix, PathText] = Field(
        {}, description="recorded folder prefix: where that folder is on this machine"
    )
    use_extra_files: bool = Field(
        False, description="train on files of folder that experiment does not track, too"
    )
    policy: Policy = Field(
        "complete",
        description="complete: refuse if a run or file of experiment is not whole; salvage: take "
        "what is whole",
    )
    batch_id: Word | None = Field(None, description="take only runs of this generation batch")
    run_ids: list[Word] | None = Field(None, min_length=1, description="take only these runs")
    filter: Word | None = Field(
        None, description="take only runs of experiment that this MLflow filter string takes"
    )
    relabel: RelabelSource | None = Field(
        None,
        description="compute the labels anew while materialising: analytic, solver, or auto, the "
        "better that the model has; null trains on those in the files",
    )
    drop_invalid: bool = Field(
        False,
        description="leave out rows of training files that hold a value which cannot be (NaN, a "
        "probability of 2), and count them; else such a file is refused",
    )
    max_repeated_sets: Number = Field(
        1.0,
        ge=0,
        le=1,
        description="fail if a larger share of the parameter sets are repeats; 1.0 only warns",
    )

    @model_validator(mode="before")
    @classmethod
    def _experiment_id_may_be_a_number(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("experiment"), int):
            return {**value, "experiment": str(value["experiment"])}
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.generate is not None and (self.experiment or self.folder):
            raise ValueError("give either 'generate', or 'experiment' and/or 'folder', not both")
        if self.generate is None and not self.experiment and not self.folder:
            raise ValueError("give one of 'generate', 'experiment', 'folder'")
        if not self.experiment and self.run_selection != RunSelection():
            raise ValueError(
                "'policy', 'batch_id', 'run_ids' and 'filter' only go with 'experiment'"
            )
        if not self.experiment and (self.root or self.path_map):
            raise ValueError("'root' and 'path_map' only go with 'experiment'")
        if self.folder and (self.root or self.path_map):
            raise ValueError(
                "'root' and 'path_map' say where recorded folders are, but 'folder' already says "
                "where the files are; give one or the other"
            )
        if self.use_extra_files and not (self.experiment and self.folder):
            raise ValueError("'use_extra_files' only goes with 'experiment' and 'folder'")
        return self

    @property
    def run_selection(self) -> RunSelection:
        """The runs of the experiment to take."""
        return RunSelection(
            policy=self.policy, batch_id=self.batch_id, run_ids=self.run_ids, filter=self.filter
        )

    @property
    def source(self) -> Literal["generate", "mlflow", "validation", "traditional"]:
        """Name of the data mode."""
        if self.generate is not None:
            return "generate"
        if self.experiment:
            return "validation" if self.folder else "mlflow"
        return "traditional"


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*$", max_length=64)]
ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]


def _must_differ(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError("something is listed twice")
    return values


# Of a key that takes one value or a list: the message of a mistake is about the one that was given.
_ONE, _SEVERAL = Tag("[one]"), Tag("[several]")
_BY_KIND = Discriminator(lambda value: "[several]" if isinstance(value, list) else "[one]")
_DISTINCT = (Field(min_length=1), AfterValidator(_must_differ))
Paths = Annotated[
    Annotated[PathText, _ONE] | Annotated[list[PathText], *_DISTINCT, _SEVERAL], _BY_KIND
]
NetworkIds = Annotated[
    Annotated[Literal["all"], _ONE] | Annotated[list[Index], *_DISTINCT, _SEVERAL], _BY_KIND
]


class NetworkConfig(Settings):
    """One network to train on each of its backends, or a family of networks with one name.

    A list of training files, ``network_ids`` and ``seeds`` make a family: one network for each
    combination, named after the family (:func:`lanflow.study.trainings.list_trainings`).
    """

    config: Paths = Field(
        description="training YAML in LANfactory's format; a list of them makes a network of each"
    )
    start_from: PathText | None = Field(
        None,
        description="folder of a finished network of the same model, type and layers, of either "
        "backend; training goes on from its weights",
    )
    network_id: Index = Field(0, description="index into its LAYER_SIZES and ACTIVATIONS")
    network_ids: NetworkIds | None = Field(
        None, description="a network of each of these, in place of network_id; or all"
    )
    backends: list[BackendName] = Field(
        ["jax", "torch"], min_length=1, description="each gives a network of its own"
    )
    seed: Seed | None = Field(
        None, description="decides weights, split and order; the study's seed when left out"
    )
    seeds: Annotated[list[Seed], *_DISTINCT] | None = Field(
        None, description="a network of each of these, in place of seed"
    )
    device: Literal["auto", "cpu", "gpu"] = Field(
        "auto", description="gpu asks the scheduler for one and fails where it is not seen"
    )
    threads: Annotated[Count, Field(le=1024)] = Field(
        2,
        description="processor cores of its training; sums are split among them, so that the same "
        "number gives the same bytes",
    )
    memory_mb: Count = Field(
        DEFAULT_MEMORY_MB,
        description="megabytes for rows while training; data of more than half of it is shuffled "
        "in groups of pieces",
    )

    @field_validator("backends")
    @classmethod
    def _each_backend_once(cls, value: list[BackendName]) -> list[BackendName]:
        if len(set(value)) < len(value):
            raise ValueError("a backend is listed twice")
        return value

    @model_validator(mode="after")
    def _one_or_several(self) -> Self:
        given = self.model_fields_set
        for one, several in (("seed", "seeds"), ("network_id", "network_ids")):
            if getattr(self, several) is not None and one in given and getattr(self, one):
                raise ValueError(f"give either {one!r} or {several!r}, not both")
        return self

    @property
    def configs(self) -> list[str]:
        """The training YAMLs, one or several."""
        return [self.config] if isinstance(self.config, str) else self.config


class ModelConfig(Settings):
    """One cognitive model of a study."""

    data: DataConfig = Field(description="where its training files come from")
    networks: dict[Name, NetworkConfig] = Field(description="a name of your own: a network")


class EvaluationConfig(Settings):
    """Settings of the evaluation of each network."""

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
    hssm_python: PathText | None = Field(
        None,
        description="interpreter that has HSSM, for its gate and for recovery; else lanflow's own",
    )


class RecoveryConfig(Settings):
    """Settings of parameter recovery: simulated subjects whose parameters are estimated."""

    n_subjects: Count = Field(50, description="subjects, at random parameters inside the bounds")
    n_trials: Count = Field(500, description="simulated trials of each")
    method: Literal["auto", "nuts", "maximum-likelihood"] = Field(
        "auto",
        description="nuts samples posteriors with HSSM; auto does where HSSM is installed "
        "(evaluation.hssm_python), and takes maximum likelihood elsewhere",
    )


class TrackingConfig(Settings):
    """The MLflow store; else it is taken from environment variables, else the default."""

    uri: Word | None = Field(None, description="else MLFLOW_TRACKING_URI, else sqlite:///mlflow.db")
    artifact_location: Word | None = Field(
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
    results: PathText = Field("results", description="folder of everything the workflow makes")
    models_file: PathText | None = Field(
        None,
        description="Python file of your own that defines models, in ssm-simulators' terms; it is "
        "run",
    )
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

    @field_validator("results")
    @classmethod
    def _a_folder_of_its_own(cls, value: str) -> str:
        """Write a path as Snakemake does, without ``./`` and doubled slashes."""
        if os.path.normpath(value) in ("/", "//"):
            raise ValueError(f"{value!r} is the root of the disk; name a folder")
        return str(PurePosixPath(value))


def load_study(content: Mapping[str, Any], config_paths: Sequence[Path | str]) -> StudyConfig:
    """Validate the workflow's merged configuration.

    Parameters
    ----------
    content
        The configuration as Snakemake merged it.
    config_paths
        The files that it was merged from, for errors.

    Raises
    ------
    UserError
        If a key or value is wrong; names the file and the key.
    """
    where = partial(_file_of_key, config_paths, content)
    check_nested_keys(content, where)
    study = parse_settings(StudyConfig, content, where)
    if not study.models:
        raise UserError(
            f"{', '.join(map(str, config_paths))}: 'models' is empty, so there is nothing to "
            "train; name a study, for example --configfile config/examples/first.yaml"
        )
    return study


def _file_of_key(
    config_paths: Sequence[Path | str], content: Mapping[str, Any], location: Sequence[Any]
) -> str:
    """Find the configuration file of a key: the last that has it, or the longest part of it.

    It is ``--config`` if no file has the key, or with another value than the merged one.
    """
    others = ", ".join(map(str, config_paths)) or "the config of a module"
    best, best_depth, best_value = f"--config or {others}", 0, None
    for path in config_paths:
        nodes = [_follow(node, location) for node in studies_in(read_yaml(path))]
        depth, value = max(nodes, key=lambda found: found[0])
        if depth >= best_depth and depth > 0:
            best, best_depth, best_value = str(path), depth, value
    depth, value = _follow(content, location)
    is_merged = isinstance(value, Mapping) and isinstance(best_value, Mapping)
    if depth == best_depth > 0 and value != best_value and not is_merged:
        return "--config"
    return best


def studies_in(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the mappings in a configuration file that can be a study.

    This is the file itself, and each of its keys whose value has ``models``, since the file of
    another workflow may hold a study under a key of its own.
    """
    inside = [value for value in content.values() if isinstance(value, dict) and "models" in value]
    return [content, *inside]


def _follow(node: Any, location: Sequence[Any]) -> tuple[int, Any]:
    """Return how many parts of a key exist, and the value at the last of them."""
    for depth, part in enumerate(location):
        if not isinstance(node, Mapping) or part not in node:
            return depth, node
        node = node[part]
    return len(location), node


def read_generations(study: StudyConfig) -> dict[str, GenerationConfig]:
    """Read the data-generation settings of every model that is simulated here.

    Raises
    ------
    UserError
        If a data-generation YAML or the models file is missing or wrong.
    """
    file = read_models_file(study.models_file)
    return {
        model: read_generation_file(config.data.generate.config, model=model, models_file=file)
        for model, config in study.models.items()
        if config.data.generate is not None
    }


def own_models(study: StudyConfig) -> set[str]:
    """List the models of a study that its models file mentions, and so may define.

    The file does not run for that.

    Raises
    ------
    UserError
        If the models file cannot be read.
    """
    file = read_models_file(study.models_file)
    return set() if file is None else {model for model in study.models if file.mentions(model)}
