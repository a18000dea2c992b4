import json
from pathlib import Path

import numpy as np
import pytest

from lanflow.errors import UserError
from lanflow.export import ContractError, export_onnx
from lanflow.recovery import Recoverable, Subject, recover
from lanflow.recovery_record import recovery_record
from tests import networks
from tests.made_networks import write_untrained


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("well_made") / "net"
    return networks.write_network(place, networks.well_made("lan"))


@pytest.fixture(scope="module")
def network(folder: Path) -> Recoverable:
    return Recoverable.from_folder(folder)


@pytest.fixture(scope="module")
def subjects(network: Recoverable) -> list[Subject]:
    return recover(network, n_subjects=12, n_trials=400, seed=1, n_processes=2)


def test_a_well_made_network_finds_parameters_again(
    network: Recoverable, subjects: list[Subject]
) -> None:
    record = recovery_record(network, subjects, n_trials=400, seed=1)
    assert json.loads(json.dumps(record)) == record
    assert (record["n_subjects"], record["n_below_truth"], record["n_undecided"]) == (12, 0, 0)
    for name, least in {"v": 0.9, "a": 0.8, "z": 0.8, "t": 0.9}.items():
        assert record["summary"][name]["spearman"] > least, name
        assert record["summary"][name]["pearson"] > least, name
    true, found = np.array(record["true"]), np.array(record["recovered"])
    low, high = np.array(list(record["bounds"].values())).T
    assert ((true >= low) & (true <= high)).all()
    assert ((found >= low) & (found <= high)).all()
    at_upper = [one["n_at_upper"] for one in record["summary"].values()]
    assert at_upper == (found >= high - 1e-6 * (high - low)).sum(axis=0).tolist()
    gained = np.subtract(record["log_likelihood"]["recovered"], record["log_likelihood"]["true"])
    # Half a chi-square of four degrees of freedom, and the network's own error.
    assert 0 < gained.mean() < 8


def test_processes_and_further_subjects_change_nothing(
    network: Recoverable, subjects: list[Subject]
) -> None:
    done: list[None] = []
    fewer = recover(
        network,
        n_subjects=3,
        n_trials=400,
        seed=1,
        n_processes=1,
        on_subject=lambda: done.append(None),
    )
    assert len(done) == 3
    for one, other in zip(fewer, subjects, strict=False):
        assert np.array_equal(one.true, other.true)
        assert np.array_equal(one.fit.theta, other.fit.theta)
        assert one.log_likelihood == other.log_likelihood


def test_other_networks_are_refused_in_words(tmp_path: Path) -> None:
    cpn = write_untrained(tmp_path / "cpn", network_type="cpn")
    with pytest.raises(UserError, match=r"cpn: a network of type cpn .* only a likelihood network"):
        Recoverable.from_folder(cpn)
    late = write_untrained(tmp_path / "late", "ddm_deadline")
    with pytest.raises(UserError, match="ddm_deadline has a deadline"):
        Recoverable.from_folder(late)
    angle = write_untrained(tmp_path / "angle", "angle", model="ddm", bounds={})
    with pytest.raises(UserError, match=r"takes 7 inputs, but .* of ddm takes 6 \(v, a, z, t, rt"):
        Recoverable.from_folder(angle)
    logits = write_untrained(tmp_path / "logits")
    (logits / "model.onnx").write_bytes(export_onnx(*networks.well_made("cpn")))
    with pytest.raises(ContractError, match=r"logits/model\.onnx: operator Neg"):
        Recoverable.from_folder(logits)
