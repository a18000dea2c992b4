"""Writes docs/releases.md: what was run across which releases, from the records of test runs.

``make newest`` leaves ``build/newest-3.12.xml`` and ``build/newest-3.13.xml``; ``make releases``
runs both and writes the page.
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
    "`generate`, our `jaxtrain`": r"test_one_environment\..*hold_sets_of_their_own",
    "LANfactory loads ours": r"test_one_environment\..*(lanfactory_loads|same_names|upload)",
    "LANfactory's network judged": r"test_one_environment\..*judged_here",
    "HSSM: ONNX, gate": r"test_one_environment\..*asks_hssm",
    "HSSM: VI, our JAX function": r"test_one_environment\..*vi_and_gradients",
    "HSSM: NUTS, recovery": r"test_one_environment\..*nuts",
    "nothing new": r"test_drift\.",
}
_HEAD = """\
# Releases

One environment holds lanflow, LANfactory and HSSM: `pip install "lanflow[all]" lanfactory hssm`
(Python 3.12 or later, as LANfactory 0.9 and HSSM 0.5 are), with `--constraint constraints-3.12.txt`
or `constraints-3.13.txt` in the very versions that were tested. Both lanflow and LANfactory have
commands `jaxtrain` and `torchtrain`: of those, the package that was installed last has its own;
`lanflow train --backend jax` is lanflow's whatever was installed.

`make test TESTS=all` tests Python 3.11 (ssm-simulators 0.12.5, torch; LANfactory 0.7.0 and HSSM
0.3.0 in environments of their own). The newer ones, which `make newest` tests, go without torch,
whose wheels there come with gigabytes of CUDA; LANfactory's JAX part then runs with a stand-in for
torch's loader of files. `make releases` runs them and writes this table: tests passed of tests run.

"""


def row(path: Path) -> list[str]:
    """One run's row of the table."""
    python = path.stem.removeprefix("newest-")
    pins = dict(
        line.split("==")
        for line in (REPOSITORY / f"constraints-{python}.txt").read_text().splitlines()
        if "==" in line
    )
    pins = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    cases = list(ET.parse(path).iter("testcase"))
    return [
        python,
        *(pins.get(name, "-") for name in _PACKAGES),
        *(_outcome(cases, pattern) for pattern in _COLUMNS.values()),
    ]


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
