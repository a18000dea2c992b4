"""Run with HSSM: what lanflow's own probe gives for many cases, in one process.

The argument is a JSON file: a list of cases as ``probe.py`` takes them, each with HSSM's
``backend``. Printed is the list of what it gives.
"""

import importlib.util
import json
import sys
from pathlib import Path

PROBE = Path(__file__).parents[3] / "workflow" / "lanflow" / "evaluation" / "hssm" / "probe.py"
spec = importlib.util.spec_from_file_location("hssm_probe", PROBE)
assert spec is not None
assert spec.loader is not None
probe = importlib.util.module_from_spec(spec)
spec.loader.exec_module(probe)

cases = json.loads(Path(sys.argv[1]).read_text())
sys.stdout.write(json.dumps([probe.examine(case) for case in cases]) + "\n")
