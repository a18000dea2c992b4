import json
import sys
from pathlib import Path

import pytest

from lanflow.cli.main import main
from lanflow.evaluation.published import accuracy_limits
from lanflow.evaluation.record import read_evaluation
from lanflow.networks import folder as network_folder
from tests import networks
from tests.unit.evaluation.test_evaluate_evaluation import BOX

ONNX = networks.FIXTURES / "ddm_lan.onnx"
QUICK = ["--n-sets", "20", "--rows", "20", "--n-simulated-sets", "3"]


def test_a_folder_is_evaluated_into_a_record_a_table_and_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = networks.write_network(tmp_path / "net", networks.well_made("cpn"), bounds=BOX)
    path = folder / "evaluation.json"
    assert (
        main(["evaluate", str(folder), "--output", str(path), "--json", *QUICK, "--seed", "3"]) == 0
    )
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
    card.write_text(json.dumps({"bounds": BOX}))
    options = ["--model", "ddm", "--card", str(card)]
    assert main(["evaluate", "--onnx", str(path), *options, *QUICK, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["gates"]["parity"] == "skipped"
    assert result["scores"]["mean_abs_error"] < accuracy_limits("ddm")["mean_abs_error"]
    assert result["evaluation"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either a network's folder, or --onnx FILE"),
        (["net", "--onnx", "x"], "give either a network's folder, or --onnx FILE"),
        (["net", "--model", "ddm"], "--model and --card go with --onnx"),
        (["--onnx", "x"], "--onnx: give --model"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *arguments]) == 2
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


@pytest.mark.usefixtures("without_ssms")
def test_without_ssm_simulators_the_extra_is_named(caplog: pytest.LogCaptureFixture) -> None:
    onnx = str(networks.FIXTURES / "ddm_lan.onnx")
    assert main(["evaluate", "--onnx", onnx, "--model", "ddm"]) == 1
    assert "install lanflow[generate,evaluate]" in caplog.text


def test_gates_are_checked_with_their_names_and_numbers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = []
    for name, made in (("good", networks.well_made("cpn")), ("bad", networks.untrained("cpn"))):
        folder = networks.write_network(tmp_path / name, made, bounds=BOX)
        paths.append(folder / "evaluation.json")
        main(["evaluate", str(folder), "--output", str(paths[-1]), *QUICK])
    record = tmp_path / "gates.json"
    shown = capsys.readouterr()
    assert "verdict: passed" in shown.out  # a table for people, on standard output
    assert f"evaluation: {paths[0]}" in shown.out
    assert main(["check-gates", str(paths[0]), "--output", str(record)]) == 0
    assert capsys.readouterr().out == f"passed: {paths[0]}\n"
    assert json.loads(record.read_text())["verdict"] == "passed"
    record.unlink()
    assert main(["check-gates", *map(str, paths), "--output", str(record)]) == 3
    said = caplog.text
    assert "1 of 2 network(s) do not pass their gates" in said
    assert "bad/evaluation.json: gate accuracy failed: mean absolute error is 0." in said
    assert ", above 0.01" in said
    assert not record.exists()


def test_the_figures_go_into_the_networks_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = networks.write_network(tmp_path / "net")
    assert main(["plot", str(folder), "--draws", "8", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)["plots"]
    assert made == {name: str(folder / file) for name, file in network_folder.PLOTS.items()}
    for path in made.values():
        assert Path(path).read_bytes().startswith(b"\x89PNG")


def test_any_onnx_file_can_be_drawn(tmp_path: Path) -> None:
    onnx = networks.write_network(tmp_path / "net", network_type="cpn") / "model.onnx"
    given = ["plot", "--onnx", str(onnx), "--model", "ddm", "--network-type", "cpn"]
    assert main([*given, "--output", str(tmp_path / "out"), "--draws", "8"]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(
        network_folder.PLOTS.values()
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either a network's folder, or --onnx FILE"),
        (["net", "--onnx", "x.onnx"], "give either a network's folder, or --onnx FILE"),
        (["net", "--model", "ddm"], "--model and --card go with --onnx"),
        (["--onnx", "x.onnx"], "--onnx: give --model"),
        (["--onnx", str(ONNX), "--model", "ddm"], "--onnx: give --output"),
    ],
)
def test_options_that_do_not_go_together_are_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plot", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_without_a_network_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["plot", str(tmp_path)]) == 1
    assert str(tmp_path / "card.json") in caplog.text


def test_a_record_a_figure_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = networks.write_network(tmp_path / "net", networks.well_made("lan"))
    output, plot = folder / "recovery.json", folder / "recovery.png"
    options = ["--n-subjects", "4", "--n-trials", "100", "--seed", "3", "--processes", "1"]
    command = ["recover", str(folder), "--output", str(output), *options]
    assert main([*command, "--plot", str(plot), "--json"]) == 0
    line = json.loads(capsys.readouterr().out)
    record = json.loads(output.read_text())
    assert (record["n_subjects"], record["n_trials"], record["seed"]) == (4, 100, 3)
    assert record["parameters"] == ["v", "a", "z", "t"]
    assert len(record["true"]) == len(record["recovered"]) == 4
    assert line["recovery"] == str(output)
    assert line["rank_correlation"] == {
        name: one["spearman"] for name, one in record["summary"].items()
    }
    assert line["without_rank_correlation"] is None
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_too_few_subjects_for_a_rank_correlation_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = networks.write_network(tmp_path / "net", networks.well_made("lan"))
    output = folder / "recovery.json"
    options = ["--n-subjects", "2", "--n-trials", "20", "--processes", "1"]
    options += ["--method", "maximum-likelihood"]
    assert main(["recover", str(folder), "--output", str(output), *options, "--json"]) == 0
    said = "2 subjects, of at least 3 that a rank correlation needs"
    line = json.loads(capsys.readouterr().out)
    assert (line["rank_correlation"], line["without_rank_correlation"]) == ({}, said)
    assert f"none ({said})" in caplog.text


def test_a_network_without_rts_is_refused_and_nothing_is_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = networks.write_network(tmp_path / "net", network_type="cpn")
    assert main(["recover", str(folder), "--output", str(tmp_path / "recovery.json")]) == 1
    assert "only a likelihood network (lan) recovers parameters" in caplog.text
    assert not (tmp_path / "recovery.json").exists()


def test_posteriors_without_hssm_are_refused_and_auto_goes_on_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = networks.write_network(tmp_path / "net", networks.well_made("lan"))
    output = tmp_path / "recovery.json"
    options = ["--n-subjects", "2", "--n-trials", "50", "--processes", "1"]
    command = ["recover", str(folder), "--output", str(output), *options]
    for wanted in (["--method", "nuts"], ["--hssm-python", sys.executable]):
        assert main([*command, *wanted]) == 1
        assert "posteriors are sampled with HSSM, but HSSM is not installed" in caplog.text
        assert not output.exists()
    caplog.clear()
    assert main([*command, "--json"]) == 0
    assert "maximum likelihood: HSSM is not installed" in caplog.text
    assert json.loads(capsys.readouterr().out)["method"] == "maximum likelihood"


def test_the_exit_status_tells_whether_a_network_passed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = networks.write_network(tmp_path / "net", networks.untrained("cpn"), bounds=BOX)
    path = str(folder / "evaluation.json")
    assert main(["evaluate", str(folder), "--output", path, "--json", *QUICK]) == 3
    assert json.loads(capsys.readouterr().out)["verdict"] == "failed"
    assert main(["evaluate", str(folder), "--exit-zero", *QUICK]) == 0
    assert main(["check-gates", path]) == 3
    assert main(["check-gates", str(tmp_path / "none.json")]) == 1
    assert main(["evaluate", str(tmp_path)]) == 1
