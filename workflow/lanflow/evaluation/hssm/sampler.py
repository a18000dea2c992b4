"""Samples the posteriors of subjects with HSSM's NUTS, in an interpreter that has HSSM.

That interpreter runs this file, which imports nothing of lanflow: lanflow need not be installed
there. The argument is a JSON file with a :class:`Case`; a line of JSON with the :class:`Draws` of
each subject is printed.
"""

import json
import sys
from pathlib import Path
from typing import TypedDict


class SubjectCase(TypedDict):
    """The data of one subject, where its chains start by parameter, and their seed."""

    index: int
    rts: list[float]
    choices: list[int]
    start: dict[str, float]
    seed: int


class Case(TypedDict):
    """The path of a network to sample with, and the bounds that its priors are uniform within."""

    model: str
    loglik: str
    choices: list[int]
    bounds: dict[str, list[float]]
    n_chains: int
    n_tune: int
    n_draws: int
    subjects: list[SubjectCase]


class Draws(TypedDict):
    """Draws of one subject by parameter, shape (chains, draws), and whether they can be trusted."""

    index: int
    version: str
    draws: dict[str, list[list[float]]]
    r_hat: dict[str, float]
    ess: dict[str, float]
    n_divergent: int


def sample(case: Case, subject: SubjectCase) -> Draws:
    """Sample the parameters of one subject."""
    import arviz
    import hssm
    import pandas as pd
    import pymc

    hssm.set_floatX("float32")  # as the network's weights are
    names = list(case["bounds"])
    # No lapses: the simulated subjects have none, and ranks tell of the network alone.
    model = hssm.HSSM(
        pd.DataFrame({"rt": subject["rts"], "response": subject["choices"]}),
        model=case["model"],
        loglik=case["loglik"],
        loglik_kind="approx_differentiable",
        model_config={
            "response": ["rt", "response"],
            "list_params": names,
            "choices": case["choices"],
            "bounds": {name: tuple(pair) for name, pair in case["bounds"].items()},
            "backend": "jax",
        },
        include=[
            {"name": name, "prior": {"name": "Uniform", "lower": low, "upper": high}}
            for name, (low, high) in case["bounds"].items()
        ],
        p_outlier=None,
        lapse=None,
        process_initvals=False,
    )
    traces = model.sample(
        sampler="numpyro",
        initvals=subject["start"],
        chains=case["n_chains"],
        tune=case["n_tune"],
        draws=case["n_draws"],
        random_seed=subject["seed"],
        progressbar=False,
        nuts_sampler_kwargs={"chain_method": "sequential", **_nuts(pymc.__version__)},
        idata_kwargs={"log_likelihood": False},
    )
    r_hat, ess = arviz.rhat(traces), arviz.ess(traces)
    return {
        "index": subject["index"],
        "version": hssm.__version__,
        "draws": {name: traces.posterior[name].to_numpy().tolist() for name in names},
        "r_hat": {name: float(r_hat[name]) for name in names},
        "ess": {name: float(ess[name]) for name in names},
        "n_divergent": int(traces.sample_stats["diverging"].sum()),
    }


def _nuts(pymc_version: str) -> dict[str, object]:
    """Ask for NUTS that adapts to covariances, as this PyMC takes it: before version 6, nested.

    Parameters of such models depend on one another: with their covariances there are three times
    as many independent draws, in a third of the time.
    """
    asked = {"dense_mass": True}
    is_nested = int(pymc_version.partition(".")[0]) < 6
    return {"nuts_kwargs": asked} if is_nested else {**asked}


if __name__ == "__main__":
    told = json.loads(Path(sys.argv[1]).read_text())
    # Libraries write to stdout as they like; the lines of results are for one reader.
    results, sys.stdout = sys.stdout, sys.stderr
    for each in told["subjects"]:
        results.write(json.dumps(sample(told, each)) + "\n")
        results.flush()
