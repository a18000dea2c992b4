import json
from pathlib import Path

import numpy as np
import pytest

from lanflow.evaluation.recovery.fit import FittedSubject, fit_subjects
from lanflow.evaluation.recovery.record import LikelihoodRecovery, likelihood_record
from lanflow.evaluation.recovery.subjects import Subject, simulate_subjects
from lanflow.networks.network import Network
from tests import networks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("well_made") / "net"
    return networks.write_network(place, networks.well_made("lan"))


@pytest.fixture(scope="module")
def network(folder: Path) -> Network:
    return Network.from_folder(folder)


@pytest.fixture(scope="module")
def subjects(network: Network) -> list[Subject]:
    return simulate_subjects(network, n_subjects=12, n_trials=400, seed=1)


@pytest.fixture(scope="module")
def found(network: Network, subjects: list[Subject]) -> list[FittedSubject]:
    return fit_subjects(network, subjects, n_processes=2)


def test_a_well_made_network_finds_parameters_again(
    network: Network, subjects: list[Subject], found: list[FittedSubject]
) -> None:
    made = likelihood_record(network, subjects, found, n_trials=400, seed=1)
    record = made.model_dump(mode="json")
    assert LikelihoodRecovery.model_validate(json.loads(json.dumps(record))) == made
    assert (record["n_subjects"], record["n_below_truth"], record["n_undecided"]) == (12, 0, 0)
    for name, least in {"v": 0.9, "a": 0.8, "z": 0.8, "t": 0.9}.items():
        assert record["summary"][name]["spearman"] > least, name
        assert record["summary"][name]["pearson"] > least, name
    true, fitted = np.array(record["true"]), np.array(record["recovered"])
    low, high = np.array(list(record["bounds"].values())).T
    assert ((true >= low) & (true <= high)).all()
    assert ((fitted >= low) & (fitted <= high)).all()
    at_upper = [one["n_at_upper"] for one in record["summary"].values()]
    assert at_upper == (fitted >= high - 1e-6 * (high - low)).sum(axis=0).tolist()
    gained = np.subtract(record["log_likelihood"]["recovered"], record["log_likelihood"]["true"])
    # Half a chi-square of four degrees of freedom, and the network's own error.
    assert 0 < gained.mean() < 8


def test_the_number_of_processes_changes_nothing(
    network: Network, subjects: list[Subject], found: list[FittedSubject]
) -> None:
    done: list[None] = []
    alone = fit_subjects(network, subjects[:3], n_processes=1, on_subject=lambda: done.append(None))
    assert len(done) == 3
    for one, other in zip(alone, found, strict=False):
        assert np.array_equal(one.fit.theta, other.fit.theta)
        assert one.log_likelihood == other.log_likelihood
