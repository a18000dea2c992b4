import json
import sys
from pathlib import Path

import pytest

from lanflow.cli import main
from tests import networks
from tests.made_networks import write_untrained


def test_a_record_a_figure_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = networks.write_network(tmp_path / "net", networks.well_made("lan"))
    output, plot = folder / "recovery.json", folder / "recovery.png"
    options = ["--n-subjects", "4", "--n-trials", "100", "--seed", "3", "--processes", "1"]
    command = ["recover", str(folder), "--output", str(output), *options]
    assert main([*command, "--plot", str(plot)]) == 0
    line = json.loads(capsys.readouterr().out)
    record = json.loads(output.read_text())
    assert (record["n_subjects"], record["n_trials"], record["seed"]) == (4, 100, 3)
    assert record["parameters"] == ["v", "a", "z", "t"]
    assert len(record["true"]) == len(record["recovered"]) == 4
    assert line["recovery"] == str(output)
    assert line["rank_correlation"] == {
        name: one["spearman"] for name, one in record["summary"].items()
    }
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_a_network_without_rts_is_refused_and_nothing_is_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_untrained(tmp_path / "net", network_type="cpn")
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
    assert main(command) == 0
    assert "maximum likelihood: HSSM is not installed" in caplog.text
    assert json.loads(capsys.readouterr().out)["method"] == "maximum likelihood"
