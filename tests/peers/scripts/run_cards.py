"""Run with HSSM: run the code on the card of each bundle named, in the bundle's folder.

Printed is a list with, for each, the bounds of the model's parameters and its log-density.
"""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

HERE = Path.cwd()


def data_for(code: str) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    told = re.search(r'"choices": \((.*?)\)', code)
    choices = list(map(float, told[1].split(","))) if told else [-1.0, 1.0]
    data = pd.DataFrame({"rt": rng.uniform(0.6, 3, 20), "response": rng.choice(choices, 20)})
    if "missing_data=True" in code:
        data.loc[:3, "rt"] = -999.0
    if "deadline=True" in code:
        data["deadline"] = 3.5
    return data


def run_card(folder: Path) -> dict[str, Any]:
    os.chdir(folder)
    code = Path("README.md").read_text().partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {"data": data_for(code)}
    exec(code, names)  # the card is ours
    model = names["model"]
    bounds = {
        name: list(map(float, param.bounds)) for name, param in model.params.items() if param.bounds
    }
    log_density = sum(map(float, model.pymc_model.point_logps().values()))
    return {"bounds": bounds, "log_density": log_density}


sys.stdout.write(json.dumps([run_card(HERE / folder) for folder in sys.argv[1:]]) + "\n")
