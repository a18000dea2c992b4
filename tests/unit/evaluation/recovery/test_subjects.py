from pathlib import Path

import numpy as np
import onnx
import pytest

from lanflow.core.errors import UserError
from lanflow.evaluation.recovery.subjects import require_recoverable, simulate_subjects
from lanflow.networks.network import Network
from lanflow.networks.onnx import export_onnx
from lanflow.networks.types import ContractError
from tests import networks


def test_subjects_lie_in_the_box_and_the_first_of_more_are_the_same(tmp_path: Path) -> None:
    folder = networks.write_network(tmp_path / "net", networks.well_made("lan"))
    network = Network.from_folder(folder)
    require_recoverable(network)
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
    cpn = networks.write_network(tmp_path / "cpn", network_type="cpn")
    with pytest.raises(UserError, match=r"cpn: a network of type cpn .* only a likelihood network"):
        require_recoverable(Network.from_folder(cpn))
    late = networks.write_network(tmp_path / "late", model="ddm_deadline")
    with pytest.raises(UserError, match="ddm_deadline has a deadline"):
        require_recoverable(Network.from_folder(late))
    of_angle = networks.made_up("lan", 7)
    angle = networks.write_network(tmp_path / "angle", onnx_content=export_onnx(*of_angle))
    with pytest.raises(UserError, match=r"takes 7 inputs, but .* of ddm takes 6 \(v, a, z, t, rt"):
        require_recoverable(Network.from_folder(angle))
    with_log = onnx.load_from_string(export_onnx(*networks.well_made("lan")))
    (last,) = (node for node in with_log.graph.node if node.output[0] == "output")
    last.output[0] = "before"
    with_log.graph.node.append(onnx.helper.make_node("Log", ["before"], ["output"]))
    content = with_log.SerializeToString()
    logs = networks.write_network(tmp_path / "logs", onnx_content=content)
    with pytest.raises(ContractError, match=r"logs/model\.onnx: operator Log"):
        require_recoverable(Network.from_folder(logs))
