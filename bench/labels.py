"""What labels are worth: the same network trained on data of the same cost from three sources.

For one model of each family, each source makes training files until it has used up its time on one
core: ssm-simulators' own ``generate`` functions, lanflow's ``kde`` and lanflow's best (``auto``).
The same network is trained on each with the same number of updates, and scored as ``lanflow
evaluate`` does: error of the log-likelihood on simulated trials at random parameters inside the
box.

    python bench/labels.py [--models ddm levy] [--seconds 30] [--visits 3000000]
        [--output docs/labels.md]
"""

import os

# One core each, also for the linear algebra, which is decided when numpy is loaded.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

import argparse
import tempfile
import time
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import yaml
from families import THEIRS, Cells, MakeOne, add_options, our_maker, show_table, their_maker

from lanflow.data.training_file import read_training_file
from lanflow.evaluation.evaluate import evaluate
from lanflow.evaluation.record import EvaluationSettings
from lanflow.networks.network import Network
from lanflow.training.prepare import TrainingOptions
from lanflow.training.run import train

SETS_PER_FILE = 20
# Rows of a parameter set: a set that costs more is used more.
ROWS = {"kde": 1000, "auto": 200}
TEMPLATE = Path(__file__).parents[1] / "config" / "training" / "laptop_lan.yaml"


@dataclass(frozen=True)
class SourceWorth:
    """How good a network is that learnt from the labels of one source.

    Attributes
    ----------
    source
        Where the labels come from, for people.
    n_distinct, n_sets, n_rows
        Distinct parameter vectors, all of them, and rows of the files.
    mean, median, p99
        Of the network's absolute errors, nats.
    """

    source: str
    n_distinct: int
    n_sets: int
    n_rows: int
    mean: float
    median: float
    p99: float

    @property
    def cells(self) -> Cells:
        """The columns of the table after those of the model."""
        numbers = (self.mean, self.median, self.p99)
        distinct = f"{self.n_distinct:,} of {self.n_sets:,}"
        return [self.source, distinct, f"{self.n_rows:,}", *(f"{value:.2g}" for value in numbers)]


HEAD = ("labels", "distinct vectors", "rows", "mean error", "median", "p99")


def main() -> None:
    """Measure, and write or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_options(parser)
    parser.add_argument("--seconds", type=float, default=30, help="of one core, for each source")
    parser.add_argument(
        "--visits", type=int, default=3_000_000, help="rows trained on, repeats too"
    )
    parser.add_argument("--n-sets", type=int, help="parameter vectors of the score")
    options = parser.parse_args()
    said = (
        f"{options.seconds:g} core-seconds of data, {options.visits:,} rows visited in training "
        "with the settings of `config/training/laptop_lan.yaml`."
    )
    show_table("labels", said, HEAD, partial(measure, options=options), options)


def measure(model: str, options: argparse.Namespace) -> list[Cells]:
    """Make files of a model with every source, and train on each."""
    warnings.simplefilter("ignore")  # numeric warnings of single simulations
    size = {"sets": SETS_PER_FILE, "simulations": options.simulations}
    makers = {THEIRS: partial(their_maker, model=model, rows=ROWS["kde"], **size)} | {
        f"lanflow, `{labels}`": partial(our_maker, model=model, labels=labels, rows=rows, **size)
        for labels, rows in ROWS.items()
    }
    found = []
    for name, maker in makers.items():
        with tempfile.TemporaryDirectory() as folder:
            _until_spent(options.seconds, maker(Path(folder) / "data"))
            found.append(_worth(name, model, options, Path(folder)).cells)
    return found


def _until_spent(seconds: float, make_one: MakeOne) -> None:
    """Make files, at least two, until the time on this core is used up."""
    start, made = time.process_time(), 0
    while made < 2 or time.process_time() - start < seconds:
        make_one(made)
        made += 1


def _worth(source: str, model: str, options: argparse.Namespace, folder: Path) -> SourceWorth:
    """Train on a folder of files; what came of it."""
    files = folder / "files"
    files.mkdir()
    vectors, n_rows = [], 0
    for path in (folder / "data").rglob("*.pickle"):
        arrays = read_training_file(path.read_bytes(), path).arrays
        vectors.append(arrays["cpn"][0])
        n_rows += len(arrays["lan"][0])
        path.rename(files / path.name)
    network = _train_on(files, model, folder, n_epochs=max(round(options.visits / n_rows), 1))
    settings = EvaluationSettings(n_sets=options.n_sets, n_simulated_sets=1)
    scores = evaluate(Network.from_folder(network), settings=settings)[0].scores
    assert scores is not None
    numbers = (scores.mean_abs_error, scores.median_abs_error, scores.p99_abs_error)
    n_distinct = len(np.unique(np.concatenate(vectors), axis=0))
    return SourceWorth(source, n_distinct, sum(map(len, vectors)), n_rows, *numbers)


def _train_on(files: Path, model: str, folder: Path, *, n_epochs: int) -> Path:
    """The folder of a network like the laptop study's."""
    path, settings = folder / "training.yaml", yaml.safe_load(TEMPLATE.read_text())
    # Where an epoch is much of the training, the learning rate rises for a tenth of it.
    schedule = settings["LR_SCHEDULER_PARAMS"]
    schedule["warmup_epochs"] = min(schedule["warmup_epochs"], n_epochs / 10)
    path.write_text(yaml.safe_dump(settings | {"N_EPOCHS": n_epochs}))
    result = train(
        TrainingOptions(
            backend="jax",
            networks_path_base=folder / "networks",
            config_path=path,
            model=model,
            training_data_folder=files,
            network_name="net",
            device="cpu",
            threads=1,
        )
    )
    return Path(result["network_folder"])


if __name__ == "__main__":
    main()
