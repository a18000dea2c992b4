"""The gate of HSSM: it loads a network, and computes what the network gives."""

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lanflow.evaluation.gates import judge, skip
from lanflow.evaluation.hssm.interpreter import find_hssm, hssm_environment, interpreter
from lanflow.evaluation.hssm.probe import Case, Result
from lanflow.evaluation.record import Gate
from lanflow.models.density import Array
from lanflow.models.kde import OMISSION
from lanflow.models.model import Model
from lanflow.models.parameters import Bounds, Theta
from lanflow.models.simulators import draw_parameters
from lanflow.networks.network import Network
from lanflow.networks.onnx import export_onnx
from lanflow.networks.runtime import OnnxSession, likelihood_rows
from lanflow.networks.types import Architecture
from lanflow.training.job import initial_weights

_PROBE = Path(__file__).with_name("probe.py")
_TIMEOUT = 900  # seconds; HSSM compiles for half a minute
_N_POINTS, _N_TRIALS = 3, 20
# Finite differences of a float32 network: less makes rounding show, more the curvature.
_STEP = 1e-2

# Log-densities relative to values above one; slopes relative to slopes above one.
HSSM_LIMITS = {
    "n_not_finite": 0,
    "log_density_difference": 1e-4,
    "n_slopes_not_finite": 0,
    "slope_difference": 0.05,
}


def hssm_gate(network: Network, *, python: str, seed: int) -> Gate:
    """Load a network in HSSM; its log-densities and gradients against the network's own.

    A choice-probability network is the density of trials without an rt; beside it HSSM wants a
    likelihood network, for which one with made-up weights stands in.
    """
    kind, model = network.network_type.name, network.known_model
    if kind not in ("lan", "cpn"):
        reason = f"HSSM takes a network of type {kind} only for data with a deadline"
        return skip("hssm", reason, is_essential=False)
    if network.takes_choice:
        reason = "HSSM gives a network of trials without an rt no choice"
        return skip("hssm", reason, is_essential=False)
    missing = find_hssm(python)
    if missing:
        return skip("hssm", missing, is_essential=False)
    points, trials = _cases(model, network.bounds, seed=seed)
    networks = {"loglik": network.onnx}
    if kind == "cpn":
        trials[: _N_TRIALS // 2, 0] = OMISSION  # HSSM puts them first
        networks = {
            "loglik": _made_up_likelihood(len(model.parameters)),
            "loglik_missing_data": network.onnx,
        }
    found = _probe(python, network, networks, points, trials)
    if isinstance(found, str):
        return Gate(
            name="hssm", verdict="failed", reason=found, is_essential=False, numbers={}, limits={}
        )
    ours = _Ours([OnnxSession(part) for part in networks.values()], model.parameters, trials)
    return judge("hssm", ours.compare(found, points), HSSM_LIMITS, is_essential=False)


def _cases(model: Model, bounds: Bounds, *, seed: int) -> tuple[list[Theta], Array]:
    """Points well inside the bounds, and trials with rts above every non-decision time."""
    inner = {
        name: (0.9 * low + 0.1 * up, 0.1 * low + 0.9 * up) for name, (low, up) in bounds.items()
    }
    if "t" in inner:
        inner["t"] = (max(inner["t"][0], 0.05), max(min(inner["t"][1], 0.5), 0.06))
    vectors = draw_parameters(model, Bounds(inner), _N_POINTS, seed=seed)
    rng = np.random.default_rng(seed)
    choices = rng.choice(np.array(model.choices, float), _N_TRIALS)
    trials = np.stack([rng.uniform(0.6, 3, _N_TRIALS), choices], axis=1)
    return [bounds.named(vector) for vector in vectors], trials


def _made_up_likelihood(n_parameters: int) -> bytes:
    shape = Architecture("lan", n_parameters + 2, (8, 1), ("tanh",))
    return export_onnx(shape, initial_weights(shape, seed=1))


def _probe(
    python: str,
    network: Network,
    networks: Mapping[str, bytes],
    points: list[Theta],
    trials: Array,
) -> Result | str:
    """Run HSSM on a case, and return its results, or the reason why there are none."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for name, content in networks.items():
            paths[name] = str(Path(folder, f"{name}.onnx"))
            Path(folder, f"{name}.onnx").write_bytes(content)
        case: Case = {
            "model": network.known_model.name,
            "choices": list(network.known_model.choices),
            "bounds": network.bounds.to_json(),
            "loglik": paths["loglik"],
            "loglik_missing_data": paths.get("loglik_missing_data"),
            "trials": trials.tolist(),
            "points": points,
        }
        path = Path(folder, "case.json")
        path.write_text(json.dumps(case))
        try:
            done = subprocess.run(  # noqa: S603
                [interpreter(python), str(_PROBE), str(path)],
                capture_output=True,
                text=True,
                check=False,
                cwd=folder,
                env=hssm_environment(),
                timeout=_TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            return f"HSSM had not compiled the network after {_TIMEOUT} seconds"
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["no message"]
        return f"HSSM does not take the network ({said[-1]})"
    found: Result = json.loads(done.stdout.splitlines()[-1])
    return found


class _Ours:
    """Log-densities and slopes by the networks: of trials, and of those without an rt."""

    def __init__(self, networks: list[OnnxSession], names: Sequence[str], trials: Array) -> None:
        self._network, self._of_missing = networks[0], networks[-1]
        self._names = names
        is_missing = trials[:, 0] == OMISSION
        self._n_missing, self._trials = int(is_missing.sum()), trials[~is_missing]

    def log_densities(self, point: Mapping[str, float]) -> Array:
        """Shape (trials,), as HSSM orders them."""
        vector = np.array([point[name] for name in self._names])
        out = self._network(likelihood_rows(vector, *self._trials.T))[:, 0].astype(float)
        if self._n_missing == 0:
            return out
        missing = self._of_missing(vector[None])[0].astype(float)
        return np.concatenate([np.repeat(missing, self._n_missing), out])

    def slope(self, point: Mapping[str, float], name: str) -> float:
        """Central difference, extrapolated (Richardson) from two steps."""

        def central(step: float) -> float:
            sides = [self.log_densities({**point, name: point[name] + s}) for s in (step, -step)]
            return float((sides[0].sum() - sides[1].sum()) / (2 * step))

        return (4 * central(_STEP) - central(2 * _STEP)) / 3

    def compare(self, found: Result, points: list[Theta]) -> dict[str, float | int]:
        """Compare with what HSSM computed, and return the numbers of the gate."""
        theirs = np.array(found["log_densities"], float)
        ours = np.stack([self.log_densities(point) for point in points])
        their_slopes = np.array(
            [[row[name] for name in self._names] for row in found["gradients"]], float
        )
        slopes = np.array([[self.slope(point, name) for name in self._names] for point in points])
        return {
            "n_not_finite": int((~np.isfinite(theirs)).sum()),
            "log_density_difference": _relative(theirs, ours),
            "n_slopes_not_finite": int((~np.isfinite(their_slopes)).sum()),
            "slope_difference": _relative(their_slopes, slopes),
        }


def _relative(theirs: Array, ours: Array) -> float:
    return float(np.max(np.abs(theirs - ours) / np.maximum(np.abs(ours), 1)))
