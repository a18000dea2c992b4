import json
import pickle
import shlex
import shutil
from pathlib import Path

import pytest

from lanflow.cli.main import main
from tests.conftest import REPOSITORY
from tests.readme import commands_with

FILES = REPOSITORY / "tests" / "fixtures" / "lanfactory"
WEIGHTS = str(FILES / "lan_train_state.jax")
CONFIG = str(FILES / "lan_network_config.pickle")


def test_a_network_of_lanfactorys_is_converted_and_can_be_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "net"
    options = ["--network-config", CONFIG, "--model", "ddm", "--output", str(folder)]
    for _ in range(2):  # again into the same folder
        assert main(["convert", WEIGHTS, *options]) == 0
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "card.json"}
    said = capsys.readouterr().out
    judge = said.strip().splitlines()[-1].partition("lanflow ")[2].split()
    few = ["--n-sets", "2", "--rows", "2", "--n-simulated-sets", "1", "--json"]
    assert main([*judge, *few]) == 3  # it was never trained
    assert json.loads(capsys.readouterr().out)["gates"]["structure"] == "passed"


def test_the_commands_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in FILES.glob("lan_*"):
        shutil.copy(path, tmp_path / path.name.replace("lan_", "RUN_"))
    monkeypatch.chdir(tmp_path)
    convert, evaluate = (shlex.split(line)[1:] for line in commands_with("lanflow convert"))
    assert main(convert) == 0
    assert main([*evaluate, "--n-sets", "2", "--rows", "2", "--n-simulated-sets", "1"]) == 3


class Attack:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("touch attacked",)


@pytest.mark.parametrize(
    ("config", "options", "status", "message"),
    [
        (Attack(), [], 1, "is no network's configuration"),
        ({"layer_sizes": [8, 1]}, [], 1, "activations: expected a list of names"),
        (
            {"layer_sizes": [1], "activations": [], "train_output_type": "logits"},
            [],
            2,
            "--network-type: give cpn, opn or gonogo",
        ),
        (None, ["--network-type", "cpn"], 2, "--network-type cpn: the configuration says lan"),
        (None, ["--model", "no_such"], 1, "no_such"),
        (None, ["--output", str(FILES)], 1, "is not of a converted network"),
    ],
)
def test_what_cannot_be_converted_is_refused_in_a_line(
    config: object,
    options: list[str],
    status: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(CONFIG)
    if config is not None:
        path = tmp_path / "config.pickle"
        path.write_bytes(pickle.dumps(config))
    given = ["--network-config", str(path), "--model", "ddm", "--output", "net", *options]
    assert main(["convert", WEIGHTS, *given]) == status
    assert message in caplog.text + capsys.readouterr().err
    assert not (tmp_path / "net").exists()
    assert not (tmp_path / "attacked").exists()
