"""Runs the notebooks of the documentation, in an environment with HSSM.

``python -m tests.notebooks`` (``make notebooks``) runs them whole and stores their outputs.
"""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.environments import notebook_environment, run

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb"))
_SCRIPT = Path(__file__).parent / "peers" / "scripts" / "run_notebook.py"


def run_notebook(path: Path, folder: Path, values: Sequence[str] = ()) -> Path:
    """Run a notebook in a folder, with other values of its parameters: ``n_sets=100``.

    Returns
    -------
    Path
        The notebook with its outputs.
    """
    python, made = notebook_environment() / "python", folder / "made.ipynb"
    run([python, _SCRIPT, path, made, *values], folder=folder)
    return made


if __name__ == "__main__":
    for notebook in NOTEBOOKS:
        sys.stderr.write(f"running {notebook}\n")
        with tempfile.TemporaryDirectory() as place:
            shutil.copyfile(run_notebook(notebook, Path(place)), notebook)
