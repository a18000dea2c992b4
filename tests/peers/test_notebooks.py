"""The notebooks, and the code of pages about HSSM and numpyro, run as printed."""

import json
import math
import re
from pathlib import Path

import pytest

from tests import networks
from tests.conftest import REPOSITORY
from tests.environments import last_line, notebook_environment, run
from tests.notebooks import NOTEBOOKS, run_notebook
from tests.peers.conftest import HERE

# One worker, where the environments are.
pytestmark = pytest.mark.peers

# Numbers that every cell runs with in seconds; the stored outputs are those of the notebook's own.
QUICK = {
    "first_network": "n_sets=100 rows_per_set=50 epochs=2 n_subjects=2 n_trials=50 n_draws=20",
    "own_model": "n_sets=60 rows_per_set=50 epochs=2 n_checked=3 n_trials=100 n_draws=20",
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_of_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    made = run_notebook(path, tmp_path, QUICK[path.stem].split())
    cells = [c for c in json.loads(made.read_text())["cells"] if c["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))


def test_the_code_of_pages_finds_parameters_again(tmp_path: Path) -> None:
    networks.write_network(tmp_path / "results/networks/lan/ddm/lan_jax", networks.well_made("lan"))
    hssm, numpyro, readme = (
        re.findall(r"```python\n(.*?)```", (REPOSITORY / page).read_text(), re.DOTALL)
        for page in ("docs/hssm.md", "docs/numpyro.md", "README.md")
    )
    (fit,) = (block for block in readme if "import hssm" in block)
    load = "\n".join(line for line in hssm[1].splitlines() if line.startswith(("import", "net =")))
    pages = [hssm[:2], numpyro, [hssm[0], fit], [hssm[0], load, hssm[2]]]
    (tmp_path / "pages.json").write_text(json.dumps(pages))
    python, script = notebook_environment() / "python", HERE / "scripts" / "run_blocks.py"
    *fits, of_readme, of_own = last_line(run([python, script, "pages.json"], folder=tmp_path))
    for means in fits:
        assert means["v"] == pytest.approx(1.0, abs=0.35)
        assert means["a"] == pytest.approx(1.2, abs=0.15)
        assert means["t"] == pytest.approx(0.3, abs=0.06)
    assert math.isfinite(of_readme["log_density"])
    assert math.isfinite(of_own["log_density"])
