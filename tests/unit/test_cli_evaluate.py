import json
import sys
from pathlib import Path

import pytest

from lanflow.cli import main
from lanflow.evaluation_record import read_evaluation
from tests import networks
from tests.unit.test_evaluation import BOX

QUICK = ["--n-sets", "20", "--rows", "20", "--n-simulated-sets", "3"]


def test_a_folder_is_evaluated_into_a_record_a_table_and_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = networks.write_network(tmp_path / "net", networks.well_made("cpn"), bounds=BOX)
    path = folder / "evaluation.json"
    assert main(["evaluate", str(folder), "--output", str(path), "--seed", "3", *QUICK]) == 0
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    record = read_evaluation(path)
    assert result["verdict"] == record.verdict == "passed"
    assert result["gates"] == {gate.name: gate.verdict for gate in record.gates}
    assert result["mlflow_run_id"] is None
    assert (record.seed, record.settings.n_sets) == (3, 20)
    assert "verdict: passed" in shown.err


def test_any_onnx_file_is_evaluated_by_its_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = networks.FIXTURES / "ddm_lan.onnx"
    card = tmp_path / "card.json"
    card.write_text(
        json.dumps({"model": "ddm", "network_type": "lan", "inputs": [], "bounds": BOX})
    )
    options = ["--model", "ddm", "--card", str(card)]
    assert main(["evaluate", "--onnx", str(path), *options, *QUICK]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["gates"]["parity"] == "skipped"
    assert result["scores"]["mean_abs_error"] < 0.042
    assert result["evaluation"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a network's folder, or --onnx FILE"),
        (["net", "--onnx", "x"], "give a network's folder, or --onnx FILE"),
        (["net", "--model", "ddm"], "--model and --card go with --onnx"),
        (["--onnx", "x"], "--onnx: give --model"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        main(["evaluate", *arguments])
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_files_that_are_not_there_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["evaluate", str(tmp_path)]) == 1
    assert "card.json: cannot be read" in caplog.text
    assert main(["evaluate", "--onnx", str(tmp_path / "x.onnx"), "--model", "ddm"]) == 1
    assert "x.onnx: cannot be read (No such file" in caplog.text
    onnx = str(networks.FIXTURES / "ddm_lan.onnx")
    assert main(["evaluate", "--onnx", onnx, "--model", "dmd"]) == 1
    assert "did you mean 'ddm'" in caplog.text


def test_without_ssm_simulators_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "ssms"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ssms.config", None)
    onnx = str(networks.FIXTURES / "ddm_lan.onnx")
    assert main(["evaluate", "--onnx", onnx, "--model", "ddm"]) == 1
    assert "install lanflow[generate,evaluate]" in caplog.text


def test_gates_are_checked_with_their_names_and_numbers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = []
    for name, made in (("good", networks.well_made("cpn")), ("bad", networks.untrained("cpn"))):
        folder = networks.write_network(tmp_path / name, made, bounds=BOX)
        paths.append(folder / "evaluation.json")
        main(["evaluate", str(folder), "--output", str(paths[-1]), *QUICK])
    record = tmp_path / "gates.json"
    assert main(["check-gates", str(paths[0]), "--output", str(record)]) == 0
    assert json.loads(record.read_text())["verdict"] == "passed"
    record.unlink()
    assert main(["check-gates", *map(str, paths), "--output", str(record)]) == 1
    said = caplog.text
    assert "1 of 2 network(s) do not pass their gates" in said
    assert "bad/evaluation.json: gate analytic failed: mean_abs_error is 0." in said
    assert ", above 0.01" in said
    assert not record.exists()
