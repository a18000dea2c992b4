from typing import Any

import pytest

from lanflow.core.errors import UserError
from lanflow.study.config import load_study
from lanflow.study.nested_keys import check_command_line, check_nesting, explain_nesting


@pytest.mark.parametrize(
    ("path", "value", "written"),
    [
        (["tracking", "uri"], "sqlite:///x.db", """'tracking={uri: "sqlite:///x.db"}'"""),
        (["evaluation", "rows"], "5", "'evaluation={rows: 5}'"),
        (["evaluation", "n_sets"], "1e3", "'evaluation={n_sets: 1e3}'"),
        (["a", "b", "c"], "[x, y]", "'a={b: {c: [x, y]}}'"),
        (["a", "b"], "it's", """'a={b: "it'"'"'s"}'"""),
    ],
)
def test_a_key_inside_another_is_shown_with_its_quotes(
    path: list[str], value: str, written: str
) -> None:
    assert f"--config {written} on the command line" in explain_nesting(path, value)


@pytest.mark.parametrize(
    ("entry", "written"),
    [
        ("tracking.uri=sqlite:///x.db", """--config 'tracking={uri: "sqlite:///x.db"}'"""),
        ("tracking:uri=x", """--config 'tracking={uri: "x"}'"""),
        ("evaluation.rows=5", "--config 'evaluation={rows: 5}'"),
        ("models.ddm.networks.lan.seed=3", "'models={ddm: {networks: {lan: {seed: 3}}}}'"),
    ],
)
def test_a_near_miss_on_the_command_line_ends_with_the_right_form(entry: str, written: str) -> None:
    for arguments in (
        ["-n", "--config", "seed=3", entry],
        ["-C", entry, "-n"],
        [f"--config={entry}"],
    ):
        with pytest.raises(SystemExit) as caught:
            check_command_line(arguments)
        assert written in str(caught.value)
        assert str(caught.value).startswith(f"snakemake: error: --config {entry}: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config", "seed=3", 'tracking={uri: "sqlite:///x.db"}'],
        ["--config", "results=a.b:c"],
        ["--set-threads", "a.b=3"],
        ["--config", "seed=3", "--set-resources", "rule:mem_mb=3"],
        ["a.b=c"],
    ],
)
def test_other_words_of_the_command_line_are_left_alone(arguments: list[str]) -> None:
    check_command_line(arguments)


MODELS = {"ddm": {"data": {"folder": "f"}, "networks": {"lan": {"config": "t.yaml"}}}}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"tracking.uri": "x"}, """'tracking.uri'; a key inside another is written tracking: {"""),
        ({"tracking": {"uri:x": ""}}, """unknown key 'uri:x'; a key inside another is written"""),
        ({"tracking": {"uri:x": ""}}, """--config 'tracking={uri: "x"}' on the command line"""),
        (
            {"tracking": "uri:x"},
            """tracking: expected keys and values, got 'uri:x'; a key inside""",
        ),
        ({"tracking": "uri=x"}, """--config 'tracking={uri: "x"}' on the command line"""),
        ({"evaluation": "rows=5"}, "--config 'evaluation={rows: 5}' on the command line"),
        ({"models": {"ddm.data": {}}}, "--config 'models={ddm: {data: {}}}' on the command line"),
        ({"evaluation": "quick"}, "evaluation: expected keys and values, got 'quick'"),
    ],
)
def test_a_near_miss_in_a_study_is_told_the_right_form(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        load_study({"models": MODELS, **keys}, [])
    assert said in str(caught.value)


def test_recorded_folders_may_hold_dots_and_colons() -> None:
    check_nesting({"path_map": {"a.b": "c", "d:e": "f"}}, lambda _: "study.yaml")
