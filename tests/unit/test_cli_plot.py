import json
from pathlib import Path

import pytest

from lanflow import artifacts
from lanflow.cli import main
from tests.made_networks import write_untrained


def test_the_figures_go_into_the_networks_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_untrained(tmp_path / "net")
    assert main(["plot", str(folder), "--draws", "8"]) == 0
    made = json.loads(capsys.readouterr().out)["plots"]
    assert made == {name: str(folder / file) for name, file in artifacts.PLOTS.items()}
    for path in made.values():
        assert Path(path).read_bytes().startswith(b"\x89PNG")


def test_any_onnx_file_can_be_drawn(tmp_path: Path) -> None:
    onnx = write_untrained(tmp_path / "net", network_type="cpn") / "model.onnx"
    given = ["plot", "--onnx", str(onnx), "--model", "ddm", "--network-type", "cpn"]
    assert main([*given, "--output", str(tmp_path / "out"), "--draws", "8"]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(artifacts.PLOTS.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either NETWORK_DIR, or --onnx and --model"),
        (["net", "--onnx", "x.onnx"], "give either NETWORK_DIR, or --onnx and --model"),
        (["net", "--model", "ddm"], "--model and --card go with --onnx"),
        (["--onnx", "x.onnx", "--model", "ddm"], "--onnx needs --model and --output"),
    ],
)
def test_options_that_do_not_go_together_are_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["plot", *arguments])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_a_folder_without_a_network_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["plot", str(tmp_path)]) == 1
    assert str(tmp_path / "card.json") in caplog.text
