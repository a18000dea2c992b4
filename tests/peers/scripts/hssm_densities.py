"""Run with HSSM: its own log-likelihoods of models that it has a likelihood for.

The argument is a JSON file: a list of ``{"model": ..., "theta": {...}, "rts": [...], "choices":
[...]}``. Printed is a list of lists of log-likelihoods. Of ``full_ddm`` it is hddm-wfpt's, which
HSSM uses, with the widths that the model has here and an error bound that is far below HSSM's.
"""

import json
import sys
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402
import pytensor  # noqa: E402
import wfpt  # noqa: E402
from hssm.likelihoods import analytical  # noqa: E402

pytensor.config.floatX = "float64"
LIKELIHOODS = {
    "lba2": analytical.logp_lba2,
    "lba3": analytical.logp_lba3,
    "racing_diffusion_3": analytical.logp_rdm3,
    "poisson_race": analytical.logp_poisson_race,
}


def full_ddm(theta: dict, rts: list, choices: list) -> list:
    """HDDM's widths are whole ones, of the start as a share of the distance of the boundaries."""
    a = 2 * theta["a"]
    return [
        float(
            np.log(
                wfpt.full_pdf(
                    rt * choice,
                    theta["v"],
                    theta["sv"],
                    a,
                    theta["z"],
                    2 * theta["sz"] / a,
                    theta["t"],
                    2 * theta["st"],
                    1e-10,
                    simps_err=1e-10,
                )
            )
        )
        for rt, choice in zip(rts, choices)  # noqa: B905
    ]


def values(case: dict) -> list:
    """Log-likelihoods of one case."""
    if case["model"] == "full_ddm":
        return full_ddm(case["theta"], case["rts"], case["choices"])
    data = np.stack([case["rts"], case["choices"]], axis=1)
    made = LIKELIHOODS[case["model"]](data, **case["theta"])
    return np.asarray(made.eval() if hasattr(made, "eval") else made, float).tolist()


cases = json.loads(Path(sys.argv[1]).read_text())
sys.stdout.write(json.dumps([values(case) for case in cases]) + "\n")
