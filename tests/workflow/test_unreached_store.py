"""Nodes that reach no server: the machine that the study is started on brings their runs in."""

import json

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from tests.workflow.conftest import Checkout


@pytest.mark.slow
def test_a_study_whose_jobs_reach_no_store_is_tracked_like_any_other(tracked: Checkout) -> None:
    study = tracked.write_study(
        models={
            "ddm": {
                "data": {"generate": {"config": "generation.yaml", "chunks": 2}},
                "networks": {"lan": {"config": "training.yaml", "backends": ["torch"]}},
            }
        },
    )
    later = {"LANFLOW_MLFLOW_SEND": "later"}
    tracked.snakemake("--cores", "2", study=study, **later)
    client = MlflowClient(tracking_uri=f"sqlite:///{tracked.folder}/mlflow.db")
    ids = {}
    for name, n_runs in (("ddm-data-generation", 2), ("ddm-training", 1)):
        runs = client.search_runs([client.get_experiment_by_name(name).experiment_id])
        assert [run.info.status for run in runs] == ["FINISHED"] * n_runs
        ids[name] = {run.info.run_id for run in runs}
    manifest = json.loads((tracked.folder / "results/ddm/manifest.json").read_text())
    assert {run["run_id"] for run in manifest["runs"]} == ids["ddm-data-generation"]
    table = pd.read_csv(tracked.folder / "results/leaderboard.csv")
    assert set(table["mlflow_run_id"]) == ids["ddm-training"]
    assert not list(tracked.folder.glob("results/**/unsent_runs"))
    assert not tracked.planned(study=study)  # what was sent is not made again


def test_runs_are_brought_in_when_a_study_fails_too(tracked: Checkout) -> None:
    networks = {"lan": {"config": "training.yaml", "backends": ["torch"]}}
    study = tracked.write_study(
        models={
            "ddm": {"data": {"generate": {"config": "generation.yaml"}}, "networks": networks},
            "angle": {"data": {"folder": "no-such-folder"}, "networks": networks},
        },
    )
    targets = ["results/ddm/generation/chunk_0/chunk.json", "results/angle/manifest.json"]
    output = tracked.snakemake(
        *("--keep-going", *targets), study=study, check=False, LANFLOW_MLFLOW_SEND="later"
    )
    assert "no-such-folder does not exist" in output
    assert "MLflow: every run was sent" in output
    client = MlflowClient(tracking_uri=f"sqlite:///{tracked.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("ddm-data-generation")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
