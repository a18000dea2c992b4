"""The MLflow server dies in the middle of the work, and comes back."""

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from lanflow.core.progress import Progress
from lanflow.data.prepare import PackedData
from tests.conftest import content_of_run
from tests.outage.conftest import Server
from tests.outage.work import Work, at_lines


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
) -> None:
    """All steps use one server, because each start takes seconds."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    work = Work(tmp_path, packed)
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
