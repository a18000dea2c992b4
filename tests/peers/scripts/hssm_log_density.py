"""Run with HSSM: compile models over our networks; prints their log-densities and gradients.

The argument is a JSON file: a list of cases, each with the model's name, the ONNX file, HSSM's
backend, the trials and points in parameter space. Printed is a list with, for each case, one
log-density a trial and the gradient of their sum by parameter, at each point.
"""

import json
import sys
from pathlib import Path
from typing import Any

import hssm
import numpy as np
import pandas as pd
import pytensor
from pymc.model.transform.conditioning import remove_value_transforms


def evaluate(case: dict[str, Any]) -> dict[str, list[Any]]:
    missing = case.get("loglik_missing_data")
    model = hssm.HSSM(
        pd.DataFrame(case["trials"], columns=["rt", "response"]),
        model=case["model"],
        loglik=case["loglik"],
        loglik_kind="approx_differentiable",
        model_config={"backend": case["backend"]},
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
    results: dict[str, list[Any]] = {"log_densities": [], "gradients": []}
    for point in case["points"]:
        values, *slopes = compiled({name: np.asarray(point[name]) for name in names})
        results["log_densities"].append(values.tolist())
        results["gradients"].append(dict(zip(names, map(float, slopes), strict=True)))
    return results


cases = json.loads(Path(sys.argv[1]).read_text())
sys.stdout.write(json.dumps([evaluate(case) for case in cases]) + "\n")
