"""The main job on real input: the tiny study from nothing to networks, and what reruns do."""

import json
import os
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from lanflow.evaluation.published import accuracy_limits
from lanflow.evaluation.record import read_evaluation
from lanflow.networks.graph import check_contract
from tests.conftest import sha256
from tests.workflow.conftest import Checkout

NETWORK = "results/networks/lan/ddm/lan_jax"


@pytest.fixture
def client(tiny: Checkout) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{tiny.folder}/mlflow.db")


def test_every_network_folder_is_complete_and_keeps_the_contract(tiny: Checkout) -> None:
    for backend, suffix in (("jax", "jax"), ("torch", "pt")):
        folder = tiny.folder / f"results/networks/lan/ddm/lan_{backend}"
        names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        assert names == {
            "model.onnx",
            f"weights_best.{suffix}",
            f"weights_last.{suffix}",
            "config.json",
            "history.csv",
            "training_curve.png",
            "training_data_lineage.json",
            "card.json",
            "run.json",
            "evaluation.json",
            "evaluation.npz",
            "plot_density.png",
            "plot_sweep.png",
            "plot_error.png",
            "plot_calibration.png",
        }
        check_contract((folder / "model.onnx").read_bytes())
        card = json.loads((folder / "card.json").read_text())
        assert card["inputs"] == ["v", "a", "z", "t", "rt", "choice"]
        assert card["bounds"]["v"] == [-3.0, 3.0]
        assert "log-likelihood" in card["output"]


def test_both_backends_learn_the_same(tiny: Checkout) -> None:
    losses = [
        pd.read_csv(tiny.folder / f"results/networks/lan/ddm/lan_{backend}/history.csv")["val_loss"]
        for backend in ("jax", "torch")
    ]
    assert losses[0].iloc[-1] < 0.6 * losses[0].iloc[0]
    np.testing.assert_allclose(losses[0], losses[1], rtol=2e-3)


def test_runs_are_tracked_finished_and_linked(tiny: Checkout, client: MlflowClient) -> None:
    generation = client.get_experiment_by_name("ddm-data-generation")
    training = client.get_experiment_by_name("ddm-training")
    chunks = client.search_runs([generation.experiment_id])
    networks = client.search_runs([training.experiment_id])
    assert len(chunks) == len(networks) == 2
    assert {run.info.status for run in [*chunks, *networks]} == {"FINISHED"}
    assert {run.data.params["backend"] for run in networks} == {"jax", "torch"}
    manifest = json.loads((tiny.folder / "results/ddm/manifest.json").read_text())
    assert {run["run_id"] for run in manifest["runs"]} == {run.info.run_id for run in chunks}
    for run in networks:
        assert run.data.tags["data_generation_experiment_id"] == generation.experiment_id
        assert run.data.tags["data_digest"] == manifest["digest"]
        (data_set,) = run.inputs.dataset_inputs
        assert manifest["digest"].startswith(data_set.dataset.digest)


def test_the_manifest_names_what_the_files_are(tiny: Checkout) -> None:
    manifest = json.loads((tiny.folder / "results/ddm/manifest.json").read_text())
    assert manifest["parameters"] == ["v", "a", "z", "t"]
    for file in manifest["files"]:
        path = Path(file["path"])
        assert path.stat().st_size == file["size_bytes"]
        assert sha256(path) == file["sha256"]
    record = json.loads((tiny.folder / "results/ddm/data_set/data_set.json").read_text())
    assert record["n_sets"] == 80  # two chunks of 40, all different
    audit = json.loads((tiny.folder / "results/ddm/audit.json").read_text())
    assert audit["sets"] == {"distinct": 80, "claimed": 80, "repeated_share": 0.0}


def test_every_network_is_evaluated_and_a_tiny_one_honestly_fails(
    tiny: Checkout, client: MlflowClient
) -> None:
    for backend in ("jax", "torch"):
        folder = tiny.folder / f"results/networks/lan/ddm/lan_{backend}"
        record = read_evaluation(folder / "evaluation.json")
        gates = {gate.name: gate.verdict for gate in record.gates}
        assert record.verdict == "failed"
        assert (gates["structure"], gates["parity"]) == ("passed", "passed")
        assert gates["density"] == gates["accuracy"] == "failed"
        assert record.onnx_sha256 == sha256(folder / "model.onnx")
        run_id = json.loads((folder / "card.json").read_text())["mlflow_run_id"]
        run = client.get_run(run_id)
        assert run.data.tags["evaluation_verdict"] == "failed"
        assert record.scores is not None
        assert run.data.metrics["evaluation.mean_abs_error"] == record.scores.mean_abs_error
        assert "evaluation.json" in [file.path for file in client.list_artifacts(run_id)]
    table = pd.read_csv(tiny.folder / "results/leaderboard.csv")
    assert list(table["verdict"]) == ["failed", "failed"]
    assert list(table["origin"]) == ["study", "study"]
    assert (table["mean_abs_error"] > accuracy_limits("ddm")["mean_abs_error"]).all()


def test_required_gates_fail_the_build_and_are_named(tiny: Checkout) -> None:
    output = tiny.snakemake("--config", "require_gates=true", check=False)
    assert "2 of 2 network(s) do not pass their gates" in output
    assert re.search(r"lan_jax/evaluation.json: gate density failed: \w[^;]* is \d", output)
    assert not (tiny.folder / "results/gates.json").exists()
    (tiny.folder / "results/logs/check_gates.log").unlink()  # as it was


def test_the_end_tells_losses_and_paths(tiny: Checkout) -> None:
    output = (tiny.folder / "output.txt").read_text()
    assert re.search(
        rf"^ddm lan lan_jax +failed +0\.\d+ +\d\.\d+ +{NETWORK}/model.onnx$", output, re.M
    )
    assert "0 of 2 networks passed every gate" in output
    last = output.splitlines()[-3:]
    assert last[0].split() == ["the", "report", "results/report.html"]
    assert last[2].startswith("your own model")


def test_a_build_prints_one_line_a_job_and_nothing_that_is_not_for_people(tiny: Checkout) -> None:
    output = (tiny.folder / "output.txt").read_text()
    jobs = re.findall(r"^\[ ?(\d+)/19\] \w+", output, re.MULTILINE)
    assert jobs == [str(n) for n in range(1, 20)]
    assert re.search(
        r"trained +ddm lan lan_jax +[\d.]+ \w+  12 epochs, .* rows/s, val_loss 0\.\d+", output
    )
    lines = [line for line in output.splitlines() if not line.startswith(" ")]  # no progress
    assert len(lines) < 40
    assert max(map(len, lines)) < 250
    for word in ("reason", "resources", "tee", "localrule", "{", "\x1b", "Traceback"):
        assert word not in output
    assert not re.search(r"\d\.\d{8}", output)
    (log,) = re.findall(r"\.snakemake/log/\S+\.log", output)
    assert "reason: Missing output files" in (tiny.folder / log).read_text()


def test_the_report_is_honest_and_holds_what_the_study_made(tiny: Checkout) -> None:
    report = (tiny.folder / "results/report.html").read_text()
    assert "No network passed its gates (0 of 2)." in report
    manifest = json.loads((tiny.folder / "results/ddm/manifest.json").read_text())
    sha256_of_onnx = sha256(tiny.folder / NETWORK / "model.onnx")
    runs = [run["run_id"] for run in manifest["runs"]]
    runs.append(json.loads((tiny.folder / NETWORK / "card.json").read_text())["mlflow_run_id"])
    for text in (manifest["digest"], sha256_of_onnx, *runs):
        assert text in report
    links = re.findall(r'(?:src|href)="(?!data:|#)([^"]*)"', report)
    assert f"{NETWORK}/model.onnx" in [f"results/{link}" for link in links]
    assert all((tiny.folder / "results" / link).exists() for link in links)


def test_every_job_has_a_log_and_a_benchmark(tiny: Checkout) -> None:
    for folder in ("logs", "benchmarks"):
        files = [p for p in (tiny.folder / "results" / folder).rglob("*") if p.is_file()]
        assert len(files) == 19
        assert all(path.stat().st_size for path in files)


def test_a_second_run_does_nothing(tiny: Checkout) -> None:
    before = sha256(tiny.folder / "results/report.html")
    assert "Nothing to be done" in tiny.snakemake()
    assert sha256(tiny.folder / "results/report.html") == before


def test_a_mere_touch_retrains_nothing(tiny: Checkout) -> None:
    time.sleep(0.01)
    for pattern in ("config/**/*.yaml", "results/ddm/**/*.json", "results/ddm/**/*.pickle"):
        for path in tiny.folder.glob(pattern):
            os.utime(path)
    os.utime(tiny.folder / "results/ddm/data_set/arrays")
    assert not tiny.planned()


def test_a_changed_learning_rate_retrains_that_network_only(tiny: Checkout) -> None:
    other = tiny.folder / "other_training.yaml"
    text = (tiny.folder / "config/training/tiny_lan.yaml").read_text()
    study = (tiny.folder / "config/examples/tiny.yaml").read_text()
    other.write_text(text.replace("LEARNING_RATE: 0.002", "LEARNING_RATE: 0.0021"))
    # The same network with a changed file, and the other backend as it was.
    changed = study.replace("backends: [jax, torch]", "backends: [jax]")
    changed = changed.replace("config/training/tiny_lan.yaml", "other_training.yaml")
    (tiny.folder / "changed.yaml").write_text(changed)
    assert tiny.planned(study="changed.yaml") == {
        "train_network": 1,
        "evaluate_network": 1,
        "plot_network": 1,
        "bundle_network": 1,
        "register_networks": 1,
        "collect_leaderboard": 1,
        "write_report": 1,
    }


def test_a_comment_in_a_training_file_retrains_nothing(tiny: Checkout) -> None:
    path = tiny.folder / "config/training/tiny_lan.yaml"
    text = path.read_text()
    path.write_text("# only a comment\n" + text)
    try:
        assert not tiny.planned()
    finally:
        path.write_text(text)


def test_a_changed_generation_seed_rebuilds_from_there(tiny: Checkout) -> None:
    planned = tiny.planned("--config", "seed=2")
    assert planned == {
        "generate_data": 2,
        "query_experiment": 1,
        "write_manifest": 1,
        "materialise_data": 1,
        "audit_data": 1,
        "train_network": 2,
        "evaluate_network": 2,
        "plot_network": 2,
        "bundle_network": 2,
        "register_networks": 1,
        "collect_leaderboard": 1,
        "write_report": 1,
    }


def test_a_manifest_of_other_content_retrains(tiny: Checkout) -> None:
    path = tiny.folder / "results/ddm/manifest.json"
    text = path.read_text()
    path.write_text(text.replace('"analytic"', '"other"'))
    try:
        assert tiny.planned()["train_network"] == 2
    finally:
        path.write_text(text)
    assert not tiny.planned()


def test_printed_commands_can_be_pasted(tiny: Checkout) -> None:
    output = tiny.snakemake("-n", "-p", "--forceall")
    (command,) = re.findall(r"(?m)^lanflow train --backend torch .*", output)
    pasted = command.replace("results/networks", "pasted")
    line = tiny.run("bash", "-c", f"{pasted} --json").splitlines()
    result = json.loads(next(entry for entry in line if entry.startswith("{")))
    assert result["status"] == "FINISHED"
    assert sha256(Path(result["onnx"])) == sha256(
        tiny.folder / "results/networks/lan/ddm/lan_torch/model.onnx"
    )
