"""The check of a finished study: files that are missing or were made from something else."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from lanflow.data.generation.plan import ChunkPlan
from lanflow.networks import folder as network_folder
from lanflow.study.check import find_faults
from lanflow.study.config import StudyConfig, load_study, read_generations
from lanflow.study.trainings import list_trainings
from tests.conftest import TRAINING_YAML
from tests.workflow.conftest import GENERATION_YAML

NETWORK = "networks/lan/ddm/lan_jax"


def study_in(folder: Path, **keys: Any) -> StudyConfig:
    (folder / "training.yaml").write_text(yaml.safe_dump(TRAINING_YAML))
    (folder / "generation.yaml").write_text(yaml.safe_dump(GENERATION_YAML))
    content = {
        "results": str(folder / "results"),
        "models": {
            "ddm": {
                "data": {"generate": {"config": str(folder / "generation.yaml"), "chunks": 2}},
                "networks": {"lan": {"config": str(folder / "training.yaml"), "backends": ["jax"]}},
            }
        },
        **keys,
    }
    return load_study(content, [])


@pytest.fixture
def study(tmp_path: Path) -> StudyConfig:
    """A study with results as its jobs leave them, as far as they are checked."""
    study = study_in(tmp_path)
    results = tmp_path / "results"
    (config,) = read_generations(study).values()
    for chunk in range(2):
        plan = ChunkPlan(config=config, n_files=1, chunk=chunk, seed=1)
        write(
            results / f"ddm/generation/chunk_{chunk}/chunk.json",
            {"batch_id": plan.batch_id, "n_files": 1},
        )
    write(results / "ddm/manifest.json", {"digest": "d"})
    for name in ("ddm/data_set/data_set.json", "ddm/audit.json"):
        write(results / name, {"digest": "d"})
    (training,) = list_trainings(study)
    for name in (*network_folder.TRAINED, *network_folder.PLOTS.values()):
        write(results / NETWORK / name, {"data_digest": "d"})
    write(results / NETWORK / network_folder.CONFIG, training.config.model_dump(mode="json"))
    onnx = (results / NETWORK / network_folder.ONNX).read_bytes()
    sha256 = hashlib.sha256(onnx).hexdigest()
    write(results / NETWORK / network_folder.EVALUATION, {"onnx_sha256": sha256})
    for name in ("leaderboard.csv", "report.html", "study.yaml", "registered.json"):
        write(results / name, {})
    return study


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def faults_of(study: StudyConfig) -> list[str]:
    return find_faults(study, read_generations(study), list_trainings(study))


def test_a_whole_study_has_no_faults(study: StudyConfig) -> None:
    assert faults_of(study) == []


@pytest.mark.parametrize(
    "name",
    [
        "ddm/generation/chunk_1/chunk.json",
        "ddm/manifest.json",
        "ddm/data_set/data_set.json",
        "ddm/audit.json",
        *(f"{NETWORK}/{name}" for name in network_folder.TRAINED),
        *(f"{NETWORK}/{name}" for name in network_folder.PLOTS.values()),
        f"{NETWORK}/evaluation.json",
        "leaderboard.csv",
        "report.html",
        "study.yaml",
        "registered.json",
    ],
)
def test_a_file_that_is_missing_is_named(study: StudyConfig, name: str) -> None:
    Path(study.results, name).unlink()
    assert any(fault.startswith(f"{study.results}/{name} is missing") for fault in faults_of(study))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("ddm/generation/chunk_0/chunk.json", "batch_id"),
        ("ddm/data_set/data_set.json", "digest"),
        ("ddm/audit.json", "digest"),
        (f"{NETWORK}/card.json", "data_digest"),
        (f"{NETWORK}/config.json", "learning_rate"),
        (f"{NETWORK}/evaluation.json", "onnx_sha256"),
    ],
)
def test_a_file_of_an_older_study_is_named_with_what_differs(
    study: StudyConfig, name: str, key: str
) -> None:
    path = Path(study.results, name)
    write(path, {**json.loads(path.read_text()), key: "older"})
    (fault,) = faults_of(study)
    assert fault.startswith(f"{path}: {key} is 'older', not ")


@pytest.mark.parametrize(
    ("keys", "name"),
    [({"seed": 2}, "chunk_0/chunk.json"), ({"require_gates": True}, "gates.json is missing")],
)
def test_a_changed_study_has_the_faults_of_its_change(
    study: StudyConfig, tmp_path: Path, keys: dict[str, Any], name: str
) -> None:
    assert name in "\n".join(faults_of(study_in(tmp_path, **keys)))


def test_no_results_at_all_are_no_error(study: StudyConfig) -> None:
    shutil.rmtree(study.results)
    assert len(faults_of(study)) > 10
