import json
import math
from pathlib import Path
from typing import Any

import pytest

from lanflow.core.errors import UserError
from lanflow.data.prepare import PackedData
from lanflow.evaluation.record import Evaluation
from lanflow.evaluation.track import track_evaluation
from lanflow.networks.network import Network
from lanflow.report.leaderboard import (
    find_earlier_networks,
    format_leaderboard,
    leaderboard_csv,
    read_leaderboard,
)
from lanflow.report.sections import networks_section
from lanflow.tracking import client as tracking_client
from lanflow.tracking.experiments import ensure_experiment
from lanflow.tracking.store import Store, resolve_store
from lanflow.tracking.sync import sync_runs
from lanflow.training.run import train
from tests import networks
from tests.conftest import training_options
from tests.mlflow_runs import made_run
from tests.unit.evaluation.test_record import SAMPLE

PARAMS = {
    "model": "ddm",
    "network_type": "lan",
    "backend": "jax",
    "n_epochs": 2,
    "n_weights": 99,
    "seed": 1,
}


def trained(store: Store, *, digest: str = networks.DIGEST, **params: Any) -> str:
    """A finished training in MLflow; its run's id."""
    client = tracking_client.connect(store)
    experiment = ensure_experiment(client, store, "ddm-training")
    tags = {"phase": "train", "data_digest": digest}
    with made_run(client, experiment, name="ddm-net", tags=tags) as run:
        run.log_params({**PARAMS, **params})
        run.log_metrics({"best_val_loss": 0.1, "best_epoch": 1}, step=1)
    return str(run.id)


def tracked_network(folder: Path, store: Store, run_id: str) -> Network:
    made = networks.well_made("cpn")
    networks.write_network(folder, made, mlflow_run_id=run_id)
    record = {"mlflow_run_id": run_id, "mlflow_tracking_uri": store.shown_uri}
    (folder / "run.json").write_text(json.dumps(record))
    return Network.from_folder(folder)


RECORD = Evaluation.model_validate(SAMPLE)


def write_record(folder: Path) -> Path:
    path = folder / "evaluation.json"
    path.write_text(json.dumps(SAMPLE))
    return path


def test_an_evaluation_goes_to_the_run_of_its_training(store: Store, tmp_path: Path) -> None:
    run_id = trained(store)
    network = tracked_network(tmp_path / "net", store, run_id)
    path = write_record(tmp_path / "net")
    assert track_evaluation(network, RECORD, path, store) == run_id
    client = tracking_client.connect(store)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["evaluation_verdict"] == "failed"
    metrics = run.data.metrics
    assert metrics["evaluation.mean_abs_error"] == 0.2
    assert metrics["density.mass_error"] == 0.21
    assert (metrics["structure.passed"], metrics["density.passed"]) == (1, 0)
    assert "hssm.passed" not in metrics  # a skipped gate has neither passed nor failed
    assert "density.distance_ratio" not in metrics  # it was no number
    assert (metrics["cost.seconds"], metrics["cost.rows_per_second"]) == (1.0, 2000)
    assert [file.path for file in client.list_artifacts(run_id)] == ["evaluation.json"]


def test_a_network_that_was_not_tracked_is_not_logged(store: Store, tmp_path: Path) -> None:
    folder = networks.write_network(tmp_path / "net", networks.well_made("cpn"))
    path = write_record(folder)
    assert track_evaluation(Network.from_folder(folder), RECORD, path, store) is None


def test_an_evaluation_waits_for_a_store_that_does_not_answer(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = trained(store)
    network = tracked_network(tmp_path / "net", store, run_id)
    path = write_record(tmp_path / "net")
    monkeypatch.setenv("LANFLOW_MLFLOW_SEND", "later")
    assert track_evaluation(network, RECORD, path, store) == run_id
    client = tracking_client.connect(store)
    assert "evaluation_verdict" not in client.get_run(run_id).data.tags
    path.unlink()  # what waits is the record's own
    sent = sync_runs([tmp_path], uri=store.uri)
    assert (sent.run_ids, sent.unsent) == ([run_id], {})
    run = client.get_run(run_id)
    assert (run.info.status, run.data.tags["evaluation_verdict"]) == ("FINISHED", "failed")
    assert run.data.metrics["evaluation.mean_abs_error"] == 0.2
    assert run.data.params["backend"] == "jax"
    assert [file.path for file in client.list_artifacts(run_id)] == ["evaluation.json"]


def test_an_evaluation_of_a_run_that_waits_is_sent_with_it(
    packed: PackedData, store: Store, tmp_path: Path
) -> None:
    options = training_options(
        tmp_path, packed, mlflow_on=True, mlflow_tracking_uri=store.uri, mlflow_send="later"
    )
    network = Network.from_folder(Path(train(options)["network_folder"]))
    path = write_record(network.folder)
    for _ in range(2):  # twice counts once
        assert track_evaluation(network, RECORD, path, store) is None
    (run_id,) = sync_runs([tmp_path], uri=store.uri).run_ids
    client = tracking_client.connect(store)
    run = client.get_run(run_id)
    assert (run.info.status, run.data.tags["evaluation_verdict"]) == ("FINISHED", "failed")
    assert len(client.get_metric_history(run_id, "evaluation.mean_abs_error")) == 1
    assert "evaluation.json" in [file.path for file in client.list_artifacts(run_id)]


def test_another_store_or_a_run_that_is_gone_is_a_warning(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = tracked_network(tmp_path / "net", store, "0" * 32)
    path = write_record(tmp_path / "net")
    assert track_evaluation(network, RECORD, path, store) is None
    assert "is not in this MLflow store" in caplog.text
    other = resolve_store(uri=f"sqlite:///{tmp_path}/other.db")
    assert track_evaluation(network, RECORD, path, other) is None
    assert "the training was tracked in" in caplog.text
    assert not (tmp_path / "other.db").exists()


def test_earlier_trainings_of_the_same_data_are_found_with_their_scores(
    store: Store, tmp_path: Path
) -> None:
    mine, evaluated, bare = trained(store), trained(store), trained(store, backend="torch")
    trained(store, digest="e" * 64)
    network = tracked_network(tmp_path / "net", store, evaluated)
    track_evaluation(network, RECORD, write_record(tmp_path / "net"), store)
    own = tracked_network(tmp_path / "own", store, mine)
    rows = {row.mlflow_run_id: row for row in find_earlier_networks(store, [own])}
    assert set(rows) == {evaluated, bare}
    assert rows[evaluated].mean_abs_error == 0.2
    assert rows[evaluated].verdict == "failed"
    assert rows[evaluated].seconds == 1.0
    assert rows[evaluated].n_rows == 1000
    assert rows[bare].backend == "torch"
    assert (rows[bare].mean_abs_error, rows[bare].verdict) == (None, None)
    assert rows[bare].onnx.endswith("training_output/model.onnx")


def test_what_others_recorded_of_the_same_data_breaks_no_leaderboard(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Others log what they like to the same experiment, under the same digest."""
    client = tracking_client.connect(store)
    odd = trained(store, model='=cmd|" /C calc"!A0', backend="\x1b[2J@x")
    client.set_tag(odd, "mlflow.runName", "-2+3\n<script>")
    for metric, value in {
        "evaluation.mean_abs_error": math.nan,
        "cost.seconds": math.inf,
        "cost.n_rows": math.nan,
        "cost.rows_per_second": -math.inf,
    }.items():
        client.log_metric(odd, metric, value)
    impossible = [
        trained(store, n_epochs="many"),
        trained(store, seed="9" * 5000),
        trained(store, n_weights="[1, 2]"),
        trained(store),
        trained(store),
    ]
    client.log_metric(impossible[-1], "best_val_loss", math.nan, step=2)
    client.log_metric(impossible[-2], "best_epoch", math.inf, step=2)
    bare = ensure_experiment(client, store, "ddm-training")
    with made_run(client, bare, tags={"data_digest": networks.DIGEST}) as run:
        run.log_params({**PARAMS, "best_val_loss": "low"})
    own = tracked_network(tmp_path / "own", store, trained(store))
    (row,) = find_earlier_networks(store, [own])
    assert row.mlflow_run_id == odd
    assert (row.mean_abs_error, row.seconds, row.n_rows, row.rows_per_second) == (None,) * 4
    left_out = [text for text in caplog.messages if text.startswith("left out of the leaderboard")]
    for run_id in impossible:
        assert any(f"run {run_id}: " in text for text in left_out)
    path = tmp_path / "leaderboard.csv"
    path.write_text(leaderboard_csv([row]))
    assert read_leaderboard(path) == [row]
    assert not any(cell[:1] in ("=", "@", "-", "\x1b") for cell in path.read_text().split(","))
    assert len(format_leaderboard([row]).split("\n")) == 2
    assert "<script>" not in networks_section([row], [], tmp_path / "report.html")


def untracked(folder: Path, model: str) -> Network:
    networks.write_network(folder, model=model, data_digest="e" * 64)
    return Network.from_folder(folder)


def test_a_model_without_trainings_has_no_rows(store: Store, tmp_path: Path) -> None:
    assert find_earlier_networks(store, [untracked(tmp_path / "net", "angle")]) == []


def test_a_store_that_is_not_reachable_leaves_the_study_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "mlflow.db").write_text("no database at all, but long enough to be looked at")
    broken = resolve_store(uri=f"sqlite:///{tmp_path}/mlflow.db")
    assert find_earlier_networks(broken, [untracked(tmp_path / "net", "ddm")]) == []
    assert "the networks of this study alone" in caplog.text


@pytest.mark.parametrize("pending", ["../../x", "/etc", "unsent_runs/../../x", "unsent_runs", ""])
def test_a_folder_of_somebody_else_cannot_lead_an_evaluation_elsewhere(
    tmp_path: Path, store: Store, pending: str
) -> None:
    folder = networks.write_network(tmp_path / "net", networks.well_made("cpn"))
    (folder / "run.json").write_text(json.dumps({"mlflow_pending": pending}))
    path = folder / "evaluation.json"
    path.write_text("{}")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="which is no record in unsent_runs/"):
        track_evaluation(Network.from_folder(folder), RECORD, path, store)
    assert sorted(tmp_path.rglob("*")) == before
