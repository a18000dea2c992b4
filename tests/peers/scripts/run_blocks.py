"""Run with HSSM: run code that pages print, in this folder.

The argument is a JSON file, a list of pages; of each the list of its blocks, which share names.
Printed are, for each page, the means of the parameters that HSSM or numpyro has sampled, or the
log-density of a model that nothing has been sampled of.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def found(names: dict[str, Any]) -> dict[str, float]:
    if "posterior" in names:
        draws = names["posterior"]["posterior"].data_vars
    elif "sampler" in names:
        draws = names["sampler"].get_samples()
    else:
        return {"log_density": sum(map(float, names["model"].pymc_model.point_logps().values()))}
    return {name: float(np.mean(np.asarray(values))) for name, values in draws.items()}


def run(blocks: list[str]) -> dict[str, float]:
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks:
        exec(block, names)  # the pages are ours
    return found(names)


results, sys.stdout = sys.stdout, sys.stderr
pages = json.loads(Path(sys.argv[1]).read_text())
results.write(json.dumps([run(blocks) for blocks in pages]) + "\n")
