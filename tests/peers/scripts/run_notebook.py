"""Run with nbclient: run a notebook in this folder, and write it with its outputs.

Usage: ``run_notebook.py NOTEBOOK OUTPUT [NAME=VALUE ...]``. The values take the place of those in
the cell with the tag ``parameters``, as papermill does it. Progress bars are not kept, nor is the
name of the folder, and pictures have few colours, so that a repository does not grow by them.
"""

import base64
import io
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

WIDGET = "application/vnd.jupyter.widget-view+json"
N_COLOURS = 96


def set_parameters(notebook: Any, values: list[str]) -> None:
    """Put a cell behind that of the parameters."""
    (place,) = (
        i for i, c in enumerate(notebook.cells) if "parameters" in c.metadata.get("tags", ())
    )
    cell = nbformat.v4.new_code_cell("\n".join(values))
    notebook.cells.insert(place + 1, cell)


def tidy(notebook: Any) -> None:
    """Leave out bars, times, and where it was run."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [tidied(one) for one in cell.outputs if not is_bar(one)]


def is_bar(output: Any) -> bool:
    """Whether an output is a progress bar, as a widget or as text (tqdm's has a rate), or blank."""
    text = output.get("text", "a result")
    return WIDGET in output.get("data", ()) or "it/s]" in text or not text.strip()


def tidied(output: Any) -> Any:
    here = f"{Path.cwd().resolve()}/"
    if "text" in output:
        output["text"] = output["text"].replace(here, "")
    data = output.get("data", {})
    for kind, content in data.items():
        if kind.startswith("text/"):
            data[kind] = content.replace(here, "")
    if "text/html" in data:
        data.pop("text/plain", None)
    if "image/png" in data:
        data["image/png"] = with_few_colours(data["image/png"])
    return output


def with_few_colours(png: str) -> str:
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    buffer = io.BytesIO()
    picture.quantize(N_COLOURS, dither=Image.Dither.NONE).save(buffer, "png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def main(path: str, output: str, *values: str) -> None:
    notebook = nbformat.read(path, as_version=4)
    if values:
        set_parameters(notebook, list(values))
    NotebookClient(notebook, timeout=3600, kernel_name="python3").execute()
    tidy(notebook)
    nbformat.write(notebook, output)


if __name__ == "__main__":
    main(*sys.argv[1:])
