from pathlib import Path

import numpy as np
import pytest

from lanflow.core.errors import UserError
from lanflow.evaluation.gates import Head, backend_heads
from lanflow.networks.card import read_card
from lanflow.networks.network import Network
from lanflow.training.backends import choose
from tests import networks
from tests.conftest import BACKENDS, make_backend


def heads_of(folder: Path) -> dict[str, Head]:
    return backend_heads(folder, read_card(folder / "card.json"))


@pytest.mark.parametrize("backend_name", BACKENDS)
def test_weights_come_back_as_they_were_written(backend_name: str) -> None:
    _, weights = networks.well_made("cpn")
    backend = make_backend(backend_name)
    read = backend.read_native_weights(backend.native_weights(weights))
    assert read.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == np.float32


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_no_weights_is_refused(backend: str) -> None:
    with pytest.raises(ValueError, match="weights of a perceptron"):
        make_backend(backend).read_native_weights(b"nothing")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_folder_gives_the_heads_of_both_backends(backend: str, tmp_path: Path) -> None:
    folder = networks.write_network(tmp_path / "net", networks.well_made("cpn"), backend=backend)
    heads = heads_of(folder)
    assert list(heads) == [backend, *(name for name in BACKENDS if name != backend)]
    rows = np.full((3, 4), 0.5, np.float32)
    np.testing.assert_allclose(*(head(rows) for head in heads.values()), rtol=1e-5)


def test_without_the_backend_that_trained_there_are_no_heads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = networks.write_network(tmp_path / "net", networks.well_made("cpn"))
    real = choose.make_backend

    def without_jax(backend: str, **options: object) -> object:
        if backend == "jax":
            raise UserError("jaxtrain needs jax")
        return real(backend, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("lanflow.evaluation.gates.make_backend", without_jax)
    assert heads_of(folder) == {}


def test_a_damaged_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"card.json: cannot be read .*a trained network's folder"):
        Network.from_folder(tmp_path)
    folder = networks.write_network(tmp_path / "net", networks.well_made("cpn"))
    (folder / "weights_best.jax").write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"weights_best.jax: not flax's weights"):
        heads_of(folder)
    for text, message in (
        ("{", "not valid JSON"),
        ("[]", "expected keys"),
        ("{}", "it lacks model"),
    ):
        (folder / "card.json").write_text(text)
        with pytest.raises(UserError, match=message):
            read_card(folder / "card.json")


DDM_LAN = networks.FIXTURES / "ddm_lan.onnx"
TRIALS = {"rt": [0.5, 0.8, 1.4], "choice": [1, -1, 1]}
THETA = {"v": 1.0, "a": 1.5, "z": 0.5, "t": 0.3}


def test_a_likelihood_network_is_called_by_names() -> None:
    network = Network.from_onnx(DDM_LAN, model="ddm")
    rows = [[*THETA.values(), rt, c] for rt, c in zip(*TRIALS.values(), strict=True)]
    expected = network(np.array(rows, np.float32))[:, 0]
    np.testing.assert_array_equal(network.log_likelihood(**TRIALS, **THETA), expected)
    per_trial = network.log_likelihood(**TRIALS, **{**THETA, "v": [1.0, 1.0, 2.0]})
    assert (per_trial[:2] == expected[:2]).all()
    assert per_trial[2] != expected[2]


def test_slopes_are_by_parameter_and_agree_with_differences() -> None:
    network = Network.from_onnx(DDM_LAN, model="ddm")
    slopes = network.gradient(**TRIALS, **THETA)
    assert list(slopes) == list(THETA)
    for name, slope in slopes.items():
        ends = [
            network.perceptron.values(network._rows({**THETA, name: value}, *TRIALS.values()))
            for value in (THETA[name] + 1e-6, THETA[name] - 1e-6)
        ]
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-5, rel=1e-5)


@pytest.mark.parametrize(
    "theta", [{}, {"v": 1.0}, {**THETA, "theta": 0.1}], ids=["none", "too few", "too many"]
)
def test_parameters_that_are_missing_or_too_many_are_named(theta: dict[str, float]) -> None:
    network = Network.from_onnx(DDM_LAN, model="ddm")
    for function in (network.log_likelihood, network.gradient, network.jax_function()):
        with pytest.raises(UserError, match=r"ddm lan network takes v, a, z, t.*; given were "):
            function(**TRIALS, **theta)


def test_each_type_has_the_function_that_fits_it() -> None:
    lan = Network.from_onnx(DDM_LAN, model="ddm")
    cpn = Network.from_onnx(networks.FIXTURES / "ddm_cpn.onnx", model="ddm", network_type="cpn")
    assert cpn.log_probability(**THETA).shape == (1,)
    with pytest.raises(UserError, match=r"a lan network has log_likelihood\(\)"):
        lan.log_probability(**THETA)
    with pytest.raises(UserError, match=r"a cpn network has log_probability\(\)"):
        cpn.log_likelihood(**TRIALS, **THETA)


def test_jax_traces_differentiates_and_batches_the_network() -> None:
    import jax

    network = Network.from_onnx(DDM_LAN, model="ddm")
    function = network.jax_function()
    trials = {name: np.asarray(values, np.float32) for name, values in TRIALS.items()}
    expected = network.log_likelihood(**TRIALS, **THETA)
    np.testing.assert_allclose(jax.jit(function)(**trials, **THETA), expected, atol=1e-5)

    def total(theta: dict[str, float]) -> object:
        return function(**trials, **theta).sum()

    slopes, ours = jax.grad(total)(THETA), network.gradient(**TRIALS, **THETA)
    for name, slope in ours.items():
        assert slopes[name] == pytest.approx(slope.sum(), rel=1e-3, abs=1e-4)
    drifts = np.linspace(-1, 1, 5, dtype=np.float32)
    many = jax.vmap(lambda v: function(**trials, **{**THETA, "v": v}))(drifts)
    assert many.shape == (5, 3)
    cpn = Network.from_onnx(networks.FIXTURES / "ddm_cpn.onnx", model="ddm", network_type="cpn")
    given = jax.jit(cpn.jax_function())(**THETA)
    np.testing.assert_allclose(given, cpn.log_probability(**THETA)[0], atol=1e-5)
