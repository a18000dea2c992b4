"""HSSM 0.3.0, in its own environment, compiles our networks and scores trials as we do."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from tests.environments import last_line, run
from tests.peers.conftest import HERE, Network

# One worker, where the networks are trained once.
pytestmark = pytest.mark.peers

BACKENDS = ("jax", "pytensor")
LANS = ("ddm-lan-jax", "ddm-lan-torch", "angle-lan-jax", "angle-lan-torch")
CPNS = ("ddm-cpn-jax", "ddm-cpn-torch")
N_POINTS = 3
# HSSM's pytensor backend takes Relu for the maximum over trials, so such networks need its jax one.
LOG_DENSITY_CASES = [
    *((name, backend) for name in LANS for backend in BACKENDS),
    ("angle-lan-jax-relu", "jax"),
]
MISSING_CASES = [(name, backend) for name in CPNS for backend in BACKENDS]


def _trials(n_missing: int = 0) -> np.ndarray:
    """Columns rt and choice; HSSM puts trials without an rt (-999) first."""
    rng = np.random.default_rng(1)
    trials = np.stack([rng.uniform(0.6, 3, 20), rng.choice([-1, 1], 20)], axis=1)
    trials[:n_missing, 0] = -999.0
    return trials


def _points(network: Network) -> list[dict[str, float]]:
    """Points within the trained bounds, non-decision times shorter than every rt."""
    rng = np.random.default_rng(2)
    bounds = {**network.card["bounds"], "t": (0.1, 0.5)}
    centres = {name: sum(pair) / 2 for name, pair in bounds.items()}
    widths = {name: 0.8 * (pair[1] - pair[0]) for name, pair in bounds.items()}
    return [
        {name: centres[name] + widths[name] * rng.uniform(-0.5, 0.5) for name in bounds}
        for _ in range(N_POINTS)
    ]


def _log_densities(
    network: Network, point: Mapping[str, float], trials: np.ndarray | None = None
) -> np.ndarray:
    """What ``model.onnx`` gives for trials at a point; for a cpn there are no trials."""
    row = np.array([[point[name] for name in network.card["parameters"]]])
    if trials is None:
        return network.run_onnx(row)[:, 0]
    rows = np.concatenate([np.repeat(row, len(trials), axis=0), trials], axis=1)
    return network.run_onnx(rows)[:, 0]


def _in_double(network: Network, point: Mapping[str, float], trials: np.ndarray) -> np.ndarray:
    """The same with the arithmetic in float64, for differences of a small step."""
    model = onnx.load(network.folder / "model.onnx")
    for stored in model.graph.initializer:
        array = numpy_helper.to_array(stored).astype(np.float64)
        stored.CopyFrom(numpy_helper.from_array(array, stored.name))
    row = np.array([[point[name] for name in network.card["parameters"]]])
    rows = np.concatenate([np.repeat(row, len(trials), axis=0), trials], axis=1)
    (output,) = ReferenceEvaluator(model).run(None, {"input": rows})
    assert output.dtype == np.float64
    return np.asarray(output[:, 0])


@pytest.fixture(scope="session")
def scored(
    hssm: Path, networks: Mapping[str, Network], tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], dict[str, Any]]:
    """HSSM's log-densities and gradients for every case, all of one process."""
    cases = []
    for name, backend in LOG_DENSITY_CASES + MISSING_CASES:
        network = networks[name]
        case = {
            "model": network.model,
            "backend": backend,
            "choices": [-1, 1],
            "bounds": network.card["bounds"],
            "loglik_missing_data": None,
            "points": _points(network),
        }
        if network.network_type == "cpn":
            case["loglik"] = str(networks["ddm-lan-jax"].folder / "model.onnx")
            case["loglik_missing_data"] = str(network.folder / "model.onnx")
            case["trials"] = _trials(n_missing=5).tolist()
        else:
            case["loglik"] = str(network.folder / "model.onnx")
            case["trials"] = _trials().tolist()
        cases.append(case)
    folder = tmp_path_factory.mktemp("hssm")
    (folder / "cases.json").write_text(json.dumps(cases))
    script = HERE / "scripts" / "hssm_log_density.py"
    results = last_line(run([hssm / "python", script, "cases.json"], folder=folder))
    return dict(zip(LOG_DENSITY_CASES + MISSING_CASES, results, strict=True))


@pytest.mark.parametrize(("name", "backend"), LOG_DENSITY_CASES)
def test_hssm_gives_our_log_density(
    name: str, backend: str, scored: Any, networks: Mapping[str, Network]
) -> None:
    network = networks[name]
    for point, theirs in zip(_points(network), scored[name, backend]["log_densities"], strict=True):
        ours = _log_densities(network, point, _trials())
        np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(np.sum(theirs), np.sum(ours, dtype=np.float64), rtol=1e-5)


@pytest.mark.parametrize(("name", "backend"), LOG_DENSITY_CASES)
def test_hssm_differentiates_our_network(
    name: str, backend: str, scored: Any, networks: Mapping[str, Network]
) -> None:
    network = networks[name]
    step = 1e-6  # so that no kink of a Relu lies within it
    for point, theirs in zip(_points(network), scored[name, backend]["gradients"], strict=True):
        assert set(theirs) == set(point)
        for parameter, slope in theirs.items():
            above, below = (
                _in_double(network, point | {parameter: point[parameter] + side}, _trials())
                for side in (step, -step)
            )
            ours = np.sum(above - below) / (2 * step)
            assert slope == pytest.approx(ours, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize(("name", "backend"), MISSING_CASES)
def test_hssm_scores_trials_without_an_rt_by_our_cpn(
    name: str, backend: str, scored: Any, networks: Mapping[str, Network]
) -> None:
    lan, cpn = networks["ddm-lan-jax"], networks[name]
    for point, theirs in zip(_points(cpn), scored[name, backend]["log_densities"], strict=True):
        ours = [
            np.repeat(_log_densities(cpn, point), 5),
            _log_densities(lan, point, _trials()[5:]),
        ]
        np.testing.assert_allclose(theirs, np.concatenate(ours), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["ddm-lan-jax", "ddm-cpn-torch"])
def test_the_gate_that_asks_hssm_is_passed(
    name: str, hssm: Path, networks: Mapping[str, Network], tmp_path: Path
) -> None:
    network = networks[name]
    command = [Path(sys.executable).with_name("lanflow"), "evaluate", network.folder]
    options = ["--hssm-python", hssm / "python", "--output", tmp_path / "evaluation.json"]
    quick = ["--n-sets", "10", "--n-simulated-sets", "2", "--json", "--exit-zero"]
    result = last_line(run([*command, *options, *quick], folder=tmp_path))
    assert result["gates"]["hssm"] == "passed"
    (gate,) = (g for g in _gates(tmp_path / "evaluation.json") if g["name"] == "hssm")
    assert gate["numbers"]["n_not_finite"] == gate["numbers"]["n_slopes_not_finite"] == 0
    assert gate["numbers"]["slope_difference"] < 0.05


def _gates(path: Path) -> list[dict[str, Any]]:
    gates: list[dict[str, Any]] = json.loads(path.read_text())["gates"]
    return gates
