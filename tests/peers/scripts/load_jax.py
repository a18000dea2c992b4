"""Run with LANfactory: its JAX networks from our files; prints their outputs.

The argument is a JSON file: a list of cases, each with the paths ``network_config`` and ``weights``
and ``rows`` of inputs. Printed is a list with the outputs of each.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from lanfactory.trainers import JaxMLPFactory


def evaluate(case: dict[str, Any]) -> list[Any]:
    rows = np.array(case["rows"], dtype=np.float32)
    network = JaxMLPFactory(network_config=case["network_config"], train=False)
    _, forward = network.make_forward_partial(
        input_dim=rows.shape[1], state=case["weights"], add_jitted=True
    )
    outputs: list[Any] = np.asarray(forward(rows)).tolist()
    return outputs


cases = json.loads(Path(sys.argv[1]).read_text())
sys.stdout.write(json.dumps([evaluate(case) for case in cases]) + "\n")
