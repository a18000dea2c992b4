"""What lanflow's logger plugin shows of small builds, in a file and on a terminal."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.workflow.conftest import Checkout

TRAINING = """\
for i in 1 2 3; do
  echo "epoch $i/3  train_loss 0.1  val_loss 0.2  learning_rate 0.1  1,234,567 rows/s  2 s left"
  sleep 0.8
done
echo "WARNING: ddm: the files repeat"
echo '{"best_val_loss": 0.12345678901234567, "mlflow_pending": null}'
"""

SNAKEFILE = """
rule all:
    input: "a.txt"

rule train_network:
    output: "a.txt"
    log: "logs/a b.log"
    benchmark: "a.tsv"
    shell: "sh training.sh > {log:q} 2>&1; touch {output}"

rule mistaken:
    output: "b.txt"
    log: "logs/b.log"
    shell: "(echo some work; echo 'lanflow x: error: c.yaml: unknown key'; exit 1) > {log} 2>&1"

rule killed:
    output: "c.txt"
    log: "logs/c.log"
    retries: 1
    shell: "(echo some work; kill -9 $$) > {log} 2>&1"

rule silent:
    output: "d.txt"
    shell: "true"
"""
# Of Snakemake itself there are these words in any build.
OF_SNAKEMAKE = re.compile(r"jobid|reason|resources|rule |Building|Select jobs|Complete log|Elapsed")


@pytest.fixture
def build(tmp_path: Path, quick_commands: Path) -> Checkout:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "training.sh").write_text(TRAINING)
    return Checkout(tmp_path, commands=quick_commands)


def snakemake(build: Checkout, *arguments: str, check: bool = True) -> str:
    return build.snakemake("--logger", "lanflow", "--cores", "2", *arguments, check=check)


def test_a_build_is_one_line_a_job_and_a_second_one_says_so(build: Checkout) -> None:
    output = snakemake(build)
    told = r"1 job on 2 cores\n\n\[1/1\] trained +\d s  3 epochs, 1\.2 M rows/s, val_loss 0\.123\n"
    assert re.fullmatch(rf"{told} +warning: ddm: the files repeat\n", output), output
    assert "Nothing to be done" in snakemake(build)


def test_commands_are_shown_as_they_can_be_pasted_where_asked_for(build: Checkout) -> None:
    output = snakemake(build, "-p")
    assert "\nsh training.sh > 'logs/a b.log' 2>&1; touch a.txt\n" in output
    assert "sh training.sh" in snakemake(build, "-n", "-p", "--forceall")


def test_failures_show_the_message_of_the_job_its_log_and_how_to_go_on(build: Checkout) -> None:
    command = ("--keep-going", "all", "b.txt", "c.txt")
    output = snakemake(build, *command, check=False)
    assert not OF_SNAKEMAKE.search(output), output
    mistaken = r" +FAILED mistaken after \d s\n +lanflow x: error: c.yaml: unknown key\n"
    assert re.search(rf"{mistaken} +log: logs/b.log\n", output)
    killed = r" +FAILED killed after \d s\n +some work\n +it was killed, .*\n +log: logs/c.log\n"
    assert len(re.findall(killed, output)) == 2
    assert output.count("it is tried again") == 1
    assert "some work\n      lanflow" not in output
    head, last = output.splitlines()[-2:]
    assert head in {"2 of 3 jobs failed: mistaken, killed", "2 of 3 jobs failed: killed, mistaken"}
    assert last == (
        "1 of 3 finished and are kept; the same command goes on from there: "
        "snakemake --logger lanflow --cores 2 --keep-going all b.txt c.txt"
    )


SUBMIT = """\
#!/bin/sh
nohup sh "$1" > "job.$$.log" 2>&1 &
echo $!
"""


@pytest.mark.slow
def test_of_jobs_that_are_one_for_a_scheduler_the_one_that_failed_is_named(build: Checkout) -> None:
    submit = build.folder / "submit"
    submit.write_text(SUBMIT)
    submit.chmod(0o755)
    text = SNAKEFILE.replace('    output: "b.txt"', '    input: "a.txt"\n    output: "b.txt"')
    (build.folder / "Snakefile").write_text(text.replace("    log:", '    group: "one"\n    log:'))
    output = build.snakemake(
        *("--logger", "lanflow", "--executor", "cluster-generic", "--jobs", "2", "b.txt"),
        *("--cluster-generic-submit-cmd", "./submit", "--seconds-between-status-checks", "1"),
        check=False,
    )
    assert not OF_SNAKEMAKE.search(output), output
    assert output.count("FAILED") == 1
    assert re.search(
        r"FAILED mistaken after \d+ s\n +lanflow x: error: c.yaml: unknown key", output
    )
    assert "\n1 of 2 jobs failed: mistaken\n" in output


def test_a_job_without_its_output_is_named_at_the_end(build: Checkout) -> None:
    output = snakemake(build, "--latency-wait", "0", "d.txt", check=False)
    assert "d.txt (missing locally" in output
    assert "1 of 1 jobs failed: silent" in output


@pytest.mark.slow
def test_quiet_shows_failures_alone_and_verbose_what_snakemake_says(build: Checkout) -> None:
    assert snakemake(build, "--quiet") == ""
    output = snakemake(build, "b.txt", "--quiet", check=False)
    assert output.lstrip().startswith("FAILED mistaken")
    output = snakemake(build, "--verbose", "--forceall")
    assert OF_SNAKEMAKE.search(output)
    assert "candidate job train_network" in snakemake(build, "-n", "--debug-dag", "--forceall")


def test_a_dry_run_is_a_table_with_reasons(build: Checkout) -> None:
    output = snakemake(build, "-n", "all", "b.txt")
    rows = [re.split(r"  +", line) for line in output.splitlines()]
    assert ["train_network", "1", "output is missing"] in rows
    assert ["all", "1", "input is made anew"] in rows
    assert ["total", "3"] in rows
    assert "This was a dry-run" in output
    snakemake(build)
    (build.folder / "training.sh").write_text(TRAINING)
    assert "Nothing to be done" in snakemake(build, "-n")


@pytest.mark.parametrize(
    ("option", "words"),
    [("--list", "train_network"), ("--summary", "a.txt"), ("--lint", "Lints for rule")],
)
def test_what_snakemake_answers_is_shown(build: Checkout, option: str, words: str) -> None:
    assert words in snakemake(build, option, check=option != "--lint")


def test_the_recorded_first_run_looks_like_a_build() -> None:
    page = (REPOSITORY / "docs" / "first_run.md").read_text()
    recorded = page.split("```text\n")[1].split("```")[0].splitlines()
    assert f"Recorded: {len(recorded)} lines." in page
    done = [line[1:3].strip() for line in recorded if re.match(r"\[[ \d]\d/19\] ", line)]
    assert done == [str(n) for n in range(1, 20)]
    assert [line.split("  ")[0] for line in recorded[-3:]] == [
        *("the report", "use it in HSSM", "your own model"),
    ]


def test_a_long_job_shows_its_progress_on_a_terminal(build: Checkout) -> None:
    text = _on_a_terminal(build)
    assert re.search(r"training .* epoch \d of 3, 1\.2 M rows/s", text)
    assert re.search(r"\[1/1\]\x1b\[0m trained", text)
    last = text.split("\x1b[0J")[-1]
    assert "training" not in last


def _on_a_terminal(build: Checkout) -> str:
    """What a build writes to a terminal of its own."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "snakemake", "--logger", "lanflow", "--cores", "2"]
    variables = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm"}
    process = subprocess.Popen(
        command, cwd=build.folder, env=variables, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    text = b""
    try:
        while chunk := os.read(ours, 1 << 16):
            text += chunk
    except OSError:  # so Linux says that the other side is closed
        pass
    os.close(ours)
    assert process.wait() == 0, text
    return text.decode()
