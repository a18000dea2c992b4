"""The last words of a build: networks with verdicts, and three lines of what to do next."""

import csv
from pathlib import Path
from typing import Any

from lanflow.report.ending import describe_ending
from lanflow.report.leaderboard import COLUMNS, Row


def row(network: str, **changes: Any) -> Row:
    given: dict[str, Any] = {
        "model": "ddm",
        "network_type": "lan",
        "network": network,
        "backend": "jax",
        "origin": "study",
        "verdict": "passed",
        "mean_abs_error": 0.015678901234567,
        "p99_abs_error": 0.1,
        "best_val_loss": 0.1,
        "best_epoch": 3,
        "n_epochs": 3,
        "n_weights": 10,
        "seed": 1,
        "data_digest": "d",
        "onnx": f"results/networks/lan/ddm/{network}_jax/model.onnx",
    }
    return Row(**given | changes)


def ending(folder: Path, *rows: Row) -> str:
    with (folder / "leaderboard.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(each.model_dump() for each in rows)
    return describe_ending(folder)


def test_the_table_then_the_report_hssm_and_an_own_model(tmp_path: Path) -> None:
    text = ending(tmp_path, row("a"), row("b", verdict="failed"), row("c", origin="earlier run"))
    lines = text.splitlines()
    assert lines[2].split() == [
        *("ddm", "lan", "a_jax", "passed", "0.0157", "0.1"),
        "results/networks/lan/ddm/a_jax/model.onnx",
    ]
    assert "c_jax" not in text
    assert "1 of 2 networks passed every gate; the report says what each gate checks" in text
    report, hssm, own = lines[-3:]
    assert report == f"the report      {tmp_path}/report.html"
    assert 'hssm.HSSM(data, model="ddm", loglik="results/networks/lan/ddm/a_jax/model.onnx"' in hssm
    assert own.startswith("your own model  ")


def test_seeds_of_one_training_are_one_line_with_mean_and_spread(tmp_path: Path) -> None:
    errors = {"a-seed1": 0.01, "a-seed2": 0.02, "b": 0.03, "a-seed3": 0.06}
    rows = [
        row(
            name,
            family=name.partition("-")[0],
            mean_abs_error=error,
            verdict="failed" if error > 0.05 else "passed",
        )
        for name, error in errors.items()
    ]
    text = ending(tmp_path, *rows)
    _, _, family, other, *_ = text.splitlines()
    assert family == (
        "ddm lan a_jax, 3 seeds  2 of 3 passed  0.03 \u00b1 0.026          0.1 \u00b1 0  "
        "best: results/networks/lan/ddm/a-seed1_jax/model.onnx"
    )
    assert other.startswith("ddm lan b_jax  ")
    assert "3 of 4 networks passed" in text


def test_a_network_that_did_not_pass_is_not_offered(tmp_path: Path) -> None:
    text = ending(tmp_path, row("a", verdict=None, mean_abs_error=None))
    assert "ddm lan a_jax  not evaluated " in text
    assert "not yet: no likelihood network passed its gates" in text
    assert "hssm.HSSM" not in text
    assert "in HSSM" not in ending(tmp_path, row("a", network_type="cpn"))


def test_a_study_of_many_networks_shows_the_first_and_where_all_are(tmp_path: Path) -> None:
    text = ending(tmp_path, *(row(f"n{i}") for i in range(100)))
    assert f"\nand 80 more in {tmp_path}/leaderboard.csv\n" in text
    assert "100 of 100 networks passed every gate; docs/judging.md says" in text
    assert len(text.splitlines()) < 32
