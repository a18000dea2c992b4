"""The interpreter that has HSSM: another than lanflow's, since both need other versions."""

import os
import subprocess
from pathlib import Path


def find_hssm(python: str) -> str | None:
    """Say why HSSM cannot be used with an interpreter; None if it can."""
    try:
        done = subprocess.run(  # noqa: S603
            [python, "-c", "import importlib.util as u; print(u.find_spec('hssm') is not None)"],
            capture_output=True,
            text=True,
            check=False,
            env=hssm_environment(),
        )
    except OSError as e:
        return f"{python} cannot be run ({e.strerror})"
    if done.stdout.strip() != "True":
        return (
            f"HSSM is not installed for {python} (name an interpreter that has it: --hssm-python, "
            "in a study evaluation.hssm_python)"
        )
    return None


def hssm_environment() -> dict[str, str]:
    """Ours, less what leads another interpreter to our packages."""
    kept = {
        key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")
    }
    return {**kept, "MPLBACKEND": "Agg", "HF_HUB_OFFLINE": "1"}


def interpreter(python: str) -> str:
    """The same interpreter from any working directory."""
    # Its links are not followed: that of a virtual environment leads out of it.
    return str(Path(python).absolute()) if os.sep in python else python
