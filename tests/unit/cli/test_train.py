import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import yaml
from mlflow.entities import Run

from lanflow.cli.train import jaxtrain, torchtrain
from lanflow.data.prepare import PackedData
from lanflow.tracking.client import connect
from lanflow.tracking.experiments import ensure_experiment
from lanflow.tracking.store import Store
from tests.conftest import TRAINING_YAML, lose_an_interruption

COMMANDS: dict[str, Callable[[list[str]], int]] = {"jax": jaxtrain, "torch": torchtrain}
# Enough epochs for a signal to arrive long before the last.
KEYS: dict[str, Any] = {
    "LAYER_SIZES": [[8, 1]],
    "ACTIVATIONS": [["tanh"]],
    "CPU_BATCH_SIZE": 60,
    "N_EPOCHS": 2,
}
MANY_EPOCHS = 40


def write_yaml(folder: Path, **keys: Any) -> Path:
    path = folder / "training.yaml"
    path.write_text(yaml.safe_dump({**TRAINING_YAML, **KEYS, **keys}))
    return path


def arguments(folder: Path, packed: PackedData, *more: str, **keys: Any) -> list[str]:
    """Options of a training of packed data into ``folder``."""
    data_set = packed.data_set.folder
    return [
        *("--config-path", str(write_yaml(folder, **keys))),
        *("--networks-path-base", str(folder / "networks")),
        *("--data-set", str(data_set), "--manifest", str(data_set / "manifest.json")),
        *("--network-name", "net", "--device", "cpu", "--threads", "1"),
        *more,
    ]


def last_line(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return dict(json.loads(capsys.readouterr().out.splitlines()[-1]))


def run_of(store: Store, experiment: str = "ddm-training") -> Run:
    client = connect(store)
    (run,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return run


@pytest.mark.parametrize("backend", COMMANDS)
def test_a_training_ends_with_status_0_and_one_json_object(
    backend: str, tmp_path: Path, packed: PackedData, capsys: pytest.CaptureFixture[str]
) -> None:
    assert COMMANDS[backend](arguments(tmp_path, packed)) == 0
    result = last_line(capsys)
    assert result["status"] == "FINISHED"
    assert Path(result["onnx"]).exists()
    card = json.loads(Path(result["network_folder"], "card.json").read_text())
    assert (card["backend"], card["model"]) == (backend, "ddm")


def test_every_option_reaches_the_training(
    tmp_path: Path, packed: PackedData, capsys: pytest.CaptureFixture[str], store: Store
) -> None:
    keys = {"LAYER_SIZES": [[8, 1], [5, 1]], "ACTIVATIONS": [["tanh"], ["relu"]], "MODEL": None}
    given = arguments(
        tmp_path,
        packed,
        *("--model", "ddm", "--network-id", "1", "--seed", "7", "--run-uuid", "0a1b"),
        *("--no-export-onnx", "--dl-workers", "4", "--log-level", "warning"),
        *("--memory-mb", "50"),
        *("--mlflow-run-name", "a name", "--mlflow-experiment-name", "tries"),
        *("--mlflow-tracking-uri", store.uri),
        *("--mlflow-artifact-location", str(tmp_path / "artifacts")),
        **keys,
    )
    assert torchtrain(given) == 0
    result = last_line(capsys)
    assert (result["run_uuid"], result["onnx"]) == ("0a1b", None)
    config = json.loads(Path(result["network_folder"], "config.json").read_text())
    assert (config["seed"], config["network_id"], config["layer_sizes"]) == (7, 1, [5, 1])
    assert config["memory_mb"] == 50
    run = run_of(store, "tries")
    assert run.info.run_name == "a name"
    assert run.info.artifact_uri.startswith(str(tmp_path / "artifacts"))


def test_a_store_and_an_experiment_come_from_options_then_environment_then_default(
    tmp_path: Path,
    packed: PackedData,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "of the environment")
    monkeypatch.setenv("MLFLOW_ARTIFACT_LOCATION", "artifacts of the environment")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    assert torchtrain(arguments(tmp_path, packed, "--mlflow-on")) == 0
    run = run_of(store, "of the environment")
    assert run.info.artifact_uri.startswith(str(tmp_path / "artifacts of the environment"))
    more = ["--mlflow-on", "--mlflow-experiment-name", "of the option"]
    more += ["--mlflow-artifact-location", "artifacts of the option"]
    assert torchtrain(arguments(tmp_path, packed, *more)) == 0
    run = run_of(store, "of the option")
    assert run.info.artifact_uri.startswith(str(tmp_path / "artifacts of the option"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////nowhere/mlflow.db")
    for variable in ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_ARTIFACT_LOCATION"):
        monkeypatch.setenv(variable, "")
    given = arguments(tmp_path, packed, "--mlflow-on", "--mlflow-tracking-uri", store.uri)
    assert torchtrain(given) == 0
    assert run_of(store).info.artifact_uri.startswith(str(tmp_path / "mlartifacts"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # the default is this very file
    assert torchtrain(arguments(tmp_path, packed, "--mlflow-run-id", run.info.run_id)) == 0
    assert last_line(capsys)["mlflow_run_id"] == run.info.run_id


@pytest.mark.parametrize(
    "change",
    [
        ["--networks-path-base"],
        ["--network-id", "-1"],
        ["--seed", "one"],
        ["--threads", "0"],
        ["--device", "tpu"],
        ["--path-map", "no-equals-sign"],
        ["--training-data-folder", "files"],
        ["--mlflow-experiment", "abbreviated"],
        ["--mlflow-send", "never"],
        ["--mlflow-run-id", "abc", "--mlflow-send", "later"],
    ],
    ids=" ".join,
)
def test_options_that_make_no_sense_end_with_status_2(
    tmp_path: Path, packed: PackedData, change: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert torchtrain(arguments(tmp_path, packed, *change)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("torchtrain: error: ")
    assert len(captured.err.splitlines()) == 1
    assert not (tmp_path / "networks").exists()


def test_mistakes_end_with_status_1_and_one_message(
    tmp_path: Path,
    packed: PackedData,
    store: Store,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ensure_experiment(connect(store), store, "empty")
    (tmp_path / "bad.db").write_text("not a database" * 100)
    folder = packed.data_set.folder
    packed_data = ["--data-set", str(folder), "--manifest", str(folder / "manifest.json")]
    of_experiment = ["--mlflow-tracking-uri", store.uri, "--data-generation-experiment-id"]
    for more, message in (
        ([*of_experiment, "empty"], "experiment 'empty' (id 1) has no run with files"),
        ([*of_experiment, "unknown"], "experiment 'unknown' is not in"),
        (
            [*packed_data, "--mlflow-on", "--mlflow-tracking-uri", f"sqlite:///{tmp_path}/bad.db"],
            "cannot be opened: it is not an SQLite database",
        ),
        (["--training-data-folder", str(tmp_path / "no")], "no does not exist"),
        ([*packed_data, "--device", "gpu", "--config-path", "nowhere.yaml"], "no such file"),
        ([*packed_data, "--manifest", str(tmp_path / "no.json")], "no.json: cannot be read"),
    ):
        base = ["--config-path", str(write_yaml(tmp_path))]
        base += ["--networks-path-base", str(tmp_path / "networks")]
        caplog.clear()
        assert torchtrain([*base, "--log-level", "warning", *more]) == 1
        assert len(caplog.records) == 1
        assert caplog.messages[-1].startswith("torchtrain: error: ")
        assert message in caplog.messages[-1]
        assert "Traceback" not in caplog.text
    assert capsys.readouterr().out == ""


def test_a_training_that_diverges_ends_with_status_1_and_what_to_do(
    tmp_path: Path, packed: PackedData, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    keys = {"LEARNING_RATE": 1e20, "OPTIMIZER_": "sgd", "ACTIVATIONS": [["relu"]]}
    more = ["--mlflow-on", "--mlflow-tracking-uri", store.uri]
    assert torchtrain(arguments(tmp_path, packed, *more, **keys)) == 1
    assert "Lower LEARNING_RATE (it is 1e+20)" in caplog.messages[-1]
    assert run_of(store).info.status == "FAILED"


def test_without_mlflow_a_training_goes_on_untracked(
    tmp_path: Path,
    packed: PackedData,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)  # as if it was not installed
    for option in (["--mlflow-on"], ["--mlflow-run-name", "a name"]):
        caplog.clear()
        assert torchtrain(arguments(tmp_path, packed, *option)) == 0
        assert "MLflow is not installed, so tracking is disabled" in caplog.text
        assert last_line(capsys)["mlflow_run_id"] is None


@pytest.mark.parametrize("option", ["--data-generation-experiment-id", "--mlflow-run-id"])
def test_what_cannot_be_done_without_mlflow_is_an_error(
    tmp_path: Path,
    packed: PackedData,
    option: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert torchtrain(arguments(tmp_path, packed, option, "1")) == 1
    assert f"{option} needs MLflow, which is not installed" in caplog.text


@pytest.mark.parametrize("backend", COMMANDS)
def test_help_names_every_option_of_the_documents(
    backend: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert COMMANDS[backend](["--help"]) == 0
    text = capsys.readouterr().out
    assert f"Usage: {backend}train" in text
    for option in (
        "--mlflow-tracking-uri",
        "--mlflow-artifact-location",
        "--mlflow-on",
        "--mlflow-run-id",
        "--mlflow-run-name",
        "--mlflow-experiment-name",
        "--data-generation-experiment-id",
        "--config-path",
        "--training-data-folder",
        "--networks-path-base",
        "--network-id",
        "--dl-workers",
        "--dry-run",
        "--export-onnx / --no-export-onnx",
        "--log-level",
    ):
        assert option in text


class Command:
    """A training command in a process of its own."""

    def __init__(self, backend: str, given: list[str], **variables: str) -> None:
        program = Path(sys.executable).with_name(f"{backend}train")
        kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")}
        self.process = subprocess.Popen(
            [program, *given],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**kept, **variables},
        )
        self.errors = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self.process:
            self.process.kill()

    def read_until(self, start_of_line: str) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors += line
            if line.startswith(start_of_line):
                return
        raise AssertionError(self.errors)

    def end(self) -> tuple[int, str]:
        """Status and standard output."""
        output, errors = self.process.communicate()
        self.errors += errors
        return self.process.returncode, output


def history_of(folder: Path) -> list[str]:
    """Rows without their seconds."""
    return [line.rpartition(",")[0] for line in (folder / "history.csv").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "numbers"),
    [("jax", [signal.SIGTERM]), ("torch", [signal.SIGKILL, signal.SIGINT])],
    ids=["jax-SIGTERM", "torch-SIGKILL-SIGINT"],
)
def test_a_training_that_is_stopped_continues_as_the_same_run_to_the_same_bytes(
    backend: str,
    numbers: list[signal.Signals],
    tmp_path: Path,
    packed: PackedData,
    store: Store,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each try is a process of its own; what nothing interrupted is trained in this one."""
    more = ["--mlflow-on", "--mlflow-tracking-uri", store.uri]
    given = arguments(tmp_path, packed, *more, N_EPOCHS=MANY_EPOCHS)
    folder = tmp_path / "networks" / "lan" / "ddm" / "net"
    run_ids = set()
    for i, number in enumerate(numbers):
        with Command(backend, given) as command:
            command.read_until(f"epoch {3 + 5 * i}/")
            command.process.send_signal(number)
            check_stopped(command, number, folder, store)
        run_ids.add(run_of(store).info.run_id)
    with Command(backend, given) as command:
        code, output = command.end()
    assert code == 0, command.errors
    assert "continuing after epoch" in command.errors
    assert {json.loads(output.splitlines()[-1])["mlflow_run_id"]} == run_ids
    run = run_of(store)
    assert run.info.status == "FINISHED"
    history = connect(store).get_metric_history(run.info.run_id, "val_loss")
    assert [entry.step for entry in history] == list(range(1, MANY_EPOCHS + 1))
    (tmp_path / "whole").mkdir()
    assert COMMANDS[backend](arguments(tmp_path / "whole", packed, N_EPOCHS=MANY_EPOCHS)) == 0
    whole = Path(last_line(capsys)["network_folder"])
    assert (folder / "model.onnx").read_bytes() == (whole / "model.onnx").read_bytes()
    assert history_of(folder) == history_of(whole)


def check_stopped(command: Command, number: signal.Signals, folder: Path, store: Store) -> None:
    code, output = command.end()
    assert output == ""
    assert "Traceback" not in command.errors
    record = json.loads((folder / "run.json").read_text())
    if number == signal.SIGKILL:
        assert code == -number
        assert record["status"] == "RUNNING"  # nobody was there to say otherwise
    else:
        assert code == 130
        assert command.errors.endswith("train: interrupted\n")
        assert record["status"] == "KILLED"
        assert record["reason"] == f"KeyboardInterrupt: {number.name}"
    assert run_of(store).info.status == record["status"]
    assert (folder / "checkpoint.npz").exists()
    assert not (folder / "model.onnx").exists()


@pytest.mark.slow
@pytest.mark.parametrize("backend", COMMANDS)
def test_of_the_same_command_typed_twice_at_once_the_second_is_refused(
    backend: str, tmp_path: Path, packed: PackedData, store: Store
) -> None:
    more = ["--mlflow-on", "--mlflow-tracking-uri", store.uri]
    given = arguments(tmp_path, packed, *more, N_EPOCHS=MANY_EPOCHS)
    folder = tmp_path / "networks" / "lan" / "ddm" / "net"
    with Command(backend, given) as first:
        first.read_until("epoch 3/")
        first.process.send_signal(signal.SIGSTOP)
        with Command(backend, given) as second:
            code, output = second.end()
        first.process.send_signal(signal.SIGCONT)
        assert (code, output) == (1, "")
        (refusal,) = [line for line in second.errors.splitlines() if "error" in line]
        process = f"process {first.process.pid} on {socket.gethostname()} since "
        assert f"{folder} is being trained by {process}" in refusal
        assert refusal.endswith("; wait for it or end it")
        assert first.end()[0] == 0, first.errors
    assert run_of(store).info.status == "FINISHED"
    assert json.loads((folder / "run.json").read_text())["status"] == "FINISHED"
    assert len(history_of(folder)) == MANY_EPOCHS + 1
    assert not (folder / ".lock").exists()


@pytest.mark.parametrize("phase", ["epoch 1/", "epoch 2/"])
def test_a_training_whose_interruption_is_lost_is_stopped_all_the_same(
    phase: str,
    tmp_path: Path,
    packed: PackedData,
    store: Store,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Deterministic, in this process: the signal arrives in a collection while a line is logged."""
    more = ["--mlflow-on", "--mlflow-tracking-uri", store.uri]
    given = arguments(tmp_path, packed, *more)
    with losing_an_interruption_at(phase):
        assert torchtrain(given) == 130
    assert capsys.readouterr().out == ""
    folder = tmp_path / "networks" / "lan" / "ddm" / "net"
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == run_of(store).info.status == "KILLED"
    assert record["reason"] == "KeyboardInterrupt: SIGTERM"
    assert torchtrain(given) == 0
    assert last_line(capsys)["mlflow_run_id"] == record["mlflow_run_id"]
    assert run_of(store).info.status == "FINISHED"


@contextlib.contextmanager
def losing_an_interruption_at(start_of_line: str) -> Iterator[None]:
    class Losing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith(start_of_line):
                lose_an_interruption(signal.SIGTERM)

    log, handler = logging.getLogger("lanflow"), Losing()
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


@pytest.mark.parametrize("seconds", [0.1, 1.0, 2.5])
def test_a_training_that_is_stopped_while_it_starts_ends_without_a_traceback(
    seconds: float, tmp_path: Path, packed: PackedData, store: Store
) -> None:
    more = ["--mlflow-on", "--mlflow-tracking-uri", store.uri]
    with Command("jax", arguments(tmp_path, packed, *more, N_EPOCHS=10_000)) as command:
        time.sleep(seconds)
        command.process.send_signal(signal.SIGTERM)
        code, output = command.end()
    assert code in (130, -signal.SIGTERM)  # as Python itself ends before we can do better
    assert output == ""
    assert "Traceback" not in command.errors
    client = connect(store)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    assert {run.info.status for run in client.search_runs(experiments)} <= {"KILLED"}


@pytest.mark.slow
def test_a_password_is_shown_nowhere(tmp_path: Path, packed: PackedData, store: Store) -> None:
    """Neither that of a server that is not there nor one inside the URI of a store."""
    for uri, status in (
        ("http://ada:pa55word@127.0.0.1:1", 1),
        (f"{store.uri}?note=http://ada:pa55word@host", 0),
    ):
        more = ["--mlflow-on", "--mlflow-tracking-uri", uri, "--log-level", "debug"]
        with Command("torch", arguments(tmp_path, packed, *more)) as command:
            code, output = command.end()
        assert code == status
        assert "pa55word" not in output + command.errors
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"pa55word" not in path.read_bytes(), path
