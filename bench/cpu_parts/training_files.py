"""Training files: some are generated, the others are copies with parameter vectors of their own.

Labels by formula for ten million rows would take minutes. The time that a training or packing takes
depends on how many rows and how many distinct parameter vectors there are, and not on whether the
labels are right: so a copy has the rows of a generated file, with the first parameter scaled by a
factor of its own, which keeps it inside its bounds.
"""

import logging
import pickle
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cpu_parts.processes import Command, Setting, run

log = logging.getLogger(__name__)

# Each copy's factor is smaller than the last one's by so much, far above float32's resolution.
_STEP = 1e-5
# Ends of the names of arrays that begin with the parameters.
_WITH_PARAMETERS = ("_data", "theta")


def generation_settings(
    *, sets: int, rows: int, simulations: int, labels: str, model: str = "ddm"
) -> dict[str, Any]:
    """A data-generation file, for lanflow and for ssm-simulators."""
    return {
        "MODEL": model,
        "GENERATOR_APPROACH": "lan",
        "PIPELINE": {"N_PARAMETER_SETS": sets, "N_SUBRUNS": 1},
        "SIMULATOR": {"N_SAMPLES": simulations, "DELTA_T": 0.001},
        "TRAINING": {"N_SAMPLES_PER_PARAM": rows},
        "ESTIMATOR": {"TYPE": labels},
    }


class TrainingFiles:
    """Folders of training files of any number of rows, made when they are first asked for."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._folder = setting.folder / "training_files"
        self._made: dict[str, Any] = {}

    def folder(self, *, n_files: int, rows_per_file: int) -> Path:
        """A folder with so many files of so many rows, each a whole number of parameter sets."""
        folder = self._folder / f"{n_files}x{rows_per_file}"
        if not folder.exists():
            log.info("making %d training files of %s rows", n_files, f"{rows_per_file:,}")
            folder.mkdir(parents=True)
            n_sets = max(1, rows_per_file // self._setting.size.set_rows)
            for i in range(n_files):
                content = _copied(self._base(), n_sets, rows_per_file // n_sets, first=i * n_sets)
                # A name as ssm-simulators gives it, and in the order of the files.
                path = folder / f"training_data_{uuid.UUID(int=i).hex}.pickle"
                path.write_bytes(_pickled(content))
        return folder

    def _base(self) -> dict[str, Any]:
        """The content of the one file that is generated."""
        if not self._made:
            size, folder = self._setting.size, self._setting.new_folder("base")
            config = folder / "generation.yaml"
            settings = generation_settings(
                sets=size.file_sets, rows=size.set_rows, simulations=1_000, labels="analytic"
            )
            config.write_text(yaml.safe_dump(settings))
            command = [self._setting.ours / "lanflow", "generate", "--config-path", config]
            run(Command([*command, "--output", folder / "made"], folder))
            path = next((folder / "made").rglob("*.pickle"))
            self._made = pickle.loads(path.read_bytes())  # noqa: S301 - written here
        return self._made


def _copied(base: dict[str, Any], n_sets: int, set_rows: int, *, first: int) -> dict[str, Any]:
    """So many parameter sets of a file, over and over, that are numbered from ``first``."""
    n_known = len(base["theta"])
    numbers = first + np.arange(n_sets)
    factors = (1 - _STEP * (numbers // n_known)).astype(np.float32)
    content = {}
    for name, value in base.items():
        if not isinstance(value, np.ndarray):
            content[name] = value
            continue
        by_set = value.reshape(n_known, len(value) // n_known, *value.shape[1:])
        taken = by_set[numbers % n_known]
        if name.startswith("lan_"):
            taken = taken[:, :set_rows]
        if name.endswith(_WITH_PARAMETERS):
            taken[..., 0] *= factors[:, None]
        content[name] = taken.reshape(-1, *value.shape[1:])
    return content


def _pickled(content: dict[str, Any]) -> bytes:
    """The bytes of a file; descriptions of a model may hold functions."""
    import cloudpickle

    return bytes(cloudpickle.dumps(content, protocol=4))
