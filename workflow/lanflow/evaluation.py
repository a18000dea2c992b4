"""One network's evaluation: its gates, cheapest first, its scores, the verdict."""

import hashlib
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from lanflow.errors import UserError
from lanflow.evaluation_record import EVALUATION_VERSION, Evaluation, verdict_of
from lanflow.examination import Examination, ExaminedNetwork, Thoroughness
from lanflow.true_density import Source, choose_reference

# Parameter vectors of the scores where none are asked for: what takes seconds for the exact
# likelihood takes minutes for a fine solution (0.4 s each) and for simulations (seconds each).
N_SETS: dict[Source, int] = {"analytic": 500, "solver": 100, "kde": 20}


def evaluate(
    examined: ExaminedNetwork,
    *,
    wanted: Source | Literal["auto"] = "auto",
    thoroughness: Thoroughness = Thoroughness(),  # noqa: B008
    hssm_python: str = sys.executable,
    seed: int = 1,
) -> Evaluation:
    """Lead a network through its gates.

    Parameters
    ----------
    examined
        The network.
    wanted
        The reference.
    thoroughness
        How much is looked at.
    hssm_python
        Interpreter that may have HSSM.
    seed
        Every draw derives from it.

    Raises
    ------
    UserError
        If the model is not known, or the reference is not there.
    """
    try:
        reference = choose_reference(examined.model, wanted)
    except ImportError as e:
        raise UserError(f"evaluating needs {e.name}; install lanflow[generate,evaluate]") from e
    n_sets = thoroughness.n_sets or N_SETS[reference.source]
    examination = Examination(examined, reference, n_sets, thoroughness, hssm_python, seed)
    passed = examination.gates()
    scores = examination.errors.summary() if passed[0].verdict == "passed" else None
    return Evaluation.model_validate(
        {
            "evaluation_version": EVALUATION_VERSION,
            "model": examined.model,
            "network_type": examined.network_type,
            "backend": examined.card.get("backend"),
            "data_digest": examined.card.get("data_digest"),
            "onnx_sha256": hashlib.sha256(examined.onnx).hexdigest(),
            "verdict": verdict_of(passed),
            "gates": [gate.model_dump() for gate in passed],
            "scores": scores,
            "reference": {"source": reference.source, "description": reference.description},
            "settings": {
                "n_sets": n_sets,
                "rows": thoroughness.rows if examined.network_type == "lan" else 1,
                "n_simulated_sets": thoroughness.n_simulated_sets,
            },
            "seed": seed,
            "versions": _versions(),
        }
    )


def _versions() -> dict[str, str]:
    found = {}
    for package in ("lanflow", "numpy", "onnx", "onnxruntime", "ssm-simulators", "jax", "torch"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
