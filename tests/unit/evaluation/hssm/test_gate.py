import sys
from pathlib import Path

import pytest

from lanflow.evaluation.hssm.gate import hssm_gate
from lanflow.networks.network import Network
from lanflow.networks.types import NetworkTypeName
from tests import networks

HERE = str(sys.executable)


def gate(network_type: NetworkTypeName = "lan", python: str = HERE):  # type: ignore[no-untyped-def]
    path = networks.FIXTURES / "ddm_lan.onnx"
    network = Network.from_onnx(path, model="ddm", network_type=network_type)
    return hssm_gate(network, python=python, seed=1)


def test_without_hssm_the_gate_is_skipped_with_the_reason(tmp_path: Path) -> None:
    result = gate()
    assert (result.verdict, result.is_essential) == ("skipped", False)
    assert "HSSM is not installed" in result.reason
    assert "--hssm-python" in result.reason
    missing = str(tmp_path / "python")
    assert gate(python=missing).verdict == "skipped"


@pytest.mark.parametrize("network_type", ["opn", "gonogo"])
def test_networks_that_hssm_takes_with_a_deadline_only_are_skipped(
    network_type: NetworkTypeName,
) -> None:
    assert "data with a deadline" in gate(network_type).reason


def test_an_hssm_that_ends_in_an_error_fails_the_gate(tmp_path: Path) -> None:
    """An interpreter that finds an hssm, which is none."""
    package = tmp_path / "hssm"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('no pymc here')")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{tmp_path}" exec "{HERE}" "$@"\n')
    python.chmod(0o755)
    result = gate(python=str(python))
    assert result.verdict == "failed"
    assert result.reason == "HSSM does not take the network (ImportError: no pymc here)"
