"""The sources of data: an experiment that ssm-simulators' own command made, a folder, both."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanflow.models.analytic import diffusion
from tests.conftest import TRAINING_YAML, training_file_content, write_training_file
from tests.workflow.conftest import GENERATION_YAML, QUICK, Checkout, make_checkout

EXPERIMENT = "ddm-data-generation"
WORKERS = ("worker_a", "worker_b")


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory, _prepared_database: Path) -> Path:
    """Two workers of ssm-simulators' ``generate``, each with a relative folder of its own."""
    place = make_checkout(tmp_path_factory.mktemp("generated"))
    shutil.copy(_prepared_database, place.folder)
    place.write_yaml("generation.yaml", GENERATION_YAML)
    for worker in WORKERS:
        place.run(
            *("generate", "--config-path", "generation.yaml", "--output", f"data/{worker}"),
            *("--n-files", "2", "--mlflow-run-name", worker),
            *("--mlflow-experiment-name", EXPERIMENT),
            *("--mlflow-tracking-uri", "sqlite:///mlflow.db"),
            *("--mlflow-artifact-location", "artifacts"),
        )
    return place.folder


@pytest.fixture
def elsewhere(checkout: Checkout, generated: Path) -> Checkout:
    """A checkout that shares the store of the workers, but not their working directory."""
    checkout.write_yaml("training.yaml", {**TRAINING_YAML, "N_EPOCHS": 2})
    return checkout


def _study(checkout: Checkout, generated: Path, **data: Any) -> str:
    return checkout.write_yaml(
        "study.yaml",
        {
            "tracking": {"uri": f"sqlite:///{generated}/mlflow.db"},
            **QUICK,
            "models": {
                "ddm": {
                    "data": data,
                    "networks": {"lan": {"config": "training.yaml", "backends": ["jax"]}},
                }
            },
        },
    )


def _network(backend: str) -> str:
    """The network alone: what follows a training has tests of its own."""
    return f"results/networks/lan/ddm/lan_{backend}/model.onnx"


def _lineage(checkout: Checkout) -> dict[str, Any]:
    path = checkout.folder / "results/networks/lan/ddm/lan_jax/training_data_lineage.json"
    return dict(json.loads(path.read_text()))


def _files(generated: Path) -> list[Path]:
    return sorted((generated / "data").rglob("*.pickle"))


@pytest.mark.slow
def test_mlflow_first_finds_the_folders_and_trains(elsewhere: Checkout, generated: Path) -> None:
    study = _study(elsewhere, generated, experiment=EXPERIMENT, root=str(generated))
    elsewhere.snakemake(_network("jax"), study=study)
    lineage = _lineage(elsewhere)
    assert lineage["expected_num_runs"] == 2
    assert lineage["num_files_used"] == 4
    assert sorted(lineage["actual_files_used"]) == sorted(p.name for p in _files(generated))
    assert lineage["data_generation_experiment_name"] == EXPERIMENT


def test_repeated_parameter_sets_are_warned_of_and_an_error_above_a_share(
    elsewhere: Checkout, generated: Path
) -> None:
    data = {"experiment": EXPERIMENT, "root": str(generated)}
    output = elsewhere.snakemake(
        "results/ddm/audit.json", study=_study(elsewhere, generated, **data)
    )
    assert re.search(r"warning: ddm: the files hold only \d+ distinct parameter sets", output)
    audit = json.loads((elsewhere.folder / "results/ddm/audit.json").read_text())
    assert audit["warnings"][0].startswith("the files hold only")
    study = _study(elsewhere, generated, **data, max_repeated_sets=0.2)
    assert elsewhere.planned("results/ddm/audit.json", study=study) == {"audit_data": 1}
    output = elsewhere.snakemake(study=study, check=False)
    assert "are repeats, more than the 20.0% that are accepted" in output
    assert "Traceback" not in output


def test_files_that_are_not_on_this_machine_are_downloaded_if_their_runs_logged_them(
    tracked: Checkout,
) -> None:
    networks = {"lan": {"config": "training.yaml", "backends": ["torch"]}}
    generate = {"config": "generation.yaml", "log_files": True}
    here = {"ddm": {"data": {"generate": generate}, "networks": networks}}
    output = tracked.snakemake(
        *("-p", "results/ddm/generation/chunk_0/chunk.json"),
        study=tracked.write_study(models=here),
    )
    assert "--mlflow-on --log-files" in output
    (made,) = (tracked.folder / "results/ddm/generation").rglob("*.pickle")
    content = made.read_bytes()
    shutil.rmtree(tracked.folder / "results/ddm/generation")
    there = {"ddm": {"data": {"experiment": EXPERIMENT}, "networks": networks}}
    study = tracked.write_study(models=there, results="elsewhere")
    output = tracked.snakemake("-p", "elsewhere/ddm/data_set/data_set.json", study=study)
    assert "--download elsewhere/ddm/downloaded" in output
    (fetched,) = (tracked.folder / "elsewhere/ddm/downloaded").rglob("*.pickle")
    assert fetched.name == made.name
    assert fetched.read_bytes() == content
    output = tracked.snakemake("refresh_manifests", study=study)
    assert "no manifest changed" in output


def test_an_experiment_may_be_given_by_its_number(elsewhere: Checkout, generated: Path) -> None:
    study = _study(elsewhere, generated, experiment=1, root=str(generated))
    elsewhere.snakemake("results/ddm/manifest.json", study=study)
    manifest = json.loads((elsewhere.folder / "results/ddm/manifest.json").read_text())
    assert manifest["experiment"] == {"id": "1", "name": EXPERIMENT}


def test_a_recorded_prefix_can_be_mapped(elsewhere: Checkout, generated: Path) -> None:
    study = _study(
        elsewhere,
        generated,
        experiment=EXPERIMENT,
        path_map={"data/worker_a": f"{generated}/data/worker_a", "data": f"{generated}/data"},
    )
    elsewhere.snakemake("results/ddm/manifest.json", study=study)
    manifest = json.loads((elsewhere.folder / "results/ddm/manifest.json").read_text())
    assert len(manifest["files"]) == 4


def test_folders_that_are_not_visible_list_runs_and_what_to_set(
    elsewhere: Checkout, generated: Path
) -> None:
    study = _study(elsewhere, generated, experiment=EXPERIMENT)
    output = elsewhere.snakemake(study=study, check=False)
    for worker in WORKERS:
        assert f"recorded data/{worker}/data/training_data" in output
    assert "--root" in output
    assert "--path-map" in output
    assert "Traceback" not in output


def test_validation_trains_on_what_is_tracked_and_reports_the_rest(
    elsewhere: Checkout, generated: Path
) -> None:
    folder = elsewhere.folder / "copies"
    folder.mkdir()
    for path in _files(generated):
        shutil.copy2(path, folder)
    write_training_file(folder / "training_data_extra.pickle")
    study = _study(elsewhere, generated, experiment=EXPERIMENT, folder="copies")
    output = elsewhere.snakemake(_network("jax"), study=study)
    assert "1 file(s) that the experiment does not track" in output
    assert _lineage(elsewhere)["extra_files"] == ["training_data_extra.pickle"]
    assert _lineage(elsewhere)["num_files_used"] == 4
    assert _lineage(elsewhere)["expected_files"] == sorted(p.name for p in _files(generated))


def test_validation_trains_on_the_rest_too_if_asked(elsewhere: Checkout, generated: Path) -> None:
    folder = elsewhere.folder / "copies"
    folder.mkdir()
    for path in _files(generated):
        shutil.copy2(path, folder)
    write_training_file(folder / "training_data_extra.pickle")
    study = _study(
        elsewhere, generated, experiment=EXPERIMENT, folder="copies", use_extra_files=True
    )
    output = elsewhere.snakemake("results/ddm/manifest.json", study=study)
    assert "trained on too, as asked" in output
    manifest = json.loads((elsewhere.folder / "results/ddm/manifest.json").read_text())
    assert len(manifest["files"]) == 5
    assert manifest["extra_files"] == ["training_data_extra.pickle"]


def test_validation_names_a_missing_file(elsewhere: Checkout, generated: Path) -> None:
    folder = elsewhere.folder / "copies"
    folder.mkdir()
    first, *rest = _files(generated)
    for path in rest:
        shutil.copy2(path, folder)
    study = _study(elsewhere, generated, experiment=EXPERIMENT, folder="copies")
    output = elsewhere.snakemake(study=study, check=False)
    assert f"1 missing from copies: {first.name}" in output
    assert "Traceback" not in output


def test_a_file_of_another_size_is_named(elsewhere: Checkout, generated: Path) -> None:
    folder = elsewhere.folder / "copies"
    folder.mkdir()
    for path in _files(generated):
        shutil.copy2(path, folder)
    short = folder / _files(generated)[0].name
    short.write_bytes(short.read_bytes()[:-1])
    study = _study(elsewhere, generated, experiment=EXPERIMENT, folder="copies")
    output = elsewhere.snakemake(study=study, check=False)
    assert f"copies/{short.name} has {short.stat().st_size} bytes, recorded are" in output


def test_an_unknown_experiment_lists_those_that_exist(elsewhere: Checkout, generated: Path) -> None:
    study = _study(elsewhere, generated, experiment="dmd-data-generation")
    output = elsewhere.snakemake(study=study, check=False)
    assert "experiment 'dmd-data-generation' is not in sqlite:///" in output
    assert f"{EXPERIMENT} (id 1)" in output
    assert "Traceback" not in output


def _traditional(checkout: Checkout, **data: Any) -> str:
    checkout.write_yaml("training.yaml", {**TRAINING_YAML, "N_EPOCHS": 2})
    networks = {"lan": {"config": "training.yaml", "backends": ["torch"]}}
    models = {"ddm": {"data": {"folder": "files", **data}, "networks": networks}}
    return checkout.write_yaml("study.yaml", {**QUICK, "models": models})


@pytest.mark.slow
def test_a_folder_alone_trains_without_lineage_and_refreshes(tracked: Checkout) -> None:
    for i in range(2):
        write_training_file(tracked.folder / f"files/training_data_{i}.pickle", seed=i)
    study = _traditional(tracked)
    tracked.snakemake(study=study)
    path = tracked.folder / "results/networks/lan/ddm/lan_torch/training_data_lineage.json"
    lineage = json.loads(path.read_text())
    assert lineage["data_generation_experiment_id"] is None
    assert lineage["num_files_used"] == 2

    # The manifest is frozen: a file that joins the folder changes nothing by itself.
    write_training_file(tracked.folder / "files/training_data_2.pickle", seed=2)
    assert not tracked.planned(study=study)
    tracked.snakemake("refresh_manifests", study=study)
    assert tracked.planned(study=study)["train_network"] == 1
    tracked.snakemake(study=study)
    assert json.loads(path.read_text())["num_files_used"] == 3

    # Nothing changed since: a refresh leaves the manifest alone, and nothing is trained.
    output = tracked.snakemake("refresh_manifests", study=study)
    assert "no manifest changed" in output
    assert not tracked.planned(study=study)


@pytest.mark.slow
def test_existing_data_is_relabelled_and_trained_on(tracked: Checkout) -> None:
    for i in range(2):
        write_training_file(tracked.folder / f"files/training_data_{i}.pickle", seed=i)
    tracked.snakemake(_network("torch"), study=_traditional(tracked, relabel="auto"))
    network = tracked.folder / "results/networks/lan/ddm/lan_torch"
    manifest = json.loads((tracked.folder / "results/ddm/manifest.json").read_text())
    card, lineage = (
        json.loads((network / name).read_text())
        for name in ("card.json", "training_data_lineage.json")
    )
    assert manifest["relabel"] == card["label_source"] == lineage["label_source"] == "analytic"
    assert card["data_digest"] == manifest["digest"]
    labels = np.load(tracked.folder / "results/ddm/data_set/arrays/lan_labels.npy").ravel()
    features = np.load(tracked.folder / "results/ddm/data_set/arrays/lan_features.npy")
    for row, label in zip(features[:20].astype(float), labels, strict=False):
        v, a, z, t, rt, choice = row.tolist()
        log_density = diffusion("ddm", {"v": v, "a": a, "z": z}).log_density
        expected = max(log_density(np.array([rt - t]), int(choice))[0], -66.77497)
        assert label == pytest.approx(expected, abs=1e-4)
    # The labels in the files again: another data set, so all that follows is made anew.
    study = _traditional(tracked)
    assert tracked.planned(study=study)["train_network"] == 1
    tracked.snakemake("results/ddm/manifest.json", study=study)
    changed = json.loads((tracked.folder / "results/ddm/manifest.json").read_text())
    assert changed["relabel"] is None
    assert changed["digest"] != manifest["digest"]


@pytest.mark.parametrize("case", ["missing", "empty", "truncated", "malicious", "nan"])
def test_bad_folders_and_files_end_in_one_message(checkout: Checkout, case: str) -> None:
    folder = checkout.folder / "files"
    bad = folder / "training_data_bad.pickle"
    if case != "missing":
        folder.mkdir()
    if case == "truncated":
        write_training_file(bad)
        bad.write_bytes(bad.read_bytes()[:-200])
    if case == "malicious":
        bad.write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    if case == "nan":
        content = training_file_content()
        content["lan_labels"][3] = float("nan")
        write_training_file(bad, content)
    output = checkout.snakemake(study=_traditional(checkout), check=False)
    expected = {
        "missing": "training data folder files does not exist",
        "empty": "training data folder files holds no .pickle file",
        "truncated": "training_data_bad.pickle: not a readable training file",
        "malicious": "training_data_bad.pickle: not a training file",
        "nan": "training_data_bad.pickle: lan_labels holds 1 value(s) that are not finite",
    }
    assert expected[case] in output, output
    assert "Traceback" not in output
    assert not (checkout.folder / "owned").exists()
    assert not (checkout.folder / "results/ddm/data_set").exists()
