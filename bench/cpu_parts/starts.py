"""Starts: the smallest command of each kind, from its first instruction to its last.

A training of two epochs of one batch, an evaluation of two parameter vectors, figures of as many:
what is left of them is importing, reading, compiling and writing. Beside them stand the imports
that none of them can do without.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from cpu_parts.processes import NO_GPU, Command, Setting, Task, in_turn, run
from cpu_parts.results import Figure
from cpu_parts.sizes import Training
from cpu_parts.training import BACKENDS, OURS, Trainer, train, trainers, training_command
from cpu_parts.training_files import TrainingFiles

EVALUATION, FIGURES = "lanflow evaluate", "lanflow plot"
# One file is trained on, the other validated; LANfactory trains in JAX for two epochs or more.
_N_FILES, _SPLIT, _ROWS, _EPOCHS = 2, 0.5, 100, 2
_FEW = "2"
_DID_NOT_PASS = 3
# The least that commands have to load: a training its library, with a device that computed
# something; an evaluation both, to hold them against one another.
IMPORTS = {
    "jax": "import of JAX, and a sum",
    "torch": "import of Torch, and a sum",
    "onnxruntime": "import of onnxruntime",
    "ssms": "import of ssm-simulators",
    "matplotlib": "import of matplotlib",
}
_PROGRAMS = {
    "jax": "import jax; jax.numpy.ones(2).sum().block_until_ready()",
    "torch": "import torch; torch.ones(2).sum().item()",
    "onnxruntime": "import onnxruntime",
    "ssms": "import ssms",
    "matplotlib": "import matplotlib.figure",
}


def measure_starts(setting: Setting, files: TrainingFiles) -> tuple[Figure, ...]:
    """The part ``starts``: seconds before a training's first batch, a first score, a first line."""
    size = setting.size
    data = files.folder(n_files=_N_FILES, rows_per_file=_ROWS)
    case = Training(_N_FILES * _ROWS, batch=_ROWS, epochs=_EPOCHS)
    tasks = []
    for trainer in trainers(setting, BACKENDS):
        measure = partial(_train, trainer, case, data, setting)
        tasks.append(Task(trainer.name, {"batches": _EPOCHS}, measure))
    folder = setting.new_folder("network")
    trainer = Trainer(OURS, size.backends[0], setting.ours)
    run(training_command(trainer, case, data, folder, split=_SPLIT))
    network = next(folder.rglob("card.json")).parent
    program = setting.ours / "lanflow"
    few = ["--n-sets", _FEW, "--rows", "10", "--n-simulated-sets", _FEW]
    evaluate = [program, "evaluate", network, *few]
    plot = [program, "plot", network, "--draws", _FEW, "--output", folder / "figures"]
    tasks += [
        _task(EVALUATION, {"sets": int(_FEW)}, evaluate, setting),
        _task(FIGURES, {"sets": int(_FEW)}, plot, setting),
    ]
    for library, name in IMPORTS.items():
        tasks.append(_task(name, {}, [sys.executable, "-c", _PROGRAMS[library]], setting, **NO_GPU))
    return in_turn(tasks, "starts", repetitions=size.repetitions, warm_ups=size.warm_ups)


def _train(trainer: Trainer, case: Training, data: Path, setting: Setting) -> dict[str, float]:
    return train(trainer, case, data, setting, split=_SPLIT).cost


def _task(
    name: str, case: dict[str, int], words: Sequence[object], setting: Setting, **variables: str
) -> Task:
    # A network of one batch passes no gate.
    command = Command(words, setting.folder, statuses=(0, _DID_NOT_PASS), variables=variables)
    return Task(name, case, lambda: run(command).cost)
