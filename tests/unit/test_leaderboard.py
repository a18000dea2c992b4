from typing import Any

import pytest

from lanflow.evaluation_record import parse_evaluation
from lanflow.leaderboard import COLUMNS, build_leaderboard, format_table
from tests.unit.test_reporting import evaluation


def card(**keys: Any) -> dict[str, Any]:
    return {
        "model": "ddm",
        "network_type": "lan",
        "backend": "jax",
        "best_val_loss": 0.5,
        "best_epoch": 1,
        "n_epochs": 3,
        "n_weights": 1234,
        "n_parameter_sets": 40,
        "n_rows": 1000,
        "seed": 20260101,
        "data_digest": "d" * 64,
        "mlflow_run_id": "run",
        "parameters": ["v", "a"],
        **keys,
    }


HISTORY = [{"epoch": float(i), "val_loss": 1.0, "seconds": 0.5} for i in range(3)]


def board(*cards: dict[str, Any]) -> list[dict[str, Any]]:
    folders = [
        f"results/networks/{c['network_type']}/{c['model']}/net{i}_{c['backend']}"
        for i, c in enumerate(cards)
    ]
    evaluations = [parse_evaluation(evaluation(), "evaluation.json")] * len(cards)
    return build_leaderboard(cards, [HISTORY] * len(cards), folders, evaluations)


def test_a_network_is_one_row_with_its_path_and_speed() -> None:
    (row,) = board(card())
    assert list(row) == COLUMNS
    assert row["network"] == "net0"
    assert row["onnx"] == "results/networks/lan/ddm/net0_jax/model.onnx"
    assert row["best_epoch"] == 2
    assert row["seconds"] == 1.5
    assert row["rows_per_second"] == 2000
    assert (row["mlflow_run_id"], row["seed"]) == ("run", 20260101)


def test_the_lowest_loss_comes_first_within_a_model_and_network_type() -> None:
    rows = board(
        card(model="ddm", best_val_loss=0.3),
        card(model="ddm", best_val_loss=0.1, backend="torch"),
        card(model="angle", best_val_loss=0.9),
        card(model="ddm", network_type="cpn", best_val_loss=0.5),
    )
    assert [(row["model"], row["network_type"], row["best_val_loss"]) for row in rows] == [
        ("angle", "lan", 0.9),
        ("ddm", "cpn", 0.5),
        ("ddm", "lan", 0.1),
        ("ddm", "lan", 0.3),
    ]


def test_equal_losses_keep_the_order_of_their_paths() -> None:
    assert [row["network"] for row in board(card(), card())] == ["net0", "net1"]


def test_cards_and_folders_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        build_leaderboard([card()], [HISTORY], [], [])


def test_the_table_at_the_end_shows_networks_losses_and_paths_in_columns() -> None:
    lines = format_table(board(card(best_val_loss=0.123456789), card(backend="torch"))).split("\n")
    last = ["error", "gates", "path"]
    assert lines[0].split() == ["model", "type", "network", "backend", "val_loss", *last]
    assert lines[1].split()[:5] == ["ddm", "lan", "net0", "jax", "0.12346"]
    assert lines[1].endswith("net0_jax/model.onnx")
    assert len({line.index("results/") for line in lines[1:]}) == 1
