import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanflow.core.errors import UserError
from lanflow.core.processes import worker_pool
from lanflow.core.settings import parse_settings
from lanflow.data.generation import generate
from lanflow.data.generation.config import GenerationConfig
from lanflow.data.generation.generate import _file_content, generate_chunk
from lanflow.data.generation.plan import ChunkPlan
from lanflow.data.training_file import TrainingFileContent, read_training_file
from lanflow.models.simulators import find_model, model_names
from tests.conftest import sha256
from tests.own_models import models_file

N_SETS, N_FILES = 3, 2
# Of this model a parameter, theta, is also a key of a training file.
GENERATION_YAML: dict[str, Any] = {
    "MODEL": "angle",
    "PIPELINE": {"N_PARAMETER_SETS": N_SETS},
    "SIMULATOR": {"N_SAMPLES": 100, "DELTA_T": 0.01},
    "TRAINING": {"N_SAMPLES_PER_PARAM": 10},
    "ESTIMATOR": {"TYPE": "kde"},
}


def plan_of(*, seed: int = 1, chunk: int = 0, n_files: int = N_FILES, **keys: Any) -> ChunkPlan:
    config = parse_settings(GenerationConfig, {**GENERATION_YAML, **keys}, "generation.yaml")
    return ChunkPlan(config=config, seed=seed, chunk=chunk, n_files=n_files)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "training_data").iterdir()}


def read(path: Path) -> TrainingFileContent:
    return read_training_file(path.read_bytes(), path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a chunk made in this process."""
    folder = tmp_path_factory.mktemp("chunk")
    generate_chunk(plan_of(), folder, n_processes=1)
    return folder


def test_files_are_training_files_of_the_model(made: Path) -> None:
    paths = sorted((made / "training_data").iterdir())
    assert len(paths) == N_FILES
    for path in paths:
        file = read(path)
        assert (file.model, file.parameters) == ("angle", ("v", "a", "z", "t", "theta"))
        assert file.bounds["a"] == (0.3, 3.0)
        features, labels = file.arrays["lan"]
        assert (features.shape, labels.shape) == ((N_SETS * 10, 7), (N_SETS * 10, 1))
        for kind in ("cpn", "opn", "gonogo"):
            assert file.arrays[kind][0].shape == (N_SETS, 5)
        for name, column in zip(file.parameters, features.T, strict=False):
            low, high = file.bounds[name]
            assert ((column >= low) & (column <= high)).all()
        assert set(np.unique(features[:, 6])) <= {-1, 1}


def test_files_hold_the_settings_that_made_them_and_nothing_of_this_machine(made: Path) -> None:
    path = next((made / "training_data").iterdir())
    generator = read(path).generator
    assert generator["simulator"]["delta_t"] == 0.01
    assert generator["simulator"]["n_samples"] == 100
    assert generator["training"]["n_samples_per_param"] == 10
    assert generator["pipeline"]["n_parameter_sets"] == N_SETS
    assert generator["estimator"]["type"] == "kde"
    assert str(made).encode() not in path.read_bytes()


def test_the_inventory_is_ssm_simulators_with_a_digest_of_each_file(
    made: Path, tmp_path: Path
) -> None:
    shutil.copytree(made / "training_data", tmp_path / "training_data.partial")
    inventory = generate_chunk(plan_of(), tmp_path, n_processes=1)
    written = json.loads((tmp_path / "generated_files_inventory.json").read_text())
    assert written == inventory
    assert inventory["num_files"] == N_FILES
    assert set(inventory) == {"num_files", "total_size_mb", "files"}
    for file in inventory["files"]:
        path = tmp_path / "training_data" / file["filename"]
        assert file["relative_path"] == str(path)
        assert file["size_bytes"] == path.stat().st_size
        assert file["size_mb"] == pytest.approx(path.stat().st_size / 2**20, abs=0.01)
        assert file["sha256"] == sha256(path)


@pytest.mark.parametrize("head_start", [0.0, 0.3])
def test_two_processes_make_the_same_bytes_as_one(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head_start: float
) -> None:
    monkeypatch.setattr(generate, "HEAD_START", head_start)
    generate_chunk(plan_of(), tmp_path, n_processes=2)
    assert contents(tmp_path) == contents(made)


def test_a_little_work_is_done_without_starting_processes_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "worker_pool", None)
    monkeypatch.setattr(generate, "HEAD_START", 60.0)
    generate_chunk(analytic_plan(), tmp_path, n_processes=2)
    assert contents(tmp_path)


def test_as_many_processes_as_asked_for_are_at_work(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work: list[int] = []

    @contextmanager
    def counted(n_processes: int, *start: Any) -> Iterator[Any]:
        with worker_pool(n_processes, *start) as pool:
            yield pool
            at_work.append(len(pool._executor._processes))

    monkeypatch.setattr(generate, "worker_pool", counted)
    monkeypatch.setattr(generate, "HEAD_START", 0.0)
    generate_chunk(plan_of(n_files=1), tmp_path, n_processes=N_SETS)
    assert at_work == [N_SETS]
    assert contents(tmp_path).items() <= contents(made).items()


@pytest.mark.parametrize("approach", ["lan", "cpn", "opn"])
def test_every_approach_makes_files(tmp_path: Path, approach: str) -> None:
    plan = plan_of(n_files=1, GENERATOR_APPROACH=approach)
    generate_chunk(plan, tmp_path, n_processes=1)
    file = read(tmp_path / "training_data" / plan.file_name(0))
    assert file.arrays[approach][0].shape[0] > 0


def test_any_process_makes_the_same_bytes_whatever_its_hash_seed(
    made: Path, tmp_path: Path
) -> None:
    program = """
import sys, json
from pathlib import Path
from lanflow.core.settings import parse_settings
from lanflow.data.generation.plan import ChunkPlan
from lanflow.data.generation.generate import generate_chunk
from lanflow.data.generation.config import GenerationConfig
settings = parse_settings(GenerationConfig, json.loads(sys.argv[2]), "generation.yaml")
plan = ChunkPlan(config=settings, seed=1, chunk=0, n_files=1)
generate_chunk(plan, Path(sys.argv[1]), n_processes=1)
"""

    def run(hash_seed: int) -> Path:
        folder = tmp_path / str(hash_seed)
        subprocess.run(
            [sys.executable, "-c", program, str(folder), json.dumps(GENERATION_YAML)],
            env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
            check=True,
        )
        return folder

    with ThreadPoolExecutor(2) as pool:
        first, second = (contents(folder) for folder in pool.map(run, (0, 1)))
    assert first == second
    assert first.items() <= contents(made).items()


def test_a_partial_folder_is_gone_on_with(made: Path, tmp_path: Path) -> None:
    partial = tmp_path / "training_data.partial"
    partial.mkdir()
    plan = plan_of()
    kept = partial / plan.file_name(0)
    shutil.copy(made / "training_data" / kept.name, kept)
    inode = kept.stat().st_ino
    (partial / f".{plan.file_name(1)}.{'7f' * 8}").write_bytes(b"half a file")
    (partial / plan_of(seed=2).file_name(0)).write_bytes(b"old")
    calls: list[int] = []
    generate_chunk(plan, tmp_path, n_processes=1, on_set=lambda: calls.append(1))
    assert contents(tmp_path) == contents(made)
    assert (tmp_path / "training_data" / kept.name).stat().st_ino == inode
    assert len(calls) == N_FILES * N_SETS
    assert not partial.exists()


def test_a_chunk_that_is_interrupted_leaves_whole_files_only_and_can_be_gone_on_with(
    made: Path, tmp_path: Path
) -> None:
    calls: list[int] = []

    def interrupt() -> None:
        calls.append(1)
        if len(calls) == N_SETS + 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_chunk(plan_of(), tmp_path, n_processes=1, on_set=interrupt)
    (partial,) = tmp_path.iterdir()
    assert partial.name == "training_data.partial"
    assert [path.name for path in partial.iterdir()] == [plan_of().file_name(0)]
    generate_chunk(plan_of(), tmp_path, n_processes=1)
    assert contents(tmp_path) == contents(made)


def test_a_chunk_made_again_takes_the_place_of_the_old(made: Path, tmp_path: Path) -> None:
    generate_chunk(plan_of(seed=2, n_files=1), tmp_path, n_processes=1)
    old = contents(tmp_path)
    shutil.copytree(made / "training_data", tmp_path / "training_data.partial")
    generate_chunk(plan_of(), tmp_path, n_processes=1)
    assert contents(tmp_path) == contents(made)
    assert not old.keys() & contents(made).keys()


def test_a_chunk_that_is_killed_between_its_last_steps_is_still_replaced_by_another(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose the files are must be known at any time; the other chunk's names tell nothing of it."""
    generate_chunk(plan_of(seed=2, n_files=1), tmp_path, n_processes=1)
    for step in ("link_or_copy", "write_json", "rename", "remove_partial"):
        with monkeypatch.context() as patch:
            end_before(patch, step)
            with pytest.raises(KeyboardInterrupt):
                generate_chunk(plan_of(seed=3, n_files=1), tmp_path, n_processes=1)
        shutil.copytree(
            made / "training_data", tmp_path / "training_data.partial", dirs_exist_ok=True
        )
        generate_chunk(plan_of(), tmp_path, n_processes=1)
        assert contents(tmp_path) == contents(made)


def end_before(patch: pytest.MonkeyPatch, step: str) -> None:
    """Let a chunk end as if its process was killed before a step."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    patch.setattr(Path if step == "rename" else generate, step, end)


@pytest.mark.parametrize("has_inventory", [False, True])
def test_files_of_ssm_simulators_are_not_taken_for_a_chunk(
    tmp_path: Path, has_inventory: bool
) -> None:
    """Their names have the form of ours, and so has the inventory, less the digests."""
    name = f"training_data_{'0' * 32}.pickle"
    (tmp_path / "training_data").mkdir()
    (tmp_path / "training_data" / name).write_bytes(b"two weeks of simulations")
    if has_inventory:
        inventory = {"num_files": 1, "files": [{"filename": name, "size_bytes": 24}]}
        (tmp_path / "generated_files_inventory.json").write_text(json.dumps(inventory))
    with pytest.raises(UserError, match=rf"not of a generated chunk \(training_data/{name}\)"):
        generate_chunk(plan_of(), tmp_path, n_processes=1)
    assert contents(tmp_path) == {name: b"two weeks of simulations"}


def test_no_parameter_vector_is_drawn_twice_over_files_and_chunks(
    made: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    generate_chunk(plan_of(chunk=1, n_files=1), other, n_processes=1)
    paths = [*(made / "training_data").iterdir(), *(other / "training_data").iterdir()]
    theta = np.concatenate([read(path).arrays["cpn"][0] for path in paths])
    assert len(theta) == 3 * N_SETS
    for column in theta.T:
        assert len(np.unique(column)) == len(theta)


@pytest.mark.parametrize(("model", "nearest"), [("dmm", "ddm"), ("angel", "angle")])
def test_an_unknown_model_is_refused_with_the_nearest(
    tmp_path: Path, model: str, nearest: str
) -> None:
    with pytest.raises(UserError) as caught:
        generate_chunk(plan_of(MODEL=model), tmp_path / "chunk", n_processes=1)
    theirs = f"the {len(model_names())} of ssm-simulators (docs/models.md lists them)"
    said = f"model {model!r} is not one of {theirs}; did you mean {nearest!r}? A model of your"
    assert str(caught.value).startswith(said)
    assert not (tmp_path / "chunk").exists()


@pytest.mark.parametrize("n_processes", [1, 2])
def test_an_estimator_that_does_not_fit_the_model_is_refused(
    tmp_path: Path, n_processes: int
) -> None:
    plan = plan_of(MODEL="race_no_bias_angle_4", ESTIMATOR={"TYPE": "pyddm"})
    with pytest.raises(UserError) as caught:
        generate_chunk(plan, tmp_path / "chunk", n_processes=n_processes)
    assert str(caught.value) == (
        "ESTIMATOR.TYPE: pyddm is for one particle between two boundaries whose drift does not "
        "change with time; model 'race_no_bias_angle_4' is none; 'auto' takes the best there is"
    )
    assert not (tmp_path / "chunk").exists()


def test_labels_can_come_from_the_solver(tmp_path: Path, made: Path) -> None:
    plan = plan_of(n_files=1, ESTIMATOR={"TYPE": "pyddm"})
    generate_chunk(plan, tmp_path, n_processes=1)
    file = read(tmp_path / "training_data" / plan.file_name(0))
    assert file.generator["estimator"]["type"] == "pyddm"
    assert file.arrays["lan"][0].shape == (N_SETS * 10, 7)
    assert plan.file_name(0) not in contents(made)


def test_a_known_model_is_described() -> None:
    assert find_model("angle").parameters == ("v", "a", "z", "t", "theta")


def test_rejected_parameter_sets_are_left_out_and_a_file_of_none_is_an_error(
    made: Path,
) -> None:
    plan = plan_of()
    arrays = pickle.loads(next((made / "training_data").iterdir()).read_bytes())
    good = {key: value for key, value in arrays.items() if not key.endswith("_config")}
    rejected = {"success": False, "data": None, "error": "no convergence"}
    kept = _file_content(plan, [rejected, {"success": True, "data": good}, rejected])
    assert len(pickle.loads(kept)["theta"]) == N_SETS
    with pytest.raises(UserError) as caught:
        _file_content(plan, [rejected, {"success": False, "data": None}])
    assert str(caught.value) == (
        "model angle: all 2 parameter sets of a file were rejected (filtered out; no convergence)"
    )


@pytest.fixture(scope="module")
def made_analytically(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a chunk whose labels are exact, parameters from a Sobol sequence."""
    folder = tmp_path_factory.mktemp("analytic")
    generate_chunk(analytic_plan(), folder, n_processes=1)
    return folder


def analytic_plan(**keys: Any) -> ChunkPlan:
    return plan_of(
        PIPELINE={"N_PARAMETER_SETS": N_SETS, "PARAMETER_SAMPLING": "sobol"},
        ESTIMATOR={"TYPE": "auto"},
        **keys,
    )


def theta_of(folder: Path, plan: ChunkPlan) -> np.ndarray:
    """Parameter vectors in the order they were drawn, as shares of the box."""
    files = [
        read(folder / "training_data" / plan.file_name(index)) for index in range(plan.n_files)
    ]
    low, high = np.array([files[0].bounds[name] for name in files[0].parameters]).T
    theta = np.concatenate([file.arrays["cpn"][0] for file in files])
    return np.asarray((theta - low) / (high - low))


def test_a_file_says_where_its_labels_come_from(made: Path, made_analytically: Path) -> None:
    for folder, type_, source in ((made, "kde", "kde"), (made_analytically, "auto", "analytic")):
        generator = read(next((folder / "training_data").iterdir())).generator
        assert generator["estimator"]["type"] == type_
        assert generator["estimator"]["label_source"] == source


def test_analytic_files_have_the_keys_of_simulated_ones(
    made: Path, made_analytically: Path
) -> None:
    simulated, analytic = (
        pickle.loads(next((folder / "training_data").iterdir()).read_bytes())
        for folder in (made, made_analytically)
    )
    assert simulated.keys() == analytic.keys()
    for key, value in simulated.items():
        if not key.endswith("_config"):
            assert (value.dtype, value.shape) == (analytic[key].dtype, analytic[key].shape)


def test_two_processes_make_the_same_analytic_bytes(
    made_analytically: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "HEAD_START", 0.0)
    generate_chunk(analytic_plan(), tmp_path, n_processes=2)
    assert contents(tmp_path) == contents(made_analytically)


def test_the_files_of_a_chunk_follow_one_sobol_sequence(made_analytically: Path) -> None:
    plan = analytic_plan()
    points = [point for index in range(N_FILES) for _, point in plan.set_draws(index)]
    np.testing.assert_allclose(theta_of(made_analytically, plan), points, atol=1e-6)
    more = plan_of(
        n_files=1, PIPELINE={"N_PARAMETER_SETS": 2 * N_SETS, "PARAMETER_SAMPLING": "sobol"}
    )
    assert [point for _, point in more.set_draws(0)] == points


def test_labels_that_a_model_has_not_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    plan = plan_of(MODEL="levy", ESTIMATOR={"TYPE": "analytic"})
    with pytest.raises(UserError, match="no analytic likelihood is known for model 'levy'"):
        generate_chunk(plan, tmp_path / "chunk", n_processes=1)
    assert not (tmp_path / "chunk").exists()


SOFTMAX = """
import numpy as np
def softmax(beta, q0, q1, n_samples, rng):
    share = 1 / (1 + np.exp(beta * (q0 - q1)))
    return np.full(n_samples, -1.0), rng.binomial(1, share, n_samples)
MODELS = [{"name": "softmax", "params": ["beta", "q0", "q1"], "choices": [0, 1],
           "param_bounds": {"beta": (0, 10), "q0": (0, 1), "q1": (0, 1)}, "simulator": softmax}]
"""


def test_files_of_a_model_of_choices_alone_are_for_a_cpn(tmp_path: Path) -> None:
    keys = {"MODEL": "softmax", "SIMULATOR": {"N_SAMPLES": 10_000, "DELTA_T": 0.01}}
    plan = plan_of(n_files=1, **keys)
    plan = replace(plan, config=plan.config.with_models_file(models_file(SOFTMAX)))
    generate_chunk(plan, tmp_path, n_processes=1)
    (path,) = (tmp_path / "training_data").iterdir()
    arrays = read(path).arrays
    assert set(arrays) == {"cpn", "opn", "gonogo"}
    vectors, shares = arrays["cpn"]
    beta, q0, q1 = vectors.T
    np.testing.assert_allclose(shares[:, 0], 1 / (1 + np.exp(beta * (q0 - q1))), atol=0.02)
