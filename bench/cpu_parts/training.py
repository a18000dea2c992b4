"""Training side by side: ``jaxtrain`` and ``torchtrain`` of lanflow and of LANfactory.

Every command trains the same network on the same files, as a process of its own. Each writes a line
at the end of an epoch; the time from the first of these lines to the last is what epochs take,
validation included, without starting, packing and compiling. Rows per second are put beside what
the rate of products of matrices allows, measured in the same run: an update multiplies matrices
three times, forward and twice backward.
"""

import itertools
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import yaml

from cpu_parts.processes import NO_GPU, Command, CommandError, Done, Setting, Task, in_turn, run
from cpu_parts.results import Figure
from cpu_parts.sizes import TRAINED, Training
from cpu_parts.training_files import TrainingFiles
from lanflow.training.config import DEFAULT_PATH

OURS, THEIRS = "lanflow", "LANfactory"
BACKENDS = ("jax", "torch")
_N_FILES = 10
# An epoch's last line: ours, and those of LANfactory 0.7.0 in Torch and in JAX.
END_OF_EPOCH = r"[Ee]poch:? \d+ ?/ ?\d+,? +(train_loss|validation_loss|test_loss)"
# Operations per second of a large product, which is what a machine can do, and of the products of
# one update, each by itself: the median of several of each.
_PRODUCTS = """
import json, sys, time
backend, least_s = sys.argv[1], float(sys.argv[2])
threads, batch, *layers = map(int, sys.argv[3:])
large = [(2048, 2048, 2048)]
update = []
for a, b in zip(layers, layers[1:]):
    update += [(batch, a, b), (batch, b, a), (a, batch, b)]
if backend == "jax":
    import jax
    def random(*shape):
        return jax.random.normal(jax.random.key(1), shape)
    @jax.jit
    def multiply(pairs):
        return [a @ b for a, b in pairs]
    def run(pairs):
        jax.block_until_ready(multiply(pairs))
else:
    import torch
    torch.set_num_threads(threads)
    random = torch.randn
    def run(pairs):
        return [a @ b for a, b in pairs]
found = {}
for name, shapes in (("product", large), ("update", update)):
    operations = sum(2 * a * b * c for a, b, c in shapes)
    pairs = [(random(a, b), random(b, c)) for a, b, c in shapes]
    run(pairs)
    rates, end = [], time.perf_counter() + least_s
    while time.perf_counter() < end or len(rates) < 9:
        start = time.perf_counter()
        run(pairs)
        rates.append(operations / (time.perf_counter() - start))
    found[name + "_operations_s"] = sorted(rates)[len(rates) // 2]
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Trainer:
    """A command that trains: whose it is, and with which backend."""

    owner: str
    backend: str
    folder: Path

    @property
    def name(self) -> str:
        """The name, as tables have it."""
        return contender(self.owner, self.backend)


def contender(owner: str, backend: str) -> str:
    """The name of a training command in figures."""
    return f"{owner}, {backend}"


def products_of(backend: str) -> str:
    """The name of a backend's products of matrices in figures."""
    return f"products, {backend}"


def trainers(setting: Setting, backends: Sequence[str]) -> list[Trainer]:
    """Ours and theirs, of each backend."""
    owners = ((OURS, setting.ours), (THEIRS, setting.theirs))
    return [
        Trainer(owner, backend, folder)
        for backend in backends
        for owner, folder in owners
        if folder is not None
    ]


def measure_training(setting: Setting, files: TrainingFiles) -> tuple[Figure, ...]:
    """The part ``training``: one network of a usual size, with both backends."""
    tasks = list(_tasks(setting, files, setting.size.training, BACKENDS))
    return in_turn(
        tasks,
        "training",
        repetitions=setting.size.repetitions,
        warm_ups=setting.size.warm_ups,
    )


def measure_sweep(setting: Setting, files: TrainingFiles, what: str) -> tuple[Figure, ...]:
    """The part ``sizes``, ``batches`` or ``widths``: trainings that differ in one thing."""
    cases: Sequence[Training] = getattr(setting.size, what)
    return in_turn(
        list(_tasks(setting, files, cases, setting.size.backends)),
        what,
        repetitions=setting.size.sweep_repetitions,
        warm_ups=setting.size.warm_ups,
    )


def _tasks(
    setting: Setting, files: TrainingFiles, cases: Sequence[Training], backends: Sequence[str]
) -> Iterator[Task]:
    for case in cases:
        data = files.folder(n_files=_N_FILES, rows_per_file=case.rows // _N_FILES)
        for trainer in trainers(setting, backends):
            epochs = case.epochs if trainer.owner == OURS else case.their_epochs
            if epochs:
                own = replace(case, epochs=epochs)
                yield Task(trainer.name, own.case, partial(_measure, trainer, own, data, setting))
    for case in {(case.batch, case.width): case for case in cases}.values():
        for backend in backends:
            sizes = {"batch": case.batch, "width": case.width}
            yield Task(products_of(backend), sizes, partial(_products, backend, case, setting))


def _measure(trainer: Trainer, case: Training, data: Path, setting: Setting) -> Mapping[str, float]:
    """Cost of a training, and seconds of its epochs after the first."""
    done = train(trainer, case, data, setting)
    if len(done.lines_s) != case.epochs:
        raise CommandError(f"{trainer.name}: {len(done.lines_s)} of {case.epochs} epochs were seen")
    return done.cost | {"epochs_s": done.lines_s[-1] - done.lines_s[0]}


def _products(backend: str, case: Training, setting: Setting) -> Mapping[str, float]:
    """Operations per second of products of matrices."""
    numbers = (setting.size.products_s, setting.threads, case.batch, *case.layers)
    words = [sys.executable, "-c", _PRODUCTS, backend, *map(str, numbers)]
    done = run(Command(words, setting.folder, variables=NO_GPU))
    return dict(json.loads(done.output))


def train(
    trainer: Trainer, case: Training, data: Path, setting: Setting, *, split: float = TRAINED
) -> Done:
    """Train once, in a folder of its own that is removed."""
    with tempfile.TemporaryDirectory(dir=setting.folder) as name:
        return run(training_command(trainer, case, data, Path(name), split=split))


def training_command(
    trainer: Trainer, case: Training, data: Path, folder: Path, *, split: float = TRAINED
) -> Command:
    """The command of a training, with its file written to a folder, where its network goes."""
    config = folder / "training.yaml"
    config.write_text(yaml.safe_dump(training_settings(case, split=split)))
    is_ours = trainer.owner == OURS
    words = [trainer.folder / f"{trainer.backend}train", "--config-path", config]
    words += ["--training-data-folder", data, "--networks-path-base", folder]
    return Command(
        [*words, *["--device", "cpu"] * is_ours],
        folder,
        is_ours=is_ours,
        variables={} if is_ours else {"PYTHONUNBUFFERED": "1"},
        line=END_OF_EPOCH,
    )


def training_settings(case: Training, *, split: float = TRAINED) -> dict[str, object]:
    """A training file that both read."""
    default: dict[str, object] = yaml.safe_load(DEFAULT_PATH.read_text())
    return (
        default
        | {
            "CPU_BATCH_SIZE": case.batch,
            "N_EPOCHS": case.epochs,
            "TRAIN_VAL_SPLIT": split,
            "TRAINING_DATA_FOLDER": None,  # a key that LANfactory's file must have
            "LAYER_SIZES": [list(case.layers[1:])],
            "ACTIVATIONS": [["tanh"] * (len(case.layers) - 2)],
        }
    )


def operations_per_row(width: int) -> int:
    """Operations of the products of matrices in an update, for each row."""
    layers = Training(0, width=width).layers
    return 6 * sum(n_in * n_out for n_in, n_out in itertools.pairwise(layers))


def rows_per_second(figure: Figure) -> list[float]:
    """Rows that were trained on in a second of the epochs after the first."""
    trained = TRAINED * figure.case["rows"] * (figure.case["epochs"] - 1)
    return [trained / seconds for seconds in figure.values["epochs_s"]]


def seconds_beside_epochs(figure: Figure) -> list[float]:
    """Seconds of a whole command, less those of as many epochs as it has."""
    more = figure.case["epochs"] / (figure.case["epochs"] - 1)
    pairs = zip(figure.values["wall_s"], figure.values["epochs_s"], strict=True)
    return [whole - more * epochs for whole, epochs in pairs]


def allowed_rows_per_second(products: Figure, of: str = "product") -> list[float]:
    """Rows per second if an update were nothing but its products of matrices.

    Parameters
    ----------
    products
        Rates of products that were measured.
    of
        At the rate of a large ``product``, or at that of those of an ``update``.
    """
    operations = operations_per_row(products.case["width"])
    return [rate / operations for rate in products.values[f"{of}_operations_s"]]
