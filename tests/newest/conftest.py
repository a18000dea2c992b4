"""The one environment that these tests run in, and what each package makes in it.

``make newest`` makes it (constraints-3.12.txt, constraints-3.13.txt); elsewhere they are left out.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml

from tests import environments
from tests.conftest import TRAINING_YAML

HERE = Path(__file__).parent

# The container's Python is 3.12, in whose environment its steps are run.
collect_ignore = ["test_container.py"] if sys.version_info[:2] != (3, 12) else []

GENERATION_YAML = {
    "MODEL": "ddm",
    "GENERATOR_APPROACH": "lan",
    # Sub-runs that do not divide the sets: 0.12 dropped the rest.
    "PIPELINE": {"N_PARAMETER_SETS": 8, "N_SUBRUNS": 3, "N_CPUS": 1},
    "SIMULATOR": {"N_SAMPLES": 500, "DELTA_T": 0.001},
    "TRAINING": {"N_SAMPLES_PER_PARAM": 100},
    "ESTIMATOR": {"TYPE": "kde"},
}
ROWS_PER_BATCH = {"lan": 100, "cpn": 4}
# On the second Python, which has the same versions of everything, one kind says as much.
KINDS = ("lan", "cpn") if sys.version_info[:2] == (3, 12) else ("lan",)


def entry_point(package: str, name: str) -> list[str]:
    """A package's command by what it calls, as LANfactory and lanflow both have a ``jaxtrain``."""
    (found,) = (
        point
        for point in entry_points(group="console_scripts", name=name)
        if point.dist is not None and point.dist.name.lower() == package
    )
    code = f"import sys; from {found.module} import {found.attr}; sys.exit({found.attr}())"
    return [sys.executable, "-c", code]


def run(command: Sequence[str | Path], folder: Path) -> str:
    """Run a command in a folder; what it printed. LANfactory's have a stand-in for torch."""
    is_theirs = any("lanfactory" in str(part) for part in command)
    stand_in = {"PYTHONPATH": str(HERE / "stand_in")} if is_theirs else {}
    return environments.run(command, folder=folder, **stand_in)


@dataclass(frozen=True)
class OneEnvironment:
    """Data by ssm-simulators' own command, and networks on them by lanflow's and LANfactory's.

    Attributes
    ----------
    data
        The folder of training files.
    store
        Tracked them.
    ours, theirs
        By network type: our network's folder; the files that LANfactory's command wrote. The last
        of its networks is trained on files that lanflow's command simulated.
    """

    data: Path
    store: str
    ours: dict[str, Path]
    theirs: dict[str, list[Path]]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> OneEnvironment:
    folder = tmp_path_factory.mktemp("one")
    (folder / "generation.yaml").write_text(yaml.safe_dump(GENERATION_YAML))
    options = ["--config-path", "generation.yaml", "--output", "data", "--n-files", "4"]
    options += ["--mlflow-run-name", "first", "--mlflow-experiment-name", "ddm-data-generation"]
    store = f"sqlite:///{folder}/mlflow.db"
    options += ["--mlflow-tracking-uri", store]
    run([*entry_point("ssm-simulators", "generate"), *options], folder)
    data = next(folder.rglob("training_data_*.pickle")).parent
    command = [*entry_point("lanflow", "lanflow"), "generate", *options[:2], "--n-files", "4"]
    run([*command, "--model", "ddm", "--output", "our_data", "--processes", "1"], folder)
    their_data = dict.fromkeys(KINDS, data) | {KINDS[-1]: folder / "our_data/training_data"}
    ours, theirs = {}, {}
    for kind in KINDS:
        path = folder / f"{kind}.yaml"
        path.write_text(yaml.safe_dump(_training_yaml(kind)))
        given = ["--config-path", path, "--networks-path-base"]
        lineage = ["--data-generation-experiment-id", "1", "--mlflow-tracking-uri", store]
        command = [*entry_point("lanflow", "jaxtrain"), *given, "ours", *lineage]
        printed = run([*command, "--training-data-folder", data], folder)
        ours[kind] = Path(environments.last_line(printed)["network_folder"])
        command = [*entry_point("lanfactory", "jaxtrain"), *given, "theirs"]
        run([*command, "--training-data-folder", their_data[kind]], folder)
        theirs[kind] = sorted((folder / "theirs" / kind).rglob("*.*"))
    return OneEnvironment(data, store, ours, theirs)


def _training_yaml(kind: str) -> dict[str, object]:
    """A training YAML that both take; LANfactory wants batches that divide a file's rows."""
    return {
        **TRAINING_YAML,
        "NETWORK_TYPE": kind,
        "MODEL": "ddm",
        "GENERATOR_APPROACH": "lan",
        "CPU_BATCH_SIZE": ROWS_PER_BATCH[kind],
        "GPU_BATCH_SIZE": ROWS_PER_BATCH[kind],
        "N_EPOCHS": 2,
        "TRAIN_VAL_SPLIT": 0.5,
        "TRAINING_DATA_FOLDER": None,
        "LAYER_SIZES": [[16, 16, 1]],
        "ACTIVATIONS": [["tanh", "tanh"]],
    }
