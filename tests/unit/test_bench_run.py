import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import REPOSITORY

BENCH = [sys.executable, str(REPOSITORY / "bench" / "run.py")]
# Others are measured beside a peer (tests/peers), by the same code, or take a whole study.
PARTS = ["batches", "packing", "generation", "starts"]
PICTURES = ["rows", "memory"]


@pytest.mark.slow
def test_parts_run_and_their_figures_are_kept_and_shown(
    tmp_path: Path, quick_commands: Path
) -> None:
    results, page = tmp_path / "results.json", tmp_path / "benchmarks.md"
    # Commands that are there at once, on the cores that those which they are forks of have.
    options = ["--small", "--lanflow", quick_commands, "--threads", str(os.cpu_count())]
    files = ["--output", results, "--page", page]
    done = subprocess.run(
        [*BENCH, *options, *files, "--parts", *PARTS], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    parts = json.loads(results.read_text())["parts"]
    assert list(parts) == PARTS
    text = page.read_text()
    for part in parts.values():
        assert {"python", "lanflow", "jax", "torch"} <= set(
            part["versions"]["lanflow's environment"]
        )
        assert f"| {part['date']} |" in text
        assert f"`{part['command']}`" in text
        for figure in part["figures"]:
            assert all(value > 0 for values in figure["values"].values() for value in values)
            is_ceiling = figure["contender"].startswith("products")  # a share of the table
            assert is_ceiling or figure["contender"] in text
    pictures = {name: tmp_path / f"benchmarks_{name}.png" for name in PICTURES}
    assert all(f"]({path.name})" in text for path in pictures.values())

    # The page is what the file gives, whoever makes it.
    copy = tmp_path / "again" / "benchmarks.md"
    copy.parent.mkdir()
    subprocess.run([*BENCH, "--parts", "--output", results, "--page", copy], check=True)
    assert copy.read_text() == text
    for path in pictures.values():
        assert (copy.parent / path.name).read_bytes() == path.read_bytes()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The modules of the benchmark, by name."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "bench"))
    return lambda name: importlib.import_module(f"cpu_parts.{name}")


def part_of(results: ModuleType, *figures: Any, command: str = "python bench/run.py") -> Any:
    machine = {"cores": 4, "threads": 2, "system": "Linux", "memory_gib": 8, "load": 0.1}
    return results.Part(
        figures=figures,
        machine=machine | {"processor": "a processor"},
        versions={"ours": {"numpy": "2"}},
        command=command,
        date="2026-01-01",
        seconds=1.0,
    )


def training_figure(results: ModuleType, contender: str, epoch_s: float, start_s: float) -> Any:
    """A million rows, so that an epoch is 900,000; three rounds that differ by a tenth."""
    case = {"rows": 1_000_000, "batch": 1_000, "width": 100, "epochs": 3}
    rounds = (0.9, 1.0, 1.1)
    values = {
        "wall_s": [start_s + 3 * epoch_s * factor for factor in rounds],
        "cpu_s": [2 * (start_s + 3 * epoch_s * factor) for factor in rounds],
        "epochs_s": [2 * epoch_s * factor for factor in rounds],
        "peak_mib": [500.0, 501.0, 502.0],
    }
    return results.Figure(contender, case, values)


def test_a_target_is_held_against_the_median_of_pairs(bench: Any) -> None:
    results, targets, training = bench("results"), bench("targets"), bench("training")
    operations = training.operations_per_row(100)
    assert operations == 6 * (6 * 100 + 2 * 100 * 100 + 100)
    products = results.Figure(
        "products, jax",
        {"batch": 1_000, "width": 100},
        # A large product's rate allows a million rows a second.
        {
            "product_operations_s": [operations * 1e6] * 3,
            "update_operations_s": [operations * 0.8e6] * 3,
        },
    )
    part = part_of(
        results,
        training_figure(results, "lanflow, jax", epoch_s=1.0, start_s=2.0),
        training_figure(results, "LANfactory, jax", epoch_s=3.0, start_s=4.0),
        products,
    )
    rows = {row[0]: row[1:] for row in targets.target_rows({"training": part})}
    speed = rows["rows/s in an epoch over LANfactory's, jax"]
    assert speed[:3] == ["at least 2.5", "3 (3 to 3)", "yes"]
    # A million rows a second over 300,000.
    assert speed[3].endswith(": 3.33")
    share = rows["rows/s in an epoch, share of the products' rate, jax"]
    assert share[:3] == ["at least 65%", "90% (82% to 100%)", "yes"]
    assert "80%" in share[3]
    whole = rows["whole command over LANfactory's, jax"]
    assert whole[1].startswith("0.385 (")
    assert whole[2] == "no"
    assert "2 s, 15%" in whole[3]
    assert rows["whole command over LANfactory's, torch"][1] == "not measured"
    assert rows["packing, peak memory at 10^9 rows"][1] == "not measured"


def test_memory_is_a_straight_line_over_rows(bench: Any) -> None:
    results, targets = bench("results"), bench("targets")

    def packed(rows: int) -> Any:
        size = {"rows": rows, "bytes": rows * 30}
        cpu_s, peak = 1 + rows * 30 / 400e6, 100 + rows / 1e6
        values = {"wall_s": [cpu_s] * 2, "cpu_s": [cpu_s] * 2, "peak_mib": [peak] * 2}
        return results.Figure("lanflow materialise", size, values)

    part = part_of(results, *map(packed, (2_000_000, 6_000_000, 20_000_000)))
    rows = {row[0]: row[1:] for row in targets.target_rows({"packing": part})}
    speed = rows["packing, MB of training files a second of one core"]
    assert speed[:3] == ["at least 300", "400 (400 to 400)", "yes"]
    memory = rows["packing, peak memory at 10^9 rows"]
    # 100 MiB and one for each million rows.
    assert memory[:3] == ["at most 8 GB", f"{1100 * 2**20 / 1e9:.3g} GB", "yes"]
    assert "0.0% at most" in memory[3]


def test_a_difference_that_noise_hides_is_no_number(bench: Any) -> None:
    results = bench("results")
    case = {"sets": 30, "short_sets": 10}
    values = {"cpu_s": [5.0, 1.0], "short_cpu_s": [1.0, 2.0]}
    figure = results.Figure("lanflow, kde", case, values)
    costs = bench("data").core_seconds_per_set(figure)
    assert results.spread(costs) == "0.2"
    assert results.spread(costs[1:]) == "lost in noise"


def test_lines_of_a_command_have_their_times(bench: Any, tmp_path: Path) -> None:
    processes, training = bench("processes"), bench("training")
    lines = ("epoch 1/2  train_loss 0.5", "Epoch: 1 / 2, test_loss: 0.5")
    others = ("epoch: 0/2, batch: 0/9, batch_loss: 0.5", "Epoch 0/2 time: 3s")
    text = "\n".join((lines[0], *others, lines[1]))
    words = [sys.executable, "-S", "-c", f"print({text!r})"]
    command = processes.Command(words, tmp_path, line=training.END_OF_EPOCH)
    first, last = processes.run(command).lines_s
    assert 0 < first <= last


def test_a_later_run_of_a_part_replaces_its_figures_only(bench: Any, tmp_path: Path) -> None:
    results, path = bench("results"), tmp_path / "benchmarks" / "results.json"
    figure = results.Figure("lanflow query", {"runs": 3}, {"wall_s": [1.0]})
    for name, command in (("workflow", "first"), ("packing", "second"), ("workflow", "third")):
        results.keep_part(
            path, name, part_of(results, figure, command=command), ["packing", "workflow"]
        )
    read = results.read_results(path)
    assert {name: part.command for name, part in read.items()} == {
        "packing": "second",
        "workflow": "third",
    }
    assert read["packing"].figures == (figure,)


def test_a_command_does_not_count_the_memory_of_who_started_it(bench: Any, tmp_path: Path) -> None:
    processes = bench("processes")
    mine = bytearray(os.urandom(1)) * (300 * 2**20)
    done = processes.run(processes.Command([sys.executable, "-S", "-c", "print(3)"], tmp_path))
    assert len(mine) > 0
    assert done.output == "3\n"
    assert done.peak_mib < 100
    assert done.cpu_s > 0


def test_a_command_that_fails_shows_its_last_words(bench: Any, tmp_path: Path) -> None:
    processes = bench("processes")
    words = [sys.executable, "-S", "-c", "raise SystemExit('no such file')"]
    with pytest.raises(processes.CommandError, match="no such file"):
        processes.run(processes.Command(words, tmp_path))
