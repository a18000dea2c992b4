from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lanflow.core.errors import UserError
from lanflow.evaluation.record import Evaluation
from lanflow.networks.card import Card
from lanflow.networks.network import Network
from lanflow.networks.types import NETWORK_TYPES
from lanflow.report.families import families_table, find_families
from lanflow.report.leaderboard import (
    COLUMNS,
    Row,
    build_leaderboard,
    format_leaderboard,
    leaderboard_csv,
    read_leaderboard,
)
from tests import networks
from tests.unit.evaluation.test_record import SAMPLE


def card(**keys: Any) -> Card:
    content = networks.card_of(
        networks.made_up("lan", 4)[0],
        model="ddm",
        bounds={"v": (-1.0, 1.0), "a": (0.5, 2.0)},
        best_val_loss=0.5,
        n_epochs=3,
        n_weights=1234,
        seed=20260101,
        mlflow_run_id="run",
    )
    return Card.model_validate({**content, **keys})


HISTORY = [{"epoch": float(i), "val_loss": 1.0, "seconds": 0.5} for i in range(3)]


def evaluation(error: float | None = 0.2, verdict: str = "failed") -> Evaluation:
    scores = None if error is None else {**SAMPLE["scores"], "mean_abs_error": error}
    return Evaluation.model_validate({**SAMPLE, "scores": scores, "verdict": verdict})


def network(place: int, card: Card) -> Network:
    folder = Path(f"results/networks/{card.network_type}/{card.model}/net{place}_{card.backend}")
    kind = NETWORK_TYPES[card.network_type]
    return Network(b"", card.model, kind, card.bounds, folder / "model.onnx", card, folder)


def board(*cards: Card, evaluations: list[Evaluation] | None = None, **given: Any) -> list[Row]:
    made = [network(place, card) for place, card in enumerate(cards)]
    evaluations = evaluations or [evaluation()] * len(cards)
    return build_leaderboard(made, evaluations, [HISTORY] * len(cards), **given)


def test_a_network_is_one_row_with_its_path_and_speed() -> None:
    (row,) = board(card())
    assert tuple(row.model_dump()) == COLUMNS
    assert row.network == "net0"
    assert row.onnx == "results/networks/lan/ddm/net0_jax/model.onnx"
    assert row.best_epoch == 1
    assert row.seconds == 1.5
    assert row.rows_per_second == 2000
    assert (row.mlflow_run_id, row.seed) == ("run", 20260101)


def test_the_lowest_loss_comes_first_within_a_model_and_network_type() -> None:
    rows = board(
        card(model="ddm", best_val_loss=0.3),
        card(model="ddm", best_val_loss=0.1, backend="torch"),
        card(model="angle", best_val_loss=0.9),
        card(model="ddm", network_type="cpn", best_val_loss=0.5),
    )
    assert [(row.model, row.network_type, row.best_val_loss) for row in rows] == [
        ("angle", "lan", 0.9),
        ("ddm", "cpn", 0.5),
        ("ddm", "lan", 0.1),
        ("ddm", "lan", 0.3),
    ]


def test_networks_of_the_same_data_stand_together_the_least_error_first() -> None:
    rows = board(
        *(card(data_digest=digest) for digest in "baabb"),
        evaluations=[
            evaluation(0.3),
            evaluation(0.2, "passed"),
            evaluation(0.1),
            evaluation(None),
            evaluation(0.01, "passed"),
        ],
    )
    found = [(row.data_digest, row.mean_abs_error, row.verdict) for row in rows]
    assert found == [
        ("a", 0.1, "failed"),
        ("a", 0.2, "passed"),
        ("b", 0.01, "passed"),
        ("b", 0.3, "failed"),
        ("b", None, "failed"),
    ]


def test_networks_that_differ_in_their_seed_alone_are_a_family() -> None:
    made = [network(place, card(seed=seed)) for place, seed in enumerate((1, 2, 3))]
    renamed = [
        replace(one, folder=Path(f"results/networks/lan/ddm/{name}_jax"))
        for one, name in zip(made, ("net-seed1", "net-seed2", "net-seed30"), strict=True)
    ]
    errors = [evaluation(0.3), evaluation(0.1, "passed"), evaluation(0.2, "passed")]
    rows = build_leaderboard(renamed, errors, [HISTORY] * 3)
    assert [row.family for row in rows] == ["net", "net-seed30", "net"]
    (family,) = find_families(rows)
    assert (family.name, family.seeds, family.passed) == ("net_jax", "2 seeds", "1 of 2 passed")
    error = family.spread("mean_abs_error")
    assert error is not None
    assert str(error) == "0.2 \u00b1 0.14"
    assert (error.least, error.most) == (0.1, 0.3)
    table = families_table([family])
    shown = dict(zip(table.head, table.rows[0], strict=True))
    assert (shown["network"], shown["seeds"], shown["best"]) == ("net_jax", 2, "net-seed2_jax")
    assert str(shown["least and greatest error"]).split() == ["0.1", "to", "0.3"]
    assert find_families([row.model_copy(update={"origin": "earlier run"}) for row in rows]) == []


def test_networks_of_earlier_runs_are_told_apart() -> None:
    (own,) = board(card())
    known = {"origin": "earlier run", "verdict": None, "mean_abs_error": 0.05}
    earlier = own.model_copy(update=known)
    rows = board(card(), earlier=[earlier])
    assert [row.origin for row in rows] == ["earlier run", "study"]
    assert "not run" in format_leaderboard(rows)


def test_equal_losses_keep_the_order_of_their_paths() -> None:
    assert [row.network for row in board(card(), card())] == ["net0", "net1"]


def test_networks_and_evaluations_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        build_leaderboard([network(0, card())], [], [HISTORY])


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    (own,) = board(card())
    empty = dict.fromkeys(["verdict", "mean_abs_error", "seconds", "n_rows", "mlflow_run_id"])
    rows = [own, own.model_copy(update={"origin": "earlier run", "network": "12", **empty})]
    path = tmp_path / "leaderboard.csv"
    path.write_text(leaderboard_csv(rows))
    assert read_leaderboard(path) == rows
    path.write_text(path.read_text().replace("best_epoch", "epoch"))
    with pytest.raises(UserError, match=r"leaderboard.csv: .*epoch"):
        read_leaderboard(path)


def test_the_table_at_the_end_shows_networks_losses_and_paths_in_columns() -> None:
    lines = format_leaderboard(board(card(best_val_loss=0.123456789), card(backend="torch"))).split(
        "\n"
    )
    columns = ["model", "type", "network", "backend", "val_loss", "error", "gates", "path"]
    assert lines[0].split() == columns
    assert lines[1].split()[:7] == ["ddm", "lan", "net0", "jax", "0.12346", "0.2", "failed"]
    assert lines[1].endswith("net0_jax/model.onnx")
    assert len({line.index("results/") for line in lines[1:]}) == 1
