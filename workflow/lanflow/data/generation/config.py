"""ssm-simulators' data-generation YAML, typed: what one training file holds."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr

from lanflow.core.errors import UserError
from lanflow.core.settings import (
    Count,
    Name,
    Number,
    Settings,
    parse_settings,
    read_yaml,
)
from lanflow.models.models_file import ModelsFile


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _none_if_all(value: object) -> object:
    return None if value == "all" else value


class _Section(Settings):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=str.upper)


class PipelineSection(_Section):
    """Number of parameter sets in a file, and the way they are drawn."""

    n_parameter_sets: Count
    n_subruns: Count = 1
    parameter_sampling: Annotated[Literal["uniform", "sobol"], BeforeValidator(_lower)] = "uniform"
    # Of ssm-simulators' own runs: the cores they take (here --processes), and where one of several
    # jobs begins in a Sobol sequence (here the chunk decides).
    n_cpus: Annotated[Count | None, BeforeValidator(_none_if_all)] = None
    parameter_sampler_index_offset: Annotated[int, Field(ge=0)] = 0


class SimulatorSection(_Section):
    """Simulation of each parameter set; ``delta_t`` in seconds."""

    n_samples: Count
    delta_t: Annotated[Number, Field(ge=1e-6, le=1)]


class TrainingSection(_Section):
    """Number of training rows of each parameter set."""

    n_samples_per_param: Count


class EstimatorSection(_Section):
    """Source of the labels; see :func:`lanflow.models.sources.label_source`."""

    type: Annotated[
        Literal["auto", "analytic", "solver", "kde", "exact_kde", "pyddm"], BeforeValidator(_lower)
    ] = "auto"


# Settings of PIPELINE that decide no number in a file.
_NO_DIFFERENCE = {"n_subruns", "n_cpus", "parameter_sampler_index_offset"}
# Keys of ssm-simulators' files before 0.12, which had no sections, and their places today.
_FLAT_KEYS = {
    "N_PARAMETER_SETS": ("PIPELINE", "N_PARAMETER_SETS"),
    "N_SUBRUNS": ("PIPELINE", "N_SUBRUNS"),
    "N_CPUS": ("PIPELINE", "N_CPUS"),
    "N_SAMPLES": ("SIMULATOR", "N_SAMPLES"),
    "DELTA_T": ("SIMULATOR", "DELTA_T"),
    "N_TRAINING_SAMPLES_BY_PARAMETER_SET": ("TRAINING", "N_SAMPLES_PER_PARAM"),
}


def _of_any_version(content: Mapping[str, Any]) -> dict[str, Any]:
    """Put the flat keys of files for ssm-simulators before 0.12 into their sections."""
    found = dict(content)
    for key, (section, name) in _FLAT_KEYS.items():
        known = found.get(section, {})
        if key in found and isinstance(known, dict) and name not in known:
            found[section] = {**known, name: found.pop(key)}
    return found


class GenerationConfig(_Section):
    """A data-generation YAML. Keys that ssm-simulators would ignore are refused."""

    model: Name | None = None
    generator_approach: Literal["lan", "cpn", "opn"] = "lan"
    pipeline: PipelineSection
    simulator: SimulatorSection
    training: TrainingSection
    estimator: EstimatorSection = EstimatorSection()
    param_bounds: dict[Name, tuple[Number, Number]] = Field(default_factory=dict)
    # Of the user's, if the model may be defined there; no key of the YAML.
    _models_file: ModelsFile | None = PrivateAttr(None)

    @property
    def model_name(self) -> str:
        """The cognitive model, which :func:`read_generation_file` made sure is named."""
        assert self.model is not None
        return self.model

    @property
    def models_file(self) -> ModelsFile | None:
        """The file of the user's that may define the model."""
        return self._models_file

    def with_models_file(self, file: ModelsFile | None) -> Self:
        """The same settings with a models file, which decides numbers if it mentions the model."""
        changed = self.model_copy()
        changed._models_file = file
        return changed

    def settings_dict(self) -> dict[str, object]:
        """Settings that decide the numbers in a file: all but the spread over sub-runs."""
        excluded: Any = {"pipeline": _NO_DIFFERENCE}
        if not self.param_bounds:
            excluded["param_bounds"] = True
        settings = self.model_dump(mode="json", exclude=excluded)
        file = self._models_file
        if file is None or not file.mentions(self.model_name):
            return settings
        return {**settings, "models_file_sha256": file.sha256}

    @property
    def digest(self) -> str:
        """Sha256 (hex) of :meth:`settings_dict`."""
        text = json.dumps(self.settings_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def batch_id(self, seed: int) -> str:
        """Ties the chunks of one build together, whatever their number."""
        return hashlib.sha256(f"{self.digest}/{seed}".encode()).hexdigest()[:32]


def read_models_file(path: Path | str | None) -> ModelsFile | None:
    """Read a models file without running it; None where none is named.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    return None if path is None else ModelsFile.read(path)


def config_of_keywords(
    model: str,
    *,
    n_sets: int,
    rows_per_set: int,
    labels: str,
    sampling: str,
    n_simulations: int,
    delta_t: float,
) -> GenerationConfig:
    """Settings of data generation from keywords, as Python has them.

    Parameters
    ----------
    model
        The file's ``MODEL``.
    n_sets
        Parameter vectors of a training file.
    rows_per_set, labels, sampling, n_simulations, delta_t
        As :func:`lanflow.api.generate` has them.

    Raises
    ------
    UserError
        If a value is wrong.
    """
    content = {
        "MODEL": model,
        "PIPELINE": {"N_PARAMETER_SETS": n_sets, "PARAMETER_SAMPLING": sampling},
        "SIMULATOR": {"N_SAMPLES": n_simulations, "DELTA_T": delta_t},
        "TRAINING": {"N_SAMPLES_PER_PARAM": rows_per_set},
        "ESTIMATOR": {"TYPE": labels},
    }
    return parse_settings(GenerationConfig, content, "generate")


def read_generation_file(
    path: Path | str, *, model: str | None = None, models_file: ModelsFile | None = None
) -> GenerationConfig:
    """Read and check a data-generation YAML.

    Parameters
    ----------
    path
        The file.
    model
        Takes the place of the file's MODEL.
    models_file
        A file of the user's that may define the model.

    Raises
    ------
    UserError
        Naming the file and the key.
    """
    content = _of_any_version(read_yaml(path))
    if model is not None:
        content = {**content, "MODEL": model}
    config = parse_settings(GenerationConfig, content, str(path))
    if not config.model:
        raise UserError(f"{path}: missing key 'MODEL' (or give --model)")
    return config.with_models_file(models_file)
