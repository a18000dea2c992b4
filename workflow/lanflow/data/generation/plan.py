"""The plan of one generation job: names of its files, and the seeds of every draw in them."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lanflow.core.errors import UserError
from lanflow.data.generation.config import GenerationConfig
from lanflow.models.model import Model
from lanflow.models.parameters import sobol_points
from lanflow.models.simulators import find_model, has_times
from lanflow.models.sources import Source, label_source

# Of a parameter set: seeds of the parameters and of the simulator.
SetSeeds = tuple[list[int], int]
# And the point of the unit cube that the parameters are at, unless they are drawn from the seed.
SetDraw = tuple[SetSeeds, list[float] | None]


# Parameter sets of a training file: fewer files are quicker to read, and one must fit in memory.
_MOST_SETS_OF_FILE, _FEWEST_SETS_OF_FILE = 1000, 100


def n_even_files(n_sets: int) -> int:
    """The least number of files that share the parameter sets evenly, none of them too long.

    Raises
    ------
    UserError
        If there are no parameter sets.
    """
    if n_sets < 1:
        raise UserError(f"generate: n_sets must be at least 1, got {n_sets}")
    for n_files in range(1, n_sets // _FEWEST_SETS_OF_FILE + 1):
        if n_sets % n_files == 0 and n_sets // n_files <= _MOST_SETS_OF_FILE:
            return n_files
    return 1


@dataclass(frozen=True)
class ChunkPlan:
    """The plan of one generation job.

    Attributes
    ----------
    seed
        The study's.
    chunk
        Number of the chunk; with the seed it decides every draw.
    n_files
        Training files in the chunk.
    """

    config: GenerationConfig
    seed: int
    chunk: int
    n_files: int

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process finds the model for itself: functions of its description stay here."""
        return ChunkPlan, (self.config, self.seed, self.chunk, self.n_files)

    @cached_property
    def model(self) -> Model:
        """The model that is simulated.

        Raises
        ------
        UserError
            If neither ssm-simulators nor the models file has such a model, or its bounds cannot be
            changed so.
        """
        config = self.config
        return find_model(config.model_name, config.models_file).with_bounds(
            config.param_bounds, "PARAM_BOUNDS"
        )

    @cached_property
    def label_source(self) -> Source:
        """Source of the labels.

        Raises
        ------
        UserError
            If the model has no such source.
        """
        return label_source(self.config.estimator.type, self.model)

    @cached_property
    def has_times(self) -> bool:
        """False of a model of choices alone: its files are for a cpn, not for a lan."""
        return self.label_source in ("analytic", "solver") or has_times(self.model)

    def file_name(self, index: int) -> str:
        """Name of a file of the chunk, from what decides its content.

        What ``auto`` means may be another source in another version of lanflow. So files that an
        earlier one left unfinished are not taken for files of this one.
        """
        text = f"{self.config.digest}/{self.seed}/{self.chunk}/{index}"
        if self.config.estimator.type == "auto":
            text += f"/{self.label_source}"
        return f"training_data_{hashlib.sha256(text.encode()).hexdigest()[:32]}.pickle"

    def set_seeds(self, index: int) -> list[SetSeeds]:
        """Seeds of every parameter set of a file: for the parameters and for the simulator.

        The simulator takes a seed below 2**31; the parameters' seed keeps 128 bits, so that sets
        of a study are different draws.
        """
        seeds = []
        for number in range(self.config.pipeline.n_parameter_sets):
            key = (self._model_key, self.chunk, index, number)
            words = np.random.SeedSequence(self.seed, spawn_key=key).generate_state(5, np.uint32)
            seeds.append(([int(word) for word in words[:4]], int(words[4] >> 1)))
        return seeds

    def set_draws(self, index: int) -> list[SetDraw]:
        """Seeds of every parameter set of a file, and its Sobol point if asked for.

        Each chunk has a sequence of its own, and its files follow one another along it.
        """
        seeds = self.set_seeds(index)
        if self.config.pipeline.parameter_sampling == "uniform":
            return [(seed, None) for seed in seeds]
        points = sobol_points(
            np.random.SeedSequence(self.seed, spawn_key=(self._model_key, self.chunk)),
            len(self.model.bounds),
            first=index * len(seeds),
            n_points=len(seeds),
        )
        return list(zip(seeds, points.tolist(), strict=True))

    @property
    def _model_key(self) -> int:
        return int.from_bytes(hashlib.sha256(self.config.model_name.encode()).digest()[:4])

    @property
    def batch_id(self) -> str:
        """Ties the chunks of one build together: the same for all chunks of a study's model."""
        return self.config.batch_id(self.seed)
