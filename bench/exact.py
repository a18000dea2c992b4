"""Exact densities: what they cost, how far they are off, and whether others have the same.

Of each model whose density is not a closed form of textbooks: the seconds of one core for a
parameter set of 200 rows with all its labels, the error of the labels against finer grids and
quadratures, and the probability that is too much, at random parameters in the bounds. With
``--hssm``, a python that has HSSM: the largest differences to its own likelihoods. The page of the
documentation is written with

    python bench/exact.py --hssm .cache/peers/hssm/bin/python --output docs/exact.md
"""

import os

# One core, also for the linear algebra, which is decided when numpy is loaded.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np

from lanflow.core.tables import markdown_table
from lanflow.models.density import Array, Density, labels
from lanflow.models.exact import ballistic, closed_races, variable
from lanflow.models.exact.normal import quadrature
from lanflow.models.model import Model
from lanflow.models.simulators import draw_parameters, find_model, model_names
from lanflow.models.sources import best_source, is_in_chapter, make_density

ROOT = Path(__file__).resolve().parents[1]
PEER_SCRIPT = ROOT / "tests" / "peers" / "scripts" / "hssm_densities.py"
N_ROWS = 200
# A label below it is of what hardly ever happens.
LIKELY = -12.0
# Of each simulator: the chapter that has its density, which has a test of its own.
CHAPTERS = {
    **dict.fromkeys(("lba_vanilla", "lba_angle", "rlwm_lba_race", "rlwm_lba_pw_v1"), "ballistic"),
    **dict.fromkeys(("racing_diffusion_model", "poisson_race"), "closed_races"),
    "race_model": "reflected",
    **dict.fromkeys(("full_ddm", "full_ddm_rv"), "variable"),
    **dict.fromkeys(("ddm_flexbound_seq2", "ddm_flexbound_par2"), "two/stages"),
    "levy_flexbound": "levy",
    "ddm_flex_leak2": "two_leaks",
    "ddm_flexbound_mic2_ornstein": "two/levels",
    "ddm_flexbound_mic2_multinoise": "two/levels",
    "ddm_flexbound_tradeoff": "two/levels",
}
# Numbers of quadrature nodes, and names of nodes and weights, of each chapter.
NODES: dict[ModuleType, dict[int, tuple[str, str]]] = {
    ballistic: {100: ("_NODES", "_WEIGHTS"), 30: ("_PART", "_PART_WEIGHTS")},
    closed_races: {100: ("_NODES", "_WEIGHTS")},
    variable: {48: ("_STARTS", "_START_WEIGHTS"), 60: ("_NODES", "_WEIGHTS")},
}
HEAD = """\
# Exact densities

`auto` takes these for labels, for relabelling, and as the reference of an evaluation; beside them
stand `ddm`, `ddm_legacy`, `ddm_sdv` and `angle` (closed forms) and the models of one particle, for
which the Fokker-Planck equation is solved ([every model](models.md)). A model is recognised by its
simulator, boundary, drift and parameters, not by its name, so that the same process under other
bounds, or in a models file, has them too. Each chapter of `workflow/lanflow/models/exact` derives
its density and names its source.

| chapter | densities |
| --- | --- |
| `ballistic` | linear ballistic accumulators, with an angle, and with two processes each |
| `closed_races` | racing diffusions from variable starts without a floor; Poisson processes |
| `reflected` | races of diffusions above a reflecting floor, to a bound that is a straight line |
| `variable` | one particle whose start, drift and non-decision time vary over trials |
| `two/levels` | a high decision whose process drives the low one, between the same boundaries |
| `two/stages` | two decisions, in sequence or side by side, between the same boundaries |
| `two/bent` | the same between boundaries that are not straight, from the density of the place |
| `levy` | one particle with stable noise, between boundaries that are straight lines |
| `two_leaks` | one particle with two inputs, each of which leaks at a rate of its own |

## What ssm-simulators' simulators do

Densities follow the simulator (version {version}), also where its documentation says something
else:

- `lba*`, `dev_rlwm_lba_*`: speeds are *absolute values* of normal draws with a standard deviation
  of 0.1. The published model, and HSSM's likelihood, have negative speeds that never arrive.
- `lba2`, `lba3`: starts above the bound (`A` above `b`), which ssm-simulators draws and lanflow
  does not, are answered before the time zero.
- `dev_rlwm_lba_race_*`: both processes of a choice begin at one start, so that they are not
  independent accumulators.
- `race_*`: particles are set back to zero after each step, a reflecting floor for short steps.
- `racing_diffusion_3`: with `A` above `b`, some answer at the decision time zero, and of several
  the one with the lowest number. That share counts among probabilities and has no density.
- `racing_diffusion_3`, `poisson_race`: who has not answered until `max_t` counts as an omission
  in the simulator; here nobody is cut off but by a deadline.
- `full_ddm`: `sz` is in units of evidence, in `full_ddm_rv` it is a share of the distance. Both
  `sz` and `st` are half a width. Some starts of `full_ddm` are outside of the boundaries and
  answer at once.
- `full_ddm_deadline`: the simulator stops a particle at the deadline less the *mean* non-decision
  time and takes the side it is on for an answer; here an answer counts if it came in time.
- `ddm_seq2*`: the low particle starts at its share of the boundaries *as they are when the high one
  has arrived*, and they go on from there: their clock is that of the trial. The non-decision time
  counts once.
- `ddm_par2*`: the low particle of the high choice that was made starts at the beginning, and the
  later of both decisions ends the trial. With several threads (`n_threads`) ssm-simulators starts
  it at its share of the boundaries at the time of the high decision instead: another model, if
  boundaries move and `zl1` or `zl2` is not a half. No model in its catalogue has both.
- `ddm_seq2*`, `ddm_par2*`: choices are `2 * high + low`. Who has not decided until `max_t` gets
  choices by where the particles are, or by `zl1` and `zl2`; here nobody is cut off but by a
  deadline, which leaves the same answers.
- `levy*`: the noise has the characteristic function `exp(-t |k|**alpha)`, so that with `alpha` 2
  its variance is twice that of other models. Below 2 the first answers come by jumps from the
  start, at once after the non-decision time: the density does not begin at zero.
- `ddm_mic2_*`, `tradeoff_*`: until the high decision the low drift follows the *place* of the
  high process, moment by moment, not only its decision; only the low process of the high choice is
  run; its drift is without the factor `1 - d`, its noise whole and its leak gone afterwards.
- `ddm_mic2_*_no_lowdim_noise` are `ddm_mic2_*` without the ending: the noise is there.
- `ddm_mic2_multinoise_*`: the low choice is read off with the boundary at the *high* decision.
  Where the boundary has come down since, from `b` to `b_later`, it is the wrong one with the
  probability `(1 - b_later / b) / 2`.
- `tradeoff_conflict_gamma_no_bias`: its `alphagamma` and `scalegamma` are not the names that the
  boundary has, so that they change nothing. With the boundary's own it begins with a jump, and no
  density is solved; nor for `ddm_mic2_multinoise_conflict_gamma_no_bias`, whose low choice is read
  off with a boundary that may rise again. Both have labels by `kde`.
- `conflict_stimflexrel1_leak2`: both inputs leak to zero, the start does not; their noise is the
  same, and `v` changes nothing.
- Diffusions are looked at once a step (0.001 s), as if boundaries were 0.018 further away. The
  densities have no step; the tests correct for that of the simulations.

"""
MODELS_HEAD = """\
## Cost and error

Made by `make bench-exact`: milliseconds of one core for a parameter set of {rows} rows with all
labels (median of {sets} sets), and the absolute error of the labels, in nats, against a grid four
times finer (in space twice, for `two/levels`) or at least twice the nodes of each quadrature,
over trials drawn from the density. Where nothing is approximated but in rounding, the error is
zero. `above 1` is the probability of all answers within 20 s, less one, where it is most; those who
take longer make it less. The test of each chapter holds its density against other formulas,
conservation, and simulations, and shows that it would see a shift of 1 %. {remark}

"""
PEERS_HEAD = """\
## Against others' implementations

Differences of log-likelihoods to HSSM {version}'s own, and for `full_ddm` to hddm-wfpt with an
error bound of 1e-10, over {n} trials of {sets} parameter vectors each, where ours is above
{likely:g}. `tests/peers/test_hssm_densities.py` repeats it. The speeds of `lba*` are at least 0.5
there: below, HSSM's model has speeds less than zero. Of `full_ddm`, hddm-wfpt's adaptive rule is
off: averages with 100,000 nodes, one by one, agree with ours to 2e-5 (`test_variable.py`).

"""
# Trainings take too long to be repeated here.
NETWORKS = """
## Networks of exact labels

Studies in `config/examples`, each judged against the exact density at 100 vectors, as seen on a
virtual machine of two cores (Intel Xeon, 2.1 GHz) that others used too: the time is that of the
processors, two of which share it (`/usr/bin/time -v make run
STUDY=config/examples/laptop_full_ddm.yaml`, and so on), with Python 3.11, numpy 2.4.6 and jax
0.10.2.

| study | vectors, rows | mean error | 99th pct | verdict | CPU seconds |
| --- | --- | --- | --- | --- | --- |
| `laptop_full_ddm.yaml` | 10,000, 2.0 M | 0.0044 | 0.028 | passed | 539 |
| `laptop_lba3.yaml` | 8,000, 1.6 M | 0.0100 | 0.064 | passed | 154 |
| `laptop_race_no_bias_3.yaml` | 10,000, 2.0 M | 0.0031 | 0.019 | passed | 652 |
| `laptop_seq2.yaml` | 10,000, 2.0 M | 0.0140 | 0.086 | passed | 562 |
"""


def test_file(model: Model) -> PurePosixPath:
    """The file of tests of a model's density, below tests/unit/models."""
    if not is_in_chapter(model):
        return PurePosixPath("test_solver.py")
    path = PurePosixPath("exact") / CHAPTERS[str(model.simulator)]
    return path.with_name(f"test_{path.name}.py")


def exact_models() -> Iterator[Model]:
    """The models whose densities are in these chapters, and those of one particle."""
    for name in sorted(model_names()):
        model = find_model(name)
        if is_in_chapter(model) or best_source(model) == "solver":
            yield model


@contextmanager
def finer() -> Iterator[None]:
    """Quadratures with more nodes and finer tables, for the body."""
    with ExitStack() as stack:
        for chapter, quadratures in NODES.items():
            for n, names in quadratures.items():
                for name, value in zip(names, quadrature(n), strict=True):
                    stack.enter_context(patch.object(chapter, name, value))
        stack.enter_context(patch.object(variable, "_PER_FOLD", 60))
        yield


def density_of(model: Model, theta: dict[str, float], *, refinement: int = 1) -> Density:
    """The best density of a model."""
    source = best_source(model)
    assert source != "kde"
    return make_density(source, model, theta, 20.0, refinement=refinement)


def measured(model: Model, n_sets: int) -> list[str]:
    """A row of the table of models."""
    seconds, off, totals = [], [], []
    for vector in draw_parameters(model, model.bounds, n_sets, seed=1, is_even=True):
        theta = model.bounds.named(vector)
        start = time.process_time()
        density = density_of(model, theta)
        rows = density.sample(N_ROWS, random_state=1)
        values = density.evaluate(**rows)
        labels(density, n_samples=1)
        seconds.append(time.process_time() - start)
        totals.append(density.cumulative[:, -1].sum())
        with finer():
            better = density_of(model, theta, refinement=4)
            off.append(np.abs(values - better.evaluate(**rows)))
    errors = np.concatenate(off)
    return [
        f"`{model.name}`",
        best_source(model),
        f"{np.median(seconds) * 1e3:.1f}",
        *(f"{value:.1e}" for value in (errors.mean(), np.quantile(errors, 0.99), errors.max())),
        f"{max(max(totals) - 1, 0):.0e}",
        f"`{test_file(model)}`",
    ]


PEER_BOUNDS = {
    "lba2": {"A": (0.1, 0.5), "b": (0.6, 1.0), "v0": (0.5, 1.0), "v1": (0.5, 1.1)},
    "lba3": {
        "A": (0.1, 0.5),
        "b": (0.6, 1.0),
        "v0": (0.5, 1.0),
        "v1": (0.5, 1.1),
        "v2": (0.5, 0.9),
    },
    "racing_diffusion_3": {
        "v0": (0.1, 2.5),
        "v1": (0.1, 2.5),
        "v2": (0.1, 2.5),
        "A": (0.1, 0.9),
        "b": (1.0, 3.0),
        "t": (0.0, 2.0),
    },
    "poisson_race": {},
    "full_ddm": {"a": (0.6, 2.5)},
}


def peer_cases(n_sets: int, n_rows: int) -> list[dict[str, Any]]:
    """Parameters and trials at which densities are compared, with ours."""
    cases = []
    for name, changed in PEER_BOUNDS.items():
        model = find_model(name)
        bounds = model.bounds.overlaid(changed)
        for vector in draw_parameters(model, bounds, n_sets, seed=2, is_even=True):
            theta = bounds.named(vector)
            density = density_of(model, theta)
            rows = density.sample(n_rows, random_state=1)
            rts = rows["rts"].astype(np.float32).astype(float)
            cases.append(
                {
                    "model": name,
                    "theta": theta,
                    "rts": rts.tolist(),
                    "choices": rows["choices"].astype(int).tolist(),
                    "ours": density.evaluate(rts, rows["choices"]).tolist(),
                }
            )
    return cases


def peer_differences(cases: list[dict[str, Any]], theirs: list[list[float]]) -> dict[str, Array]:
    """Absolute differences of log-likelihoods, by model, where they are likely."""
    found: dict[str, list[Array]] = {}
    for case, values in zip(cases, theirs, strict=True):
        ours = np.array(case["ours"])
        off = np.abs(ours - np.array(values))[ours > LIKELY]
        found.setdefault(case["model"], []).append(off)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def asked_of(python: Path, cases: list[dict[str, Any]]) -> list[list[float]]:
    """HSSM's log-likelihoods of the cases."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cases.json"
        path.write_text(json.dumps(cases))
        done = subprocess.run(  # noqa: S603
            [python, PEER_SCRIPT, path], check=True, capture_output=True, text=True, cwd=folder
        )
    values: list[list[float]] = json.loads(done.stdout.splitlines()[-1])
    return values


def peer_table(python: Path, n_sets: int) -> str:
    """The section of comparisons."""
    says = [python, "-c", "import importlib.metadata as m; print(m.version('hssm'))"]
    version = subprocess.run(  # noqa: S603
        says, check=True, capture_output=True, text=True
    ).stdout.strip()
    cases = peer_cases(n_sets, 50)
    rows = [
        [f"`{name}`", f"{off.mean():.1e}", f"{off.max():.1e}"]
        for name, off in peer_differences(cases, asked_of(python, cases)).items()
    ]
    head = PEERS_HEAD.format(version=version, n=50 * n_sets, sets=n_sets, likely=LIKELY)
    return head + markdown_table(["model", "mean", "largest"], rows) + "\n"


def main() -> None:
    """Write or print the page."""
    from importlib.metadata import version

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", help="their rows alone, printed")
    parser.add_argument("--sets", type=int, default=20, help="parameter vectors of each model")
    parser.add_argument("--hssm", type=Path, help="a python that has HSSM")
    parser.add_argument("--output", type=Path, help="the page; printed when left out")
    parser.add_argument("--remark", default="", help="a sentence on the machine, for the page")
    options = parser.parse_args()
    head = ["model", "source", "ms", "mean", "99th pct", "largest", "above 1", "test"]
    models = map(find_model, options.models) if options.models else exact_models()
    rows = [measured(model, options.sets) for model in models]
    if options.models:
        print(markdown_table(head, rows))
        return
    text = HEAD.format(version=version("ssm-simulators"))
    text += MODELS_HEAD.format(rows=N_ROWS, sets=options.sets, remark=options.remark)
    text += markdown_table(head, rows) + "\n"
    if options.hssm:
        text += "\n" + peer_table(options.hssm, options.sets)
    text += NETWORKS
    if options.output:
        options.output.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
