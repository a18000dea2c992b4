"""lanflow, LANfactory 0.9 and HSSM 0.5 in one environment: each takes what the others made."""

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest

from tests.environments import last_line
from tests.newest.conftest import HERE, KINDS, OneEnvironment, entry_point, run

pytestmark = pytest.mark.newest

PEER_SCRIPTS = HERE.parent / "peers" / "scripts"


def beside(folder: Path, ending: str) -> Path:
    """LANfactory's file of our network."""
    run_uuid = json.loads((folder / "card.json").read_text())["run_uuid"]
    (path,) = folder.parent.glob(f"{run_uuid}*{ending}")
    return path


def test_files_of_ssm_simulators_command_hold_sets_of_their_own(made: OneEnvironment) -> None:
    # Since 0.15; before, every file held the same. All of 8, though 3 sub-runs do not divide them.
    sets = [pickle.loads(path.read_bytes())["theta"] for path in made.data.iterdir()]
    assert len(np.unique(np.concatenate(sets), axis=0)) == 4 * 8
    card = json.loads((made.ours["lan"] / "card.json").read_text())
    assert card["n_parameter_sets"] == 4 * 8
    lineage = json.loads((made.ours["lan"] / "training_data_lineage.json").read_text())
    assert sorted(lineage["expected_files"]) == sorted(path.name for path in made.data.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_lanfactory_loads_our_network_and_gives_our_outputs(
    kind: str, made: OneEnvironment, tmp_path: Path
) -> None:
    folder = made.ours[kind]
    rows = np.random.default_rng(0).uniform(0.3, 0.9, (20, 6 if kind == "lan" else 4))
    case = {
        "network_config": str(beside(folder, "network_config.pickle")),
        "weights": str(beside(folder, "train_state.jax")),
        "rows": rows.tolist(),
    }
    (tmp_path / "cases.json").write_text(json.dumps([case]))
    stand_in = f"import sys; sys.path.insert(0, {str(HERE / 'stand_in')!r}); "
    code = f"{stand_in}import runpy; runpy.run_path({str(PEER_SCRIPTS / 'load_jax.py')!r})"
    outputs = last_line(run([sys.executable, "-c", code, "cases.json"], tmp_path))
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    ours = [session.run(None, {"input": row[None].astype(np.float32)})[0][0] for row in rows]
    np.testing.assert_allclose(np.array(outputs)[0], ours, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_its_files_and_ours_have_the_same_names_and_keys(kind: str, made: OneEnvironment) -> None:
    theirs = {path.name.partition("_")[2]: path for path in made.theirs[kind]}
    folder = made.ours[kind]
    assert {beside(folder, ending).name.partition("_")[2] for ending in theirs} == set(theirs)
    for ending in ("network_config.pickle", "_train_config.pickle", "_data_details.pickle"):
        full = next(name for name in theirs if name.endswith(ending))
        their_keys, our_keys = (
            set(pickle.loads(path.read_bytes())) for path in (theirs[full], beside(folder, full))
        )
        assert our_keys == their_keys
    details = pickle.loads(beside(folder, "data_details.pickle").read_bytes())
    their_details = pickle.loads(theirs[f"{kind}_ddm__data_details.pickle"].read_bytes())
    config, their_config = (d["train_data_model_config"] for d in (details, their_details))
    for key in config:
        assert config[key] == their_config[key]


def test_lanfactorys_command_trains_on_our_files(made: OneEnvironment) -> None:
    (history,) = (path for path in made.theirs[KINDS[-1]] if path.name.endswith("history.csv"))
    losses = pd.read_csv(history)["val_loss"]
    assert len(losses) == 2  # epochs
    assert np.isfinite(losses).all()


def test_a_network_of_lanfactory_is_judged_here(made: OneEnvironment, tmp_path: Path) -> None:
    (path,) = (path for path in made.theirs["lan"] if path.suffix == ".onnx")
    command = [*entry_point("lanflow", "lanflow"), "evaluate", "--onnx", path, "--model", "ddm"]
    command += ["--json", "--exit-zero"]
    quick = ["--n-sets", "5", "--n-simulated-sets", "1", "--output", "evaluation.json"]
    result = last_line(run([*command, *quick], tmp_path))
    assert result["gates"]["structure"] == "passed"
    assert result["gates"]["accuracy"] == "failed"  # of two epochs


@pytest.mark.parametrize("kind", KINDS)
def test_the_gate_that_asks_hssm_is_passed(kind: str, made: OneEnvironment, tmp_path: Path) -> None:
    command = [
        *entry_point("lanflow", "lanflow"),
        "evaluate",
        made.ours[kind],
        "--json",
        "--exit-zero",
    ]
    options = ["--hssm-python", sys.executable, "--output", "evaluation.json"]
    quick = ["--n-sets", "5", "--n-simulated-sets", "1"]
    result = last_line(run([*command, *options, *quick], tmp_path))
    assert result["gates"]["hssm"] == "passed"
