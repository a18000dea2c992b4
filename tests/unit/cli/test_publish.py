import json
import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lanflow.cli.main import main
from lanflow.core.names import DEFAULT_LICENCE
from lanflow.networks import folder as network_folder
from lanflow.tracking.client import connect
from lanflow.tracking.store import Store
from tests.evaluated import FAILED_GATE, write_evaluation, write_network
from tests.hub import WRITER, Hub
from tests.readme import commands_with

# The library's own, of its call to httpx.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

NETWORK = "results/networks/lan/ddm/lan_jax"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of somebody whose study has a network that passed."""
    write_network(tmp_path / NETWORK)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def result_of(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    last = capsys.readouterr().out.splitlines()[-1]
    answer = json.loads(last)
    assert isinstance(answer, dict)
    return answer


def test_register_prints_and_writes_what_it_did(
    place: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["register", NETWORK, "--study", "mine", "--output", "out/registered.json", "--json"]
    assert main([*given, "--mlflow-tracking-uri", store.uri]) == 0
    record = result_of(capsys)
    assert record["aliases"] == {"ddm-lan": {"best": 1, "mine-best": 1}}
    assert json.loads((place / "out/registered.json").read_text()) == record
    assert connect(store).get_model_version_by_alias("ddm-lan", "mine-best").tags["study"] == "mine"


def test_register_refuses_what_failed_unless_told_to_leave_it_out(
    place: Path,
    store: Store,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    write_evaluation(place / NETWORK, gates=[FAILED_GATE])
    given = ["register", NETWORK, "--mlflow-tracking-uri", store.uri]
    assert main(given) == 1
    assert "did not pass its gates: density" in caplog.text
    assert main([*given, "--skip-failed", "--json"]) == 0
    assert result_of(capsys)["registered"] == []


def test_bundle_writes_a_folder_and_an_archive(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["bundle", NETWORK, "--output", "bundle", "--archive", "--json"]
    assert main([*given, "--licence", "bsd-3-clause"]) == 0
    result = result_of(capsys)
    assert result["verdict"] == "passed"
    assert (place / "bundle/ddm.onnx").exists()
    assert "license: bsd-3-clause" in (place / "bundle/README.md").read_text()
    assert Path(str(result["archive"])) == place / "bundle.tar.gz"
    assert (place / "bundle.tar.gz").exists()


def test_bundle_without_an_archive(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", NETWORK, "--output", "bundle"]) == 0
    assert f"license: {DEFAULT_LICENCE}\n" in (place / "bundle/README.md").read_text()
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("ddm lan (torch): packed into bundle (")
    assert not (place / "bundle.tar.gz").exists()


def test_bundle_refuses_a_network_that_was_not_evaluated(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (place / NETWORK / network_folder.EVALUATION).unlink()
    assert main(["bundle", NETWORK, "--output", "bundle"]) == 1
    assert "run 'lanflow evaluate' on it first" in caplog.text
    assert not (place / "bundle").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--repo", "networks", "'networks' is not ORG/NAME"),
        ("--repo", "a/b/c", "'a/b/c' is not ORG/NAME"),
        ("--licence", "My Licence", "not an identifier of a licence such as mit"),
    ],
)
def test_values_that_the_hub_would_refuse_are_refused_here(
    capsys: pytest.CaptureFixture[str], option: str, value: str, message: str
) -> None:
    given = {"--repo": "lab/networks", option: value}
    words = [word for pair in given.items() for word in pair]
    assert main(["publish", NETWORK, *words]) == 2
    assert message in capsys.readouterr().err


def test_the_readmes_commands_hand_a_network_on(
    place: Path,
    store: Store,
    hub: Hub,
    token: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    token(WRITER)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    commands = commands_with("lanflow register")
    assert [command.split()[1] for command in commands] == [
        *("register", "bundle", "publish", "publish")
    ]
    for command in commands:
        words = command.split()
        assert words[0] == "lanflow"
        assert main(words[1:]) == 0
        assert bool(hub.commits) == (command == commands[-1])
    assert connect(store).get_model_version_by_alias("ddm-lan", "my-study-best")
    assert (place / "ddm-lan.tar.gz").exists()
    assert "ddm.onnx" in hub.files


def publish(place: Path, hub: Hub, commands: Path, *, answer: str | None = None) -> tuple[int, str]:
    """Run the command as a person does, on a terminal if there is an answer to give."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": WRITER,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(place / "hf"),
    }
    command = [commands / "lanflow", "publish", NETWORK, "--repo", hub.repo]
    keyboard, terminal = pty.openpty()
    try:
        if answer is not None:
            os.write(keyboard, f"{answer}\n".encode())
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL if answer is None else terminal,
            capture_output=True,
            text=True,
            env=environment,
            cwd=place,
            timeout=300,
            check=False,
        )
    finally:
        os.close(keyboard)
        os.close(terminal)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_publish_asks_on_a_terminal_and_only_there(
    place: Path, hub: Hub, quick_commands: Path
) -> None:
    hub.files["ddm.onnx"] = b"another"
    status, output = publish(place, hub, quick_commands)
    assert status == 1
    assert "1 file(s) of" in output
    assert "--overwrite" in output
    status, output = publish(place, hub, quick_commands, answer="n")
    assert status == 1
    assert f"change 1 file(s) of {hub.url}/lab/networks? [y/N]" in output
    assert hub.files == {"ddm.onnx": b"another"}
    status, output = publish(place, hub, quick_commands, answer="y")
    assert status == 0, output
    assert hub.files["ddm.onnx"] == (place / NETWORK / "model.onnx").read_bytes()
    assert hub.tokens == {WRITER}
    assert WRITER not in output
