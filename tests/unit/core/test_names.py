"""A name that leads outside its folder is refused everywhere, before anything is written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lanflow.cli.main import main
from lanflow.cli.train import jaxtrain, torchtrain
from lanflow.core.errors import UserError
from lanflow.core.names import MAX_LENGTH, check_name, is_name
from lanflow.data.prepare import PackedData
from lanflow.networks import folder as network_folder
from lanflow.networks.folder import NetworkPlace
from lanflow.networks.network import Network
from lanflow.tracking.client import connect
from lanflow.tracking.experiments import ensure_experiment
from lanflow.tracking.store import Store
from tests.conftest import TRAINING_YAML
from tests.evaluated import write_network

BAD_NAMES = [
    *("", ".", "..", "../x", "../../x", "/x", "a/b", "a\\b", "a/", ".hidden", "-x", "--help"),
    *(" a", "a ", "\ta", "a\nb", "a\n", "a\x1b[31m", "a\x00b", "a\x7f", "\u202ea", "a\udcff"),
    *("x" * (MAX_LENGTH + 1), "x" * 300, "é" * 51),
]
GOOD_NAMES = [
    *("net", "0a1b", "lan_jax", "a name", "v1.2", "a-b", "a..b", "net#1", "é", "x" * MAX_LENGTH),
    "0f8fad5bd9cb11eeb2c80242ac120002",  # as LANfactory's run uuids
]


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_names_are_taken_as_they_are(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_what_is_no_name_is_refused_in_one_short_line(name: str) -> None:
    with pytest.raises(ValueError, match="is not a name; accepted is a name of at most") as caught:
        check_name(name)
    message = str(caught.value)
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 300


@given(st.text(max_size=120))
def test_a_name_stays_a_single_part_of_a_path(text: str) -> None:
    if is_name(text):
        path = Path("/base/folder", text)
        assert path.parent == Path("/base/folder")
        assert path.name == text
        assert path.resolve().is_relative_to("/base/folder")


def files_in(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize("command", [jaxtrain, torchtrain])
@pytest.mark.parametrize("more", [[], ["--dry-run"]], ids=["run", "dry-run"])
@pytest.mark.parametrize("option", ["--network-name", "--run-uuid", "--model"])
def test_a_training_refuses_them_before_anything_is_written(
    command: Callable[[list[str]], int],
    more: list[str],
    option: str,
    tmp_path: Path,
    packed: PackedData,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "training.yaml").write_text(yaml.safe_dump(TRAINING_YAML))
    data_set = packed.data_set.folder
    given = ["--config-path", str(tmp_path / "training.yaml"), "--data-set", str(data_set)]
    given += ["--networks-path-base", str(tmp_path / "deep" / "down" / "networks"), *more]
    before = files_in(tmp_path)
    for name in BAD_NAMES:
        assert command([*given, f"{option}={name}"]) == 2
        (message,) = capsys.readouterr().err.splitlines()
        assert f"error: {option}: {ascii(name)[:20]}" in message
        assert "is not a name; accepted is" in message
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("command", ["generate", "manifest", "plot", "evaluate"])
def test_other_commands_refuse_them_for_a_model(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in BAD_NAMES:
        assert main([command, f"--model={name}"]) == 2
        assert "error: --model: " in capsys.readouterr().err


def test_a_model_of_a_training_file_is_refused_with_its_key(
    tmp_path: Path, packed: PackedData, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "training.yaml"
    path.write_text(yaml.safe_dump({**TRAINING_YAML, "MODEL": "../../x"}))
    given = ["--config-path", str(path), "--networks-path-base", str(tmp_path / "networks")]
    assert torchtrain([*given, "--data-set", str(packed.data_set.folder)]) == 1
    assert f"{path}: " in caplog.messages[-1]
    assert "MODEL" in caplog.messages[-1]
    assert "'../../x' is not a name" in caplog.messages[-1]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("field", ["network_type", "model", "name", "run_uuid"])
def test_a_place_for_a_network_takes_names_only(field: str) -> None:
    given: dict[str, Any] = {"network_type": "lan", "model": "ddm", "name": "n", "run_uuid": "0a"}
    with pytest.raises(UserError, match=r"'\.\./x' is not a name"):
        NetworkPlace(base=Path("networks"), **{**given, field: "../x"})


def test_a_run_of_the_store_cannot_lead_elsewhere(
    store: Store, tmp_path: Path, packed: PackedData, caplog: pytest.LogCaptureFixture
) -> None:
    """Anyone who can write to the store sets tags, and one of them names the files to continue."""
    client = connect(store)
    experiment = ensure_experiment(client, store, "ddm-training")
    tags = {"phase": "train", "run_uuid": "../../../../escaped"}
    run = client.create_run(experiment.id, tags=tags)
    path = tmp_path / "training.yaml"
    path.write_text(yaml.safe_dump(TRAINING_YAML))
    given = ["--config-path", str(path), "--networks-path-base", str(tmp_path / "networks")]
    given += ["--data-set", str(packed.data_set.folder), "--mlflow-run-id", run.info.run_id]
    before = files_in(tmp_path)
    assert torchtrain([*given, "--mlflow-tracking-uri", store.uri]) == 1
    assert "run uuid: '../../../../escaped' is not a name" in caplog.messages[-1]
    assert files_in(tmp_path) == before


def test_a_card_of_somebody_else_cannot_lead_a_bundle_elsewhere(tmp_path: Path) -> None:
    folder = write_network(tmp_path / "net")
    for name in (network_folder.CARD, network_folder.EVALUATION):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, "model": "../../x"}))
    with pytest.raises(UserError, match=r"card.json: model: '\.\./\.\./x' is not a name"):
        Network.from_folder(folder)


def test_a_study_of_register_has_a_name_that_is_short_enough(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("a/b", "../x", "a\n", "x" * (MAX_LENGTH + 1)):
        assert main(["register", "net", f"--study={name}"]) == 2
        assert "expected letters, digits and hyphens, at most 100" in capsys.readouterr().err
