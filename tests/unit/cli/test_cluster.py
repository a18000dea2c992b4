"""``lanflow check-node`` and ``lanflow site``."""

import json
import os
from pathlib import Path

import pytest

from lanflow.cli.main import main
from lanflow.tracking.store import Store


@pytest.fixture(autouse=True)
def _retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a check sets for itself is gone after the test."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def test_a_node_that_reaches_the_store_writes_its_record(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    assert main(["prepare", "one", "two"]) == 0
    assert main(["check-node", "one", "two", "--output", str(tmp_path / "node.json")]) == 0
    record = json.loads((tmp_path / "node.json").read_text())
    assert record["tracking_uri"] == store.uri
    assert record["gpu"] is None
    assert record["node"]


def test_a_node_without_the_gpu_of_the_study_fails(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    assert main(["prepare", "one"]) == 0
    output = tmp_path / "node.json"
    assert main(["check-node", "one", "--gpu-for", "torch", "--output", str(output)]) == 1
    assert "Torch sees no GPU" in caplog.text
    assert not output.exists()


def test_a_server_that_is_not_there_is_told_without_its_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    uri = "http://me:secret@127.0.0.1:9"
    assert main(["check-node", "one", "--mlflow-tracking-uri", uri]) == 1
    assert "MLflow store http://***@127.0.0.1:9: cannot be opened" in caplog.text
    assert "secret" not in caplog.text


def test_a_node_that_keeps_its_runs_for_later_need_not_reach_the_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LANFLOW_MLFLOW_SEND", "later")
    assert main(["check-node", "one", "--mlflow-tracking-uri", "http://127.0.0.1:9"]) == 0


def test_a_site_file_is_written_from_what_the_cluster_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, output in (
        ("sinfo", "gpu|up|1:00:00|1000|8|gpu:1"),
        ("scontrol", "AccountingStorageType = accounting_storage/none"),
    ):
        (programs / name).write_text(f"#!/bin/sh\necho '{output}'\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(programs), "/bin", "/usr/bin"]))
    monkeypatch.chdir(tmp_path)
    profile = Path("profiles/slurm")
    profile.mkdir(parents=True)
    (profile / "config.yaml").write_text("executor: slurm\n")
    command = ["site", "--account", "lab", "--mlflow-tracking-uri", "http://host:5000"]
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["partitions"] == ["gpu"]
    text = (profile / "site.yaml").read_text()
    assert "account: lab" in text
    assert "MLFLOW_TRACKING_URI: http://host:5000" in text
    assert "max_gpu: 1" in text
