"""How a command line is read, by a command of a test's own."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from lanflow.cli.command import Argument, Option, OptionGroup, Outcome, flat
from lanflow.cli.options import Count, File, Folder, StoreOptions
from lanflow.cli.running import declare, run


class Deep(OptionGroup):
    panel = "Deep down"

    path_map: Annotated[tuple[str, ...], "may be repeated"] = ()
    store: StoreOptions


class Read:
    """What a command line was read as."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def __call__(
        self,
        *,
        words: Annotated[tuple[Path, ...], Argument(metavar="WORD"), "some words"],
        output: Annotated[Folder, "a folder"],
        n: Annotated[Count | None, "how many"] = None,
        kind: Annotated[Literal["big", "small"], "how large"] = "big",
        records: Annotated[tuple[File, ...], Option(spreads=True), "some files"] = (),
        check: Annotated[bool, "look first"] = True,
        dry_run: Annotated[bool, "only look"] = False,
        deep: Deep,
    ) -> Outcome:
        self.values = {
            "words": words,
            "output": output,
            "n": n,
            "kind": kind,
            "records": records,
            "check": check,
            "dry_run": dry_run,
            **flat(deep),
        }
        return Outcome({}, "done")


def read(*words: str) -> tuple[int, dict[str, Any]]:
    seen = Read()
    status = run(declare("do-it", seen.__call__, about="Do it."), "do-it", list(words))
    return status, seen.values


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert read(*words) == (2, {})
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    return line.removeprefix("do-it: error: ")


def test_values_have_their_types_and_groups_are_objects() -> None:
    status, values = read("a", "b", "--output", "o", "--n", "3", "--dry-run", "--no-check")
    assert status == 0
    assert values == {
        "words": (Path("a"), Path("b")),
        "output": Path("o"),
        "n": 3,
        "kind": "big",
        "records": (),
        "check": False,
        "dry_run": True,
        "path_map": (),
        "mlflow_tracking_uri": None,
        "mlflow_artifact_location": None,
    }


def test_several_words_may_follow_an_option() -> None:
    _, values = read("a", "--output", "o", "--records", "x", "y", "--records", "z", "--n", "1")
    assert values["records"] == (Path("x"), Path("y"), Path("z"))
    _, values = read("--path-map", "a=b", "word", "--path-map", "c=d", "--output", "o")
    assert (values["path_map"], values["words"]) == (("a=b", "c=d"), (Path("word"),))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--outptu", "x"], "no option '--outptu'; did you mean --output?"),
        (["--out", "x"], "no option '--out'"),
        (["--zzz"], "no option '--zzz'; 'do-it --help' lists them"),
        (["--zzz=http://ada:secret@host"], "no option '--zzz'; 'do-it --help' lists them"),
        (["w"], "give --output DIR: a folder"),
        (["--output", "o"], "give WORD...: some words"),
        (["w", "--output"], "--output: needs a value"),
        (["w", "--output", "--n", "1"], "--output: needs a value"),
        (["w", "--records", "--output", "o"], "--records: needs a value"),
        (["w", "--output", "o", "--n", "-1"], "--n: '-1' is not a positive whole number of"),
        (["w", "--output", "o", "--kind", "smal"], "--kind: 'smal' is none of big, small"),
        (["w", "--output", "o", "--check=yes"], "option '--check' does not take a value"),
        (
            ["w", "--output", "o", "--log-level", "http://a:secret@b"],
            "--log-level: 'http://***@b' is none of DEBUG, INFO, WARNING, ERROR, CRITICAL",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_line_that_makes_no_sense_is_refused_in_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, *words).startswith(message)


def test_the_help_has_panels_and_says_each_default_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert read("--help") == (0, {})
    text = capsys.readouterr().out
    titles = [line for line in text.splitlines() if line.endswith(":") and line[0] != " "]
    assert titles == ["Arguments:", "Options:", "Deep down:", "MLflow:", "Output and log:"]
    flowing = " ".join(text.split())
    assert flowing.count("default: big") == flowing.count("default: INFO") == 1
    assert "default: None" not in flowing
    assert "Usage: do-it [OPTIONS] WORD..." in flowing
