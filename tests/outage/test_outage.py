"""The MLflow server dies in the middle of the work, and comes back."""

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.tracking import MlflowClient

from lanflow.cli.main import main
from lanflow.cli.train import torchtrain
from lanflow.core.progress import Progress
from lanflow.data.prepare import PackedData
from tests.conftest import TRAINING_YAML, content_of_run
from tests.outage.conftest import Server

GENERATION_YAML: dict[str, Any] = {
    "MODEL": "ddm",
    "GENERATOR_APPROACH": "lan",
    "PIPELINE": {"N_PARAMETER_SETS": 3, "N_SUBRUNS": 1},
    "SIMULATOR": {"N_SAMPLES": 300, "DELTA_T": 0.01},
    "TRAINING": {"N_SAMPLES_PER_PARAM": 20},
    "ESTIMATOR": {"TYPE": "analytic"},
}


@contextlib.contextmanager
def at_lines(actions: dict[str, Callable[[], None]]) -> Iterator[None]:
    """Call a function when a line with this beginning is logged."""

    class Acting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            for start, action in actions.items():
                if record.getMessage().startswith(start):
                    action()

    log, handler = logging.getLogger("lanflow"), Acting()
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


class Work:
    """Run trainings and generations with their commands, each in its own folder."""

    def __init__(self, folder: Path, packed: PackedData, capsys: Any) -> None:
        self.folder, self._capsys = folder, capsys
        self._data_set = packed.data_set.folder
        keys = {"N_EPOCHS": 6, "LAYER_SIZES": [[8, 1]], "ACTIVATIONS": [["tanh"]]}
        (folder / "training.yaml").write_text(yaml.safe_dump({**TRAINING_YAML, **keys}))
        (folder / "generation.yaml").write_text(yaml.safe_dump(GENERATION_YAML))

    def train(self, name: str) -> dict[str, Any]:
        given = ["--config-path", str(self.folder / "training.yaml"), "--network-name", "net"]
        given += ["--networks-path-base", str(self.folder / name), "--data-set"]
        given += [str(self._data_set), "--manifest", str(self._data_set / "manifest.json")]
        given += ["--device", "cpu", "--threads", "1", "--run-uuid", "0a1b"]
        assert torchtrain([*given, "--mlflow-on", "--mlflow-send", "try"]) == 0
        return self._last_line()

    def generate(self, name: str) -> dict[str, Any]:
        given = ["generate", "--config-path", str(self.folder / "generation.yaml"), "--processes"]
        given += ["1", "--output", str(self.folder / name), "--mlflow-on", "--mlflow-send", "try"]
        assert main(given) == 0
        return self._last_line()

    def sync(self) -> dict[str, Any]:
        assert main(["sync", str(self.folder)]) == 0
        return self._last_line()

    def _last_line(self) -> dict[str, Any]:
        return dict(json.loads(self._capsys.readouterr().out.splitlines()[-1]))


def of_generation(client: MlflowClient, run_id: str) -> dict[str, Any]:
    """Return the content of a run without the folder of its files."""
    content = content_of_run(client, run_id)
    del content["params"]["data_output_folder"]
    return content


@pytest.mark.slow
def test_a_server_that_dies_and_comes_back_has_all_that_an_uninterrupted_one_has(
    server: Server,
    tmp_path: Path,
    packed: PackedData,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All steps use one server, because each start takes seconds."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    work = Work(tmp_path, packed, capsys)
    trained, generated = work.train("whole"), work.generate("whole_chunk")
    assert (trained["mlflow_pending"], generated["mlflow_pending"]) == (None, None)

    # It dies while parameter sets are simulated, and a training starts meanwhile.
    advance = Progress.advance

    def advance_and_kill(self: Progress, n: int = 1) -> None:
        advance(self, n)
        if server.is_up:
            server.kill()

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "advance", advance_and_kill)
        cut_generated = work.generate("cut_chunk")
    assert not server.is_up
    never_reached = work.train("never_reached")
    assert cut_generated["run_id"] is not None
    assert never_reached["mlflow_run_id"] is None
    assert never_reached["status"] == "FINISHED"
    for result in (cut_generated, never_reached):
        assert Path(result["mlflow_pending"]).is_dir()

    # It dies after the second epoch, and is back before the fifth.
    server.start()
    with at_lines({"epoch 2/": server.kill, "epoch 4/": server.start}):
        cut_trained = work.train("cut")
    assert cut_trained["mlflow_pending"] is None

    assert work.sync()["n_runs_sent"] == 2
    client = MlflowClient(tracking_uri=server.url)
    runs = client.search_runs(["1", "2"])
    assert len(runs) == 5
    expected = content_of_run(client, trained["mlflow_run_id"])
    assert expected["status"] == "FINISHED"
    assert [step for step, _ in expected["history"]["val_loss"]] == list(range(1, 7))
    assert len(expected["files"]) == 16
    sent = json.loads((tmp_path / "never_reached/lan/ddm/net/run.json").read_text())
    for run_id in (cut_trained["mlflow_run_id"], sent["mlflow_run_id"]):
        assert content_of_run(client, run_id) == expected
    expected = of_generation(client, generated["run_id"])
    assert expected["history"]["num_files_generated"] == [(0, 1.0)]
    assert of_generation(client, cut_generated["run_id"]) == expected
    chunk = json.loads((tmp_path / "cut_chunk" / "chunk.json").read_text())
    assert chunk["run_id"] == cut_generated["run_id"]
    assert "mlflow_pending" not in chunk
    assert work.sync()["n_runs_sent"] == 0
