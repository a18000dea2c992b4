from pathlib import Path

import numpy as np
import pytest

from lanflow.core.errors import UserError
from lanflow.evaluation.recovery.subjects import Recoverable, simulate_subjects
from lanflow.networks.onnx import ContractError, export_onnx
from tests import networks
from tests.made_networks import write_untrained


def test_subjects_lie_in_the_box_and_the_first_of_more_are_the_same(tmp_path: Path) -> None:
    folder = networks.write_network(tmp_path / "net", networks.well_made("lan"))
    network = Recoverable.from_folder(folder)
    many = simulate_subjects(network, n_subjects=5, n_trials=50, seed=1)
    few = simulate_subjects(network, n_subjects=2, n_trials=50, seed=1)
    for one, other in zip(few, many, strict=False):
        assert np.array_equal(one.theta, other.theta)
        assert np.array_equal(one.rts, other.rts)
        assert np.array_equal(one.choices, other.choices)
        assert one.seed == other.seed
    low, high = np.array(list(network.bounds.values())).T
    for subject in many:
        assert ((subject.theta >= low) & (subject.theta <= high)).all()
        assert len(subject.rts) == len(subject.choices) == 50 - subject.n_undecided
        assert (subject.rts > subject.theta[3]).all()
    other_seed = simulate_subjects(network, n_subjects=2, n_trials=50, seed=2)
    assert not np.array_equal(other_seed[0].rts, few[0].rts)


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
