from pathlib import Path

import numpy as np
import pytest

from lanflow.core.errors import UserError
from lanflow.evaluation.gates import backend_heads
from lanflow.networks.network import StoredNetwork, read_card
from lanflow.training import backend as training_backend
from tests import networks
from tests.conftest import BACKENDS, make_backend


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
    heads = backend_heads(StoredNetwork(folder))
    assert list(heads) == [backend, *(name for name in BACKENDS if name != backend)]
    rows = np.full((3, 4), 0.5, np.float32)
    np.testing.assert_allclose(*(head(rows) for head in heads.values()), rtol=1e-5)


def test_without_the_backend_that_trained_there_are_no_heads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = networks.write_network(tmp_path / "net", networks.well_made("cpn"))
    real = training_backend.make_backend

    def without_jax(backend: str, **options: object) -> object:
        if backend == "jax":
            raise UserError("jaxtrain needs jax")
        return real(backend, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("lanflow.evaluation.gates.make_backend", without_jax)
    assert backend_heads(StoredNetwork(folder)) == {}


def test_a_damaged_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"card.json: cannot be read .*a network's folder"):
        _ = StoredNetwork(tmp_path).card
    folder = networks.write_network(tmp_path / "net", networks.well_made("cpn"))
    (folder / "weights_best.jax").write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"weights_best.jax: not flax's weights"):
        backend_heads(StoredNetwork(folder))
    for text, message in (("{", "not valid JSON"), ("[]", "expected keys"), ("{}", "no model")):
        (folder / "card.json").write_text(text)
        with pytest.raises(UserError, match=message):
            read_card(folder / "card.json")
