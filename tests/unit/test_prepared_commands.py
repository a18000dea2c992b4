"""Commands that start at once really do: they and the jobs of Snakemake are like a warm process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.prepared_commands import OF_LIBRARIES

SNAKEFILE = """\
rule all:
    input: "one.json", "two.json"

rule one:
    output: "one.json"
    shell: "{python} look.py > {{output}}"

rule two:
    output: "two.json"
    threads: 2
    shell: "{python} look.py > {{output}}"
"""
LOOK = """\
import json, os
from pathlib import Path
from lanflow.workflow.warm.likeness import likeness
print(json.dumps(Path(os.environ["LANFLOW_WARM"], likeness()).is_socket()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="commands are no forks elsewhere")
def test_jobs_of_snakemake_are_like_a_warm_process(
    tmp_path: Path, quick_commands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As tests of this process leave them, that import libraries.
    for name in OF_LIBRARIES:
        monkeypatch.setenv(name, "1")
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(python=sys.executable))
    (tmp_path / "look.py").write_text(LOOK)
    command = [quick_commands / "snakemake", "--cores", "2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = [json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two")]
    assert found == [True, True]
