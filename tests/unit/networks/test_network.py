from pathlib import Path

import numpy as np
import pytest

from lanflow.core.errors import UserError
from lanflow.evaluation.gates import Head, backend_heads
from lanflow.networks.card import read_card
from lanflow.networks.network import Network
from lanflow.training import backend as training_backend
from tests import networks
from tests.conftest import BACKENDS, make_kernel


def heads_of(folder: Path) -> dict[str, Head]:
    return backend_heads(folder, read_card(folder / "card.json"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_come_back_as_they_were_written(backend: str) -> None:
    _, weights = networks.well_made("cpn")
    kernel = make_kernel(backend)
    read = kernel.read_native_weights(kernel.native_weights(weights))
    assert read.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == np.float32


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_no_weights_is_refused(backend: str) -> None:
    with pytest.raises(ValueError, match="weights of a perceptron"):
        make_kernel(backend).read_native_weights(b"nothing")


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
    real = training_backend.make_kernel

    def without_jax(backend: str, **options: object) -> object:
        if backend == "jax":
            raise UserError("jaxtrain needs jax")
        return real(backend, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("lanflow.evaluation.gates.make_kernel", without_jax)
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
