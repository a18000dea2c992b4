"""Run by an interpreter that has HSSM, as a file: what HSSM makes of a network.

The argument is a JSON file: the model's name, choices and bounds by parameter, paths of the
networks, trials, points in parameter space, and HSSM's backend, jax when left out. Printed is one
line of JSON: at each point a log-density for each trial and the gradient of their sum by parameter.
Nothing of lanflow is imported, which need not be installed there.
"""

import json
import sys
from pathlib import Path
from typing import Any


def examine(case: dict[str, Any]) -> dict[str, Any]:
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
    results: dict[str, Any] = {"version": hssm.__version__, "log_densities": [], "gradients": []}
    for point in case["points"]:
        values, *slopes = compiled({name: np.asarray(point[name]) for name in names})
        results["log_densities"].append(values.tolist())
        results["gradients"].append(dict(zip(names, map(float, slopes), strict=True)))
    return results


if __name__ == "__main__":
    sys.stdout.write(json.dumps(examine(json.loads(Path(sys.argv[1]).read_text()))) + "\n")
