"""Every rule of the workflow has words, and results of commands become a few of them."""

import re

import pytest

from lanflow.workflow.terminal.job import Job, pasted, signal_of
from lanflow.workflow.terminal.words import subject_of, words_of
from tests.conftest import REPOSITORY


def test_every_rule_has_words() -> None:
    files = (REPOSITORY / "workflow" / "rules").glob("*.smk")
    rules = {r for path in files for r in re.findall(r"(?m)^rule (\w+):", path.read_text())}
    assert len(rules) > 15
    for rule in rules:
        assert words_of(rule).done != rule, rule
        assert words_of(f"lanflow_{rule}") == words_of(rule)
    assert words_of("somebody_elses").doing == "somebody_elses"


@pytest.mark.parametrize(
    ("rule", "wildcards", "subject"),
    [
        ("generate_data", {"model": "ddm", "chunk": "3"}, "ddm chunk 3"),
        (
            "train_network",
            {"network_type": "lan", "model": "ddm", "network": "a", "backend": "jax"},
            "ddm lan a_jax",
        ),
        ("audit_data", {"model": "ddm"}, "ddm data"),
        ("check_node", {"device": "cpu"}, "node"),
        ("theirs", {"sample": "s1"}, "s1"),
    ],
)
def test_a_job_is_named_by_what_it_is_about(
    rule: str, wildcards: dict[str, str], subject: str
) -> None:
    assert subject_of(rule, wildcards) == subject


RESULTS = [
    ("generate_data", {"n_parameter_sets": 4000, "mlflow_pending": None}, "4,000 parameter sets"),
    (
        "generate_data",
        {"n_parameter_sets": 1, "mlflow_pending": "x"},
        "1 parameter set, its run waits for MLflow",
    ),
    (
        "query_experiment",
        {"n_runs": 2, "n_files": 8, "n_runs_left_out": 1},
        "2 runs, 8 files, 1 left out",
    ),
    (
        "materialise_data",
        {"n_parameter_sets": 8000, "n_rows": {"lan": 1_600_000, "cpn": 8000}},
        "8,000 parameter sets, 1.6 M rows",
    ),
    ("train_network", {"best_val_loss": 0.0008088728904724121}, "val_loss 0.000809"),
    (
        "evaluate_network",
        {
            "verdict": "failed",
            "gates": {"tails": "failed", "hssm": "skipped"},
            "scores": {"mean_abs_error": 0.4301234567890123},
        },
        "failed (tails), mean error 0.43",
    ),
    ("evaluate_network", {"verdict": "passed", "gates": {}, "scores": None}, "passed"),
    (
        "recover_parameters",
        {"rank_correlation": {"v": 0.91, "a": 0.8}},
        "rank correlation 0.80 to 0.91",
    ),
    (
        "recover_parameters",
        {"rank_correlation": {}, "without_rank_correlation": "2 subjects, of at least 3"},
        "no rank correlation: 2 subjects, of at least 3",
    ),
    (
        "register_networks",
        {"registered": [1], "not_registered": [1, 2]},
        "1 network, 2 that did not pass left out",
    ),
]


@pytest.mark.parametrize(("rule", "result", "text"), RESULTS)
def test_what_came_out_in_a_few_words(rule: str, result: dict[str, object], text: str) -> None:
    assert words_of(rule).describe(result, []) == text


def test_a_result_of_another_version_is_no_error() -> None:
    assert "trained" in Job("train_network", {"model": "ddm"}, None, None).finished_line()


@pytest.mark.parametrize(
    ("reason", "signal"),
    [
        ("returned non-zero exit status 137.", "SIGKILL"),
        ("died with <Signals.SIGINT: 2>.", "SIGINT"),
        ("returned non-zero exit status 1.", None),
        ("", None),
    ],
)
def test_the_signal_that_ended_a_job(reason: str, signal: str | None) -> None:
    assert signal_of(reason) == signal


def test_a_command_is_pasted_without_its_log() -> None:
    assert pasted("lanflow sync r  > 'a b.log' 2>&1", "a b.log") == "lanflow sync r "
    assert pasted("lanflow sync r --json > l.log 2>&1", "l.log") == "lanflow sync r"
    assert pasted("touch a", None) == "touch a"
