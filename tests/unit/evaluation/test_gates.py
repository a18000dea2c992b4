import math

import numpy as np
import pytest

from lanflow.evaluation.gates import judge, parity, skip, structure
from lanflow.networks.onnx import export_onnx
from lanflow.networks.runtime import OnnxSession
from tests import networks
from tests.conftest import make_backend, training_config

CPN = ["v", "a", "z", "t"]
LAN = [*CPN, "rt", "choice"]


def test_a_number_above_its_limit_fails_and_is_named() -> None:
    assert judge("tails", {"mass": 0.1, "other": 9.0}, {"mass": 0.1}).verdict == "passed"
    gate = judge("tails", {"mass": 0.2}, {"mass": 0.1})
    assert (gate.verdict, gate.reason) == ("failed", "mass is 0.2, above 0.1")
    assert gate.limits == {"mass": 0.1}


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_number_that_is_none_fails_and_is_recorded_as_null(number: float) -> None:
    gate = judge("tails", {"mass": number}, {"mass": 0.1})
    assert (gate.verdict, gate.reason) == ("failed", "mass is not finite")
    assert gate.numbers == {"mass": None}


def test_a_skipped_gate_has_a_reason_and_no_numbers() -> None:
    gate = skip("hssm", "not installed", is_essential=False)
    assert (gate.verdict, gate.reason, gate.numbers) == ("skipped", "not installed", {})


def test_a_skipped_gate_may_tell_numbers_and_judges_none() -> None:
    gate = skip("accuracy", "smeared", is_essential=False, numbers={"mean": 0.1, "most": np.inf})
    assert gate.numbers == {"mean": 0.1, "most": None}
    assert (gate.verdict, gate.limits) == ("skipped", {})


def test_the_structure_of_a_network_of_the_model_passes() -> None:
    gate = structure(export_onnx(*networks.well_made("lan")), LAN)
    assert (gate.verdict, gate.numbers) == ("passed", {"n_inputs": 6, "n_outputs": 1})
    assert structure(export_onnx(*networks.well_made("cpn")), CPN).verdict == "passed"


def test_a_dynamic_axis_fails_the_structure() -> None:
    gate = structure(networks.dynamic_axis(), LAN)
    assert gate.verdict == "failed"
    assert "symbolic dimension" in gate.reason


def test_inputs_of_another_model_fail_the_structure() -> None:
    gate = structure(export_onnx(*networks.well_made("lan")), [*CPN, "theta", "rt", "choice"])
    assert gate.verdict == "failed"
    assert gate.reason == (
        "6 input(s) and 1 output(s), expected 7 (v, a, z, t, theta, rt, choice) and 1"
    )
    assert structure(b"no network", LAN).verdict == "failed"


def test_a_network_of_another_type_is_told() -> None:
    lan, cpn = (export_onnx(*networks.well_made(kind)) for kind in ("lan", "cpn"))
    assert structure(cpn, LAN).reason.endswith(
        "; one of type cpn, opn or gonogo has as many inputs (--network-type)"
    )
    assert structure(lan, CPN).reason.endswith("; a lan has as many inputs (--network-type)")


def heads(network: object) -> dict[str, object]:
    architecture, weights = network  # type: ignore[misc]
    config = training_config(LAYER_SIZES=[[1]], ACTIVATIONS=[[]])
    out = {}
    for backend_name in ("jax", "torch"):
        backend = make_backend(backend_name)
        backend.start(architecture, config, weights)
        out[backend_name] = backend.predict
    return out


@pytest.mark.parametrize("network_type", ["lan", "cpn"])
def test_onnx_and_both_backends_agree_on_the_same_weights(network_type: str) -> None:
    made = networks.well_made(network_type)
    rows = np.random.default_rng(1).uniform(0.2, 2, (100, made[0].input_dim)).astype(np.float32)
    gate = parity(OnnxSession(export_onnx(*made)), heads(made), rows, backend="torch")
    assert gate.verdict == "passed"
    assert set(gate.numbers) == {"onnx_jax", "onnx_torch", "jax_torch"}


def test_onnx_of_other_weights_fails_parity() -> None:
    rows = np.random.default_rng(1).uniform(0.2, 2, (100, 6)).astype(np.float32)
    network = OnnxSession(export_onnx(*networks.shuffled("lan")))
    gate = parity(network, heads(networks.well_made("lan")), rows, backend="jax")
    assert gate.verdict == "failed"
    assert "difference of ONNX from JAX" in gate.reason
    assert "difference of ONNX from Torch" in gate.reason


def test_raw_logits_fail_parity() -> None:
    rows = np.random.default_rng(1).uniform(0.2, 2, (100, 4)).astype(np.float32)
    gate = parity(
        OnnxSession(networks.raw_logits()), heads(networks.well_made("cpn")), rows, backend="jax"
    )
    assert gate.verdict == "failed"


def test_without_the_backend_that_trained_parity_is_skipped_and_essential() -> None:
    gate = parity(lambda rows: rows, {}, np.zeros((1, 4), np.float32), backend="jax")
    assert (gate.verdict, gate.is_essential) == ("skipped", True)
    assert "jax, which trained the network, is not installed" in gate.reason
