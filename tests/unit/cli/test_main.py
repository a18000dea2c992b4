"""``lanflow`` itself: its help, its version, and names that are none of its commands."""

import os
import subprocess
import sys

import pytest

from lanflow import __version__
from lanflow.cli.main import COMMANDS, PANELS, main, subcommand
from lanflow.cli.train import jaxtrain


def test_a_bare_lanflow_shows_the_commands_by_panel(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    bare = capsys.readouterr()
    assert main(["--help"]) == 0
    asked = capsys.readouterr()
    assert (bare.out, bare.err) == ("", asked.out)
    at = [asked.out.index(f"\n{panel}:\n") for panel in PANELS]
    assert at == sorted(at)
    for name, entry in COMMANDS.items():
        assert f"  {name}" in asked.out
        assert entry.about.split()[0] in asked.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_for_each_of_its_options(name: str) -> None:
    command = subcommand(name)
    assert command.help
    for each in command.params:
        assert each.help, each.name  # type: ignore[attr-defined]
    names = [name for each in command.params for name in each.opts]
    assert {"--json", "--log-level", "-l"} <= set(names)
    assert len(set(names)) == len(names)


def test_misspelt_commands_and_options_get_a_suggestion(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["evalute"]) == 2
    assert main(["evaluate", "--refrence", "kde"]) == 2
    assert jaxtrain(["--confg-path", "x"]) == 2
    assert main(["--versio"]) == 2
    assert main(["zzz", "--n", "1"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "lanflow: error: no command 'evalute'; did you mean evaluate?",
        "lanflow evaluate: error: no option '--refrence'; did you mean --reference?",
        "jaxtrain: error: no option '--confg-path'; did you mean --config-path?",
        "lanflow: error: no option '--versio'; did you mean --version?",
        "lanflow: error: no command 'zzz'; 'lanflow --help' lists them",
    ]


def test_python_m_lanflow_is_lanflow() -> None:
    words = [sys.executable, "-m", "lanflow", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == f"lanflow {__version__}\n"


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("lanflow ev", {"evaluate"}),
        ("lanflow evaluate --refer", {"--reference"}),
        ("lanflow evaluate --reference ", {"auto", "analytic", "solver", "kde"}),
    ],
)
def test_a_shell_completes_commands_options_and_choices(line: str, offered: set[str]) -> None:
    words = line.split(" ")
    environment = {
        **os.environ,
        "_LANFLOW_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", "from lanflow.cli.main import main; main()"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert {entry.split(",")[1] for entry in done.stdout.splitlines()} == offered


@pytest.mark.parametrize(("given", "kept"), [({}, "1"), ({"OPENBLAS_NUM_THREADS": "3"}, "3")])
def test_a_command_takes_one_core_for_products_before_numpy_is_loaded(
    given: dict[str, str], kept: str
) -> None:
    program = (
        "import os, sys; from lanflow.cli.main import main; main(['--version'])\n"
        "print('numpy' in sys.modules, os.environ['OPENBLAS_NUM_THREADS'])"
    )
    before = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS")}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**before, **given}
    )
    assert done.stdout.splitlines()[-1] == f"False {kept}", done.stderr
