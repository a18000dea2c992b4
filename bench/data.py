"""Training data side by side: lanflow's sources of labels against ssm-simulators' ``generate``.

For one model of each family and the same settings, in one run and each on one core: seconds a
parameter set, distinct parameter vectors, and the error of the labels against the exact
log-likelihood (of a solver's model, its solution on a finer grid) of all rows where that is above
log(1e-7), below which training cuts labels off.

    python bench/data.py [--models ddm levy] [--files 3] [--sets 6] [--output docs/labels.md]
"""

import os

# One core each, also for the linear algebra, which is decided when numpy is loaded.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from families import THEIRS, Cells, MakeOne, add_options, our_maker, show_table, their_maker

from lanflow.core.errors import UserError
from lanflow.data.training_file import TrainingFileContent, read_training_file
from lanflow.evaluation.reference import choose_reference
from lanflow.models.simulators import find_model
from lanflow.models.sources import has_source

OURS = ("exact_kde", "kde", "pyddm", "solver", "analytic")
LEAST_LABEL = np.log(1e-7)


@dataclass(frozen=True)
class SourceCost:
    """What the labels of one source cost, and how far off they are.

    Attributes
    ----------
    source
        Where the labels come from.
    seconds
        Of one core, a parameter set.
    n_distinct, n_sets
        Distinct parameter vectors, and all of them.
    mean, median, p99
        Of the labels' absolute errors, nats.
    """

    source: str
    seconds: float
    n_distinct: int
    n_sets: int
    mean: float
    median: float
    p99: float

    @property
    def cells(self) -> Cells:
        """The columns of the table after those of the model."""
        cost = self.seconds * 1e3
        return [
            self.source if self.source == THEIRS else f"lanflow, `{self.source}`",
            f"{cost:,.0f}" if cost >= 100 else f"{cost:.3g}",
            f"{self.n_distinct} of {self.n_sets}",
            *(f"{value:.2g}" for value in (self.mean, self.median, self.p99)),
        ]


HEAD = ("labels", "ms a set", "distinct vectors", "mean error", "median", "p99")


def main() -> None:
    """Measure, and write or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_options(parser)
    parser.add_argument("--files", type=int, default=3)
    parser.add_argument("--sets", type=int, default=6, help="parameter sets a file")
    parser.add_argument("--rows", type=int, default=1000, help="of a parameter set")
    options = parser.parse_args()
    said = (
        f"{options.files} files of {options.sets} parameter sets, {options.simulations:,} "
        f"simulations and {options.rows:,} rows a set, one core each."
    )
    show_table("data", said, HEAD, partial(measure, options=options), options)


def measure(model: str, options: argparse.Namespace) -> list[Cells]:
    """Make files of a model with every source that it has."""
    warnings.simplefilter("ignore")  # numeric warnings of single simulations
    size = {"sets": options.sets, "rows": options.rows, "simulations": options.simulations}
    makers = {THEIRS: partial(their_maker, model=model, **size)} | {
        source: partial(our_maker, model=model, labels=source, **size)
        for source in OURS
        if has_source(source, find_model(model))
    }
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for source, maker in makers.items():
            try:
                rows.append(_cost(source, model, options, Path(name) / source, maker).cells)
            except UserError:  # an estimator of ssm-simulators' that is not for this model
                continue
    return rows


def _cost(
    source: str,
    model: str,
    options: argparse.Namespace,
    folder: Path,
    maker: Callable[[Path], MakeOne],
) -> SourceCost:
    """Make files in a folder; what they cost and hold."""
    start = time.process_time()
    make_one = maker(folder)
    for i in range(options.files):
        make_one(i)
    seconds = (time.process_time() - start) / (options.files * options.sets)
    paths = sorted(folder.rglob("*.pickle"))
    files = [read_training_file(path.read_bytes(), path) for path in paths]
    vectors = np.concatenate([file.arrays["cpn"][0] for file in files])
    errors = np.abs(np.concatenate([_label_errors(model, file) for file in files]))
    n_distinct = len(np.unique(vectors, axis=0))
    sizes = (float(errors.mean()), *map(float, np.quantile(errors, (0.5, 0.99))))
    return SourceCost(source, seconds, n_distinct, len(vectors), *sizes)


def _label_errors(model: str, file: TrainingFileContent) -> np.ndarray:
    """Label less truth, of the rows where the truth is not cut off."""
    features, labels = file.arrays["lan"]
    n_parameters = len(file.parameters)
    reference = choose_reference(find_model(model))
    vectors, which = np.unique(features[:, :n_parameters], axis=0, return_inverse=True)
    out = []
    for index, vector in enumerate(vectors):
        rows = which.ravel() == index
        theta = dict(zip(file.parameters, vector.astype(float).tolist(), strict=True))
        density = reference.density(theta, seed=1)
        truth = density.evaluate(features[rows, -2], features[rows, -1])
        out.append((labels.ravel()[rows] - truth)[truth > LEAST_LABEL])
    return np.concatenate(out)


if __name__ == "__main__":
    main()
