"""Compiles a model over a network with HSSM, in an interpreter that has HSSM, and evaluates it.

That interpreter runs this file, which imports nothing of lanflow: lanflow need not be installed
there. The argument is a JSON file with a :class:`Case`; one line of JSON with the :class:`Result`
is printed.
"""

import json
import sys
from pathlib import Path
from typing import TypedDict


class _Choice(TypedDict, total=False):
    # typing.NotRequired is newer than the oldest Python that HSSM runs on.
    backend: str  # HSSM's; jax when left out


class Case(_Choice):
    """Paths of networks to evaluate, trials of rt and choice, and points by parameter."""

    model: str
    choices: list[int]
    bounds: dict[str, list[float]]
    loglik: str
    loglik_missing_data: str | None
    trials: list[list[float]]
    points: list[dict[str, float]]


class Result(TypedDict):
    """At each point, a log-density for each trial and the gradient of their sum by parameter."""

    version: str
    log_densities: list[list[float]]
    gradients: list[dict[str, float]]


def examine(case: Case) -> Result:
    """Compile a model over the network and evaluate it."""
    import hssm
    import numpy as np
    import pandas as pd
    import pytensor
    from pymc.model.transform.conditioning import remove_value_transforms

    missing = case["loglik_missing_data"]
    model = hssm.HSSM(
        pd.DataFrame(case["trials"], columns=["rt", "response"]),
        model=case["model"],
        loglik=case["loglik"],
        loglik_kind="approx_differentiable",
        # All that HSSM must be told of a model that it does not know.
        model_config={
            "response": ["rt", "response"],
            "list_params": list(case["bounds"]),
            "choices": case["choices"],
            "bounds": {name: tuple(pair) for name, pair in case["bounds"].items()},
            "backend": case.get("backend", "jax"),
        },
        p_outlier=None,
        lapse=None,
        missing_data=missing is not None,
        loglik_missing_data=missing,
    )
    plain = remove_value_transforms(model.pymc_model)
    (log_density,) = plain.logp(vars=plain.observed_RVs, sum=False)
    gradient = pytensor.grad(log_density.sum(), plain.value_vars)
    compiled = plain.compile_fn([log_density, *gradient])
    names = [variable.name for variable in plain.value_vars]
    results: Result = {"version": hssm.__version__, "log_densities": [], "gradients": []}
    for point in case["points"]:
        values, *slopes = compiled({name: np.asarray(point[name]) for name in names})
        results["log_densities"].append(values.tolist())
        results["gradients"].append(dict(zip(names, map(float, slopes), strict=True)))
    return results


if __name__ == "__main__":
    sys.stdout.write(json.dumps(examine(json.loads(Path(sys.argv[1]).read_text()))) + "\n")
