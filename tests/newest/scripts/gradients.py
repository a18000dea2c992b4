"""Run with HSSM: our network as an ONNX file and as a JAX function, each with its gradient and VI.

The argument is a network's folder. Printed is a list: log-density, gradient and bound of the
evidence by way of loading.
"""

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hssm
import jax.numpy as jnp
import numpy as np
import pandas as pd

from lanflow import load

warnings.simplefilter("ignore")
hssm.set_floatX("float32")  # as the weights of the network are
folder = Path(sys.argv[1])
network = load(folder)
function = network.jax_function()


def log_density(trial: Any, *theta: Any) -> Any:
    """One trial's log-density, as HSSM calls a function of JAX."""
    named = dict(zip(network.bounds, theta, strict=True))
    return jnp.squeeze(function(rt=trial[0], choice=trial[1], **named))


def examine(loglik: str | Callable[..., Any]) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"rt": rng.uniform(0.6, 3, 40), "response": rng.choice([-1, 1], 40)})
    bounds = {name: tuple(pair) for name, pair in network.bounds.items()}
    model = hssm.HSSM(
        data,
        model="ddm",
        loglik=loglik,
        loglik_kind="approx_differentiable",
        model_config={"list_params": list(bounds), "bounds": bounds, "backend": "jax"},
        # A parameter of each trial, so that HSSM maps the function over trials.
        include=[{"name": "v", "formula": "v ~ 1", "link": "identity"}],
        p_outlier=None,
        lapse=None,
    )
    compiled = model.pymc_model
    point = compiled.initial_point()
    gradient = compiled.compile_dlogp()(point)
    model.vi(niter=50, draws=20)
    return {
        "log_density": float(compiled.compile_logp()(point)),
        "gradient": np.ravel(gradient).tolist(),
        "bounds_of_evidence": np.ravel(model.vi_approx.hist[-5:]).tolist(),
    }


results = [examine(str(folder / "model.onnx")), examine(log_density)]
sys.stdout.write(json.dumps(results) + "\n")
