"""A finished study is changed, and one call makes what the change asks for: run for real."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from tests.conftest import TRAINING_YAML, sha256
from tests.workflow.conftest import QUICK, Checkout, make_checkout

pytestmark = pytest.mark.slow

MODEL: dict[str, Any] = {
    "data": {"generate": {"config": "generation.yaml"}},
    "networks": {"lan": {"config": "training.yaml", "backends": ["jax"]}},
}


@pytest.fixture(scope="module")
def study(
    tmp_path_factory: pytest.TempPathFactory, _prepared_database: Path, quick_commands: Path
) -> Checkout:
    """A study of ddm, finished; the tests change it one after the other."""
    place = make_checkout(tmp_path_factory.mktemp("changed"), commands=quick_commands)
    for name in ("mlflow.db", "other.db"):
        shutil.copy(_prepared_database, place.folder / name)
    place.write_study(models={"ddm": MODEL})
    place.snakemake(study="my_study.yaml")
    return place


def onnx_of(place: Checkout, model: str) -> Path:
    return place.folder / f"results/networks/lan/{model}/lan_jax/model.onnx"


def runs_of(place: Checkout, database: str, experiment: str) -> list[Run]:
    client = MlflowClient(tracking_uri=f"sqlite:///{place.folder / database}")
    found = client.get_experiment_by_name(experiment)
    return [] if found is None else list(client.search_runs([found.experiment_id]))


def test_a_model_added_to_a_finished_study_is_made_in_one_call(study: Checkout) -> None:
    """Once it took three: the first prepared the store, the second checked a node."""
    before = onnx_of(study, "ddm").stat().st_mtime_ns
    study.write_study(models={"ddm": MODEL, "angle": MODEL})
    study.snakemake(study="my_study.yaml")
    assert onnx_of(study, "angle").exists()
    assert onnx_of(study, "ddm").stat().st_mtime_ns == before
    table = pd.read_csv(study.folder / "results/leaderboard.csv")
    assert sorted(table["model"]) == ["angle", "ddm"]
    assert "angle" in (study.folder / "results/report.html").read_text()
    assert not study.planned(study="my_study.yaml")


def test_a_changed_store_gets_the_runs_and_only_what_changed_besides_is_trained(
    study: Checkout,
) -> None:
    before = sha256(onnx_of(study, "ddm"))
    faster = {**MODEL, "networks": {"lan": {"config": "faster.yaml", "backends": ["jax"]}}}
    study.write_yaml("faster.yaml", {**TRAINING_YAML, "LEARNING_RATE": 0.02})
    models = {"ddm": MODEL, "angle": faster}
    study.write_yaml("my_study.yaml", {**QUICK, "register_networks": True, "models": models})
    other = {"MLFLOW_TRACKING_URI": "sqlite:///other.db"}
    study.snakemake(study="my_study.yaml", **other)
    assert sha256(onnx_of(study, "ddm")) == before
    for model in ("ddm", "angle"):
        (chunk,) = runs_of(study, "other.db", f"{model}-data-generation")
        trainings = runs_of(study, "other.db", f"{model}-training")
        # That of angle as it was, and the one that took its place.
        assert len(trainings) == {"ddm": 1, "angle": 2}[model]
        assert {run.info.status for run in [chunk, *trainings]} == {"FINISHED"}
        card = json.loads((onnx_of(study, model).parent / "card.json").read_text())
        (training,) = (run for run in trainings if run.info.run_id == card["mlflow_run_id"])
        assert training.data.tags["evaluation_verdict"] == "failed"
        # A training after the change names what its manifest froze, in the store of then.
        old = runs_of(study, "mlflow.db", f"{model}-data-generation")[0].info.experiment_id
        expected = {"ddm": chunk.info.experiment_id, "angle": old}[model]
        assert training.data.tags["data_generation_experiment_id"] == expected
    assert len(runs_of(study, "mlflow.db", "ddm-training")) == 1
    assert "Nothing to be done" in study.run(
        "snakemake", "-n", "--configfile", "my_study.yaml", **other
    )


def test_a_study_that_is_not_whole_at_its_end_says_so_and_fails(study: Checkout) -> None:
    path = onnx_of(study, "ddm").with_name("evaluation.json")
    whole = path.read_text()
    path.write_text(whole.replace(json.loads(whole)["onnx_sha256"], "0" * 64))
    other = {"MLFLOW_TRACKING_URI": "sqlite:///other.db"}
    output = study.run("snakemake", "--configfile", "my_study.yaml", check=False, **other)
    assert "the study ended, but 1 of its files are missing or of an older study" in output
    assert f"{path.relative_to(study.folder)}: onnx_sha256 is '000" in output
    assert "Traceback" not in output
    path.write_text(whole)
    study.run("snakemake", "--configfile", "my_study.yaml", **other)
