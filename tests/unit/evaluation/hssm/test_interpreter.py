import sys
from pathlib import Path

import pytest

from lanflow.evaluation.hssm.interpreter import find_hssm, hssm_environment, interpreter


def test_an_interpreter_without_hssm_and_none_are_told_apart(tmp_path: Path) -> None:
    assert "HSSM is not installed for" in str(find_hssm(sys.executable))
    missing = str(tmp_path / "python")
    assert find_hssm(missing) == f"{missing} cannot be run (No such file or directory)"


def test_another_interpreter_is_not_led_to_our_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/ours")
    monkeypatch.setenv("LANFLOW_TEST", "kept")
    environment = hssm_environment()
    assert "PYTHONPATH" not in environment
    assert environment["LANFLOW_TEST"] == "kept"


def test_an_interpreter_is_named_for_any_working_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert interpreter("env/bin/python") == str(tmp_path / "env/bin/python")
    assert interpreter("python3") == "python3"
