"""Writes docs/releases.md: what was run across which releases, from the records of test runs.

``make newest`` leaves ``build/newest-3.12.xml`` and ``build/newest-3.13.xml``; ``make releases``
runs both, and the same on Python 3.11 with the peers of its time, and writes the page. The records
of ``.ci/run``, ``build/tests.xml`` among them, do as well.
"""

import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from lanflow.core.tables import markdown_table
from tests.conftest import REPOSITORY

PAGE = REPOSITORY / "docs" / "releases.md"
_PACKAGES = ("ssm-simulators", "lanfactory", "hssm", "jax", "flax", "numpy", "mlflow", "torch")
# Column -> what the names of its tests match.
_COLUMNS = {
    "models, labels": r"tests\.unit\.models\.",
    "older files read": r"tests\.unit\.test_releases\.",
    "`generate`, our `jaxtrain`": r"hold_sets_of_their_own",
    "LANfactory loads ours": r"(test_one|peers).*(lanfactory_loads|_names|upload|our_network)",
    "LANfactory trains on ours": r"commands?_trains?_on_our",
    "LANfactory's network here": r"judged_here|is_converted",
    "HSSM: ONNX, gate": r"asks_hssm|gives_our_log_density|scores_trials_without",
    "HSSM: gradients, our JAX function": r"vi_and_gradients|hssm_differentiates",
    "HSSM: NUTS, recovery": r"test_nuts",
    "nothing new": r"test_drift\.",
}
_HEAD = """\
# Releases

One environment holds lanflow, LANfactory and HSSM: `pip install "lanflow[all]" lanfactory hssm`
(Python 3.12 or later, as LANfactory 0.9 and HSSM 0.5 are), with `--constraint constraints-3.12.txt`
or `constraints-3.13.txt` in the very versions that were tested. Both lanflow and LANfactory have
commands `jaxtrain` and `torchtrain`: of those, the package that was installed last has its own;
`lanflow train --backend jax` is lanflow's whatever was installed.

On Python 3.11, LANfactory and HSSM have environments of their own; `make test TESTS=all` runs these
tests and all others. The newer Pythons, which `make newest` tests, go without torch, whose wheels
there come with gigabytes of CUDA; LANfactory's JAX part then runs with a stand-in for torch's
loader of files. `make releases` runs it all and writes this table: tests passed of tests run.

"""


def row(path: Path) -> list[str]:
    """One run's row of the table."""
    python = path.stem.removeprefix("newest-") if path.stem.startswith("newest-") else "3.11"
    if python == "3.11":  # its peers have environments of their own
        peers = {name: _pins(f"tests/peers/{name}.txt")[name] for name in ("lanfactory", "hssm")}
        pins = _pins("constraints.txt") | peers
    else:
        pins = _pins(f"constraints-{python}.txt")
    cases = list(ET.parse(path).iter("testcase"))
    return [
        python,
        *(pins.get(name, "-") for name in _PACKAGES),
        *(_outcome(cases, pattern) for pattern in _COLUMNS.values()),
    ]


def _pins(name: str) -> dict[str, str]:
    """The version of each package in a file of this repository."""
    lines = (REPOSITORY / name).read_text().splitlines()
    pins = (line.partition(";")[0].split("==") for line in lines if "==" in line)
    return {name.lower().replace("_", "-"): version.strip() for name, version in pins}


def _outcome(cases: list[ET.Element], pattern: str) -> str:
    chosen = [c for c in cases if re.search(pattern, f"{c.get('classname')}.{c.get('name')}")]
    run = [c for c in chosen if c.find("skipped") is None]
    passed = [c for c in run if c.find("failure") is None and c.find("error") is None]
    return f"{len(passed)}/{len(run)}" if run else "-"


def page(paths: list[Path]) -> str:
    """The page for the runs in these files."""
    rows = [row(path) for path in paths]
    head = ["Python", *_PACKAGES, *_COLUMNS]
    return _HEAD + markdown_table(head, rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page([Path(name) for name in sys.argv[1:]]))
