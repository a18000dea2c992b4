import json
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from lanflow.core.errors import UsageError, UserError
from lanflow.data.generation.config import read_generation_file
from lanflow.data.generation.plan import ChunkPlan
from lanflow.data.generation.run import generate
from lanflow.data.prepare import PackedData
from lanflow.tracking.client import connect
from lanflow.tracking.experiments import ensure_experiment
from lanflow.tracking.store import Store
from lanflow.training.job import plan_job
from lanflow.training.run import TrainingOptions, train
from tests.conftest import (
    BACKENDS,
    TRAINING_YAML,
    make_backend,
    training_config,
    training_options,
    write_training_file,
)

KEYS: dict[str, Any] = {"LAYER_SIZES": [[8, 1]], "ACTIVATIONS": [["tanh"]], "N_EPOCHS": 2}

Options = Callable[..., TrainingOptions]


@pytest.fixture
def options(tmp_path: Path, packed: PackedData) -> Options:
    """Options of a training by Torch; ``keys`` replace those of the YAML."""

    def make(*, keys: dict[str, Any] | None = None, **given: Any) -> TrainingOptions:
        return training_options(tmp_path, packed, keys={**KEYS, **(keys or {})}, **given)

    return make


@pytest.fixture
def unpacked(options: Options) -> Options:
    """The same, to be given data in another way."""
    return lambda **given: options(**{"data_set": None, "manifest": None, **given})


@pytest.fixture
def experiment_folders(tmp_path: Path, store: Store) -> tuple[str, list[Path]]:
    """An experiment of two chunks that ``lanflow generate`` made: its name, the files' folders."""
    path = tmp_path / "generation.yaml"
    content = {
        "MODEL": "ddm",
        "PIPELINE": {"N_PARAMETER_SETS": 4},
        "SIMULATOR": {"N_SAMPLES": 300, "DELTA_T": 0.01},
        "TRAINING": {"N_SAMPLES_PER_PARAM": 30},
        "ESTIMATOR": {"TYPE": "kde"},
    }
    path.write_text(yaml.safe_dump(content))
    folders = []
    for chunk in range(2):
        plan = ChunkPlan(config=read_generation_file(path), seed=1, chunk=chunk, n_files=1)
        folder = tmp_path / f"chunk_{chunk}"
        generate(plan, folder, n_processes=1, store=store, experiment_name="made")
        folders.append(folder / "training_data")
    return "made", folders


def lineage_of(result: dict[str, Any]) -> dict[str, Any]:
    path = Path(result["network_folder"], "training_data_lineage.json")
    return dict(json.loads(path.read_text()))


def test_a_folder_alone_is_trained_on_without_lineage(
    unpacked: Options, folder_of_files: Path, tmp_path: Path
) -> None:
    result = train(unpacked(training_data_folder=folder_of_files))
    folder = tmp_path / "networks" / "lan" / "ddm" / "net"
    history = (folder / "history.csv").read_text().splitlines()
    assert result == {
        "status": "FINISHED",
        "network_folder": str(folder),
        "onnx": str(folder / "model.onnx"),
        "history": str(folder / "history.csv"),
        "run_uuid": result["run_uuid"],
        "mlflow_run_id": None,
        "mlflow_experiment_id": None,
        "mlflow_pending": None,
        "best_epoch": 2,
        "best_val_loss": float(history[2].split(",")[2]),
        "train_loss": float(history[2].split(",")[1]),
    }
    lineage = lineage_of(result)
    assert lineage["data_generation_experiment_id"] is None
    assert lineage["actual_files_used"] == [f"training_data_{i}.pickle" for i in range(3)]
    assert not (tmp_path / "mlflow.db").exists()


def test_the_folder_of_the_yaml_is_used_unless_another_is_given(
    unpacked: Options, folder_of_files: Path, tmp_path: Path
) -> None:
    keys = {"TRAINING_DATA_FOLDER": str(folder_of_files)}
    assert lineage_of(train(unpacked(keys=keys)))["num_files_used"] == 3
    write_training_file(tmp_path / "other" / "training_data_9.pickle", seed=9)
    result = train(unpacked(keys=keys, training_data_folder=tmp_path / "other"))
    assert lineage_of(result)["actual_files_used"] == ["training_data_9.pickle"]


def test_a_folder_is_packed_once(
    unpacked: Options, folder_of_files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lanflow")
    for name in ("one", "two"):
        train(unpacked(training_data_folder=folder_of_files, network_name=name))
    assert caplog.text.count("packed 3 file(s)") == 1
    write_training_file(folder_of_files / "training_data_0.pickle", seed=8)
    train(unpacked(training_data_folder=folder_of_files, network_name="three"))
    assert caplog.text.count("packed 3 file(s)") == 2


@pytest.mark.parametrize("by", ["name", "id"])
def test_an_experiment_alone_is_trained_on(
    unpacked: Options, experiment_folders: tuple[str, list[Path]], store: Store, by: str
) -> None:
    name, folders = experiment_folders
    found = connect(store).get_experiment_by_name(name)
    result = train(
        unpacked(
            data_generation_experiment=name if by == "name" else found.experiment_id,
            mlflow_tracking_uri=store.uri,
        )
    )
    lineage = lineage_of(result)
    assert lineage["data_generation_experiment_id"] == found.experiment_id
    assert lineage["expected_num_runs"] == 2
    names = sorted(path.name for folder in folders for path in folder.iterdir())
    assert sorted(lineage["actual_files_used"]) == sorted(lineage["expected_files"]) == names
    run = connect(store).get_run(result["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.tags["data_generation_experiment_id"] == found.experiment_id
    (data_set,) = run.inputs.dataset_inputs
    assert json.loads(data_set.dataset.source)["experiment"]["name"] == name


def gather(folders: list[Path], target: Path) -> list[Path]:
    target.mkdir()
    return [
        path.rename(target / path.name) for folder in folders for path in sorted(folder.iterdir())
    ]


def test_with_a_folder_every_tracked_file_must_be_in_it(
    unpacked: Options,
    experiment_folders: tuple[str, list[Path]],
    store: Store,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    name, folders = experiment_folders
    files = gather(folders, tmp_path / "gathered")
    write_training_file(tmp_path / "gathered" / "extra.pickle", seed=9)
    given = unpacked(
        data_generation_experiment=name,
        training_data_folder=tmp_path / "gathered",
        mlflow_tracking_uri=store.uri,
    )
    lineage = lineage_of(train(given))
    assert sorted(lineage["actual_files_used"]) == sorted(path.name for path in files)
    assert lineage["extra_files"] == ["extra.pickle"]
    assert "1 file(s) that the experiment does not track" in caplog.text
    files[0].unlink()
    with pytest.raises(UserError) as caught:
        train(given)
    message = f"tracks 2 file(s), 1 missing from {tmp_path / 'gathered'}: {files[0].name}"
    assert message in str(caught.value)


def test_an_experiment_whose_folder_moved_is_found_with_a_path_map(
    unpacked: Options, experiment_folders: tuple[str, list[Path]], store: Store, tmp_path: Path
) -> None:
    name, folders = experiment_folders
    for folder in folders:
        folder.parent.rename(tmp_path / f"moved_{folder.parent.name}")
    given = unpacked(data_generation_experiment=name, mlflow_tracking_uri=store.uri)
    with pytest.raises(UserError, match=r"folders of 2 run\(s\) are not visible here"):
        train(given)
    path_map = {
        str(folder.parent): str(tmp_path / f"moved_{folder.parent.name}") for folder in folders
    }
    assert lineage_of(train(replace(given, path_map=path_map)))["num_files_used"] == 2


def test_an_experiment_without_runs_or_without_a_name_is_refused(
    unpacked: Options, store: Store
) -> None:
    ensure_experiment(connect(store), store, "empty")
    for name, message in (("empty", "has no run with files"), ("unknown", "is not in")):
        with pytest.raises(UserError, match=f"experiment '{name}'.* {message}"):
            train(unpacked(data_generation_experiment=name, mlflow_tracking_uri=store.uri))
    assert connect(store).get_experiment_by_name("ddm-training") is None


def test_data_of_another_model_is_refused(
    options: Options, unpacked: Options, folder_of_files: Path
) -> None:
    with pytest.raises(UserError, match="data of model 'ddm', but 'angle' is to be trained"):
        train(options(model="angle"))
    with pytest.raises(UserError, match="simulated from model 'ddm', but 'angle' is to be"):
        train(unpacked(model="angle", training_data_folder=folder_of_files))


def test_a_manifest_of_other_data_is_refused(options: Options, tmp_path: Path) -> None:
    given = options()
    assert given.manifest is not None
    manifest = json.loads(given.manifest.read_text())
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**manifest, "digest": "0" * 64}))
    with pytest.raises(
        UserError, match=r"other.json: digest is 000000000000\..*the manifest was changed"
    ):
        train(options(manifest=other))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data_set": None}, "--manifest belongs to --data-set"),
        ({"training_data_folder": Path("data")}, "--data-set takes the place of"),
        ({"data_generation_experiment": "1"}, "--data-set takes the place of"),
        ({"data_set": None, "manifest": None}, "no data: give --training-data-folder"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(
    options: Options, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        train(options(**given))


def test_a_dry_run_reads_everything_and_leaves_nothing(
    options: Options, tmp_path: Path, store: Store
) -> None:
    result = train(options(dry_run=True, mlflow_on=True, mlflow_tracking_uri=store.uri))
    assert result == {
        "status": "DRY_RUN",
        "network_folder": str(tmp_path / "networks" / "lan" / "ddm" / "net"),
        "n_train_rows": 480,
        "n_val_rows": 120,
        "n_weights": 65,
        "tracked": True,
    }
    assert not (tmp_path / "networks").exists()
    assert connect(store).get_experiment_by_name("ddm-training") is None
    with pytest.raises(UserError, match="LAYER_SIZES"):
        train(options(dry_run=True, keys={"LAYER_SIZES": [[8, 3]]}))


def test_without_a_configuration_lanfactorys_own_is_used(
    options: Options, caplog: pytest.LogCaptureFixture
) -> None:
    result = train(options(config_path=None, dry_run=True))
    assert result["n_weights"] == (6 + 1) * 100 + 2 * 101 * 100 + 101
    assert "no --config-path given; using LANfactory's default configuration" in caplog.text


def test_a_model_and_a_network_can_be_chosen(options: Options) -> None:
    keys = {"LAYER_SIZES": [[8, 1], [5, 1]], "ACTIVATIONS": [["tanh"], ["relu"]], "MODEL": None}
    result = train(options(keys=keys, model="ddm", network_id=1, dry_run=True))
    assert result["n_weights"] == 7 * 5 + 6
    with pytest.raises(UserError, match="missing key 'MODEL'"):
        train(options(keys=keys))
    with pytest.raises(UserError, match="network id 2 is out of range"):
        train(options(keys=keys, model="ddm", network_id=2))


def test_without_an_export_there_is_no_onnx_and_the_rest_is_there(options: Options) -> None:
    result = train(options(export_onnx=False))
    assert result["onnx"] is None
    folder = Path(result["network_folder"])
    assert (folder / "card.json").exists()
    assert not (folder / "model.onnx").exists()


def test_a_network_without_a_name_has_a_folder_of_its_own(options: Options) -> None:
    first, second = (train(options(network_name=None)) for _ in range(2))
    assert first["run_uuid"] != second["run_uuid"]
    assert Path(first["network_folder"]).name == first["run_uuid"]
    assert Path(second["network_folder"]).is_dir()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_training_twice_gives_the_same_network(options: Options, backend: str) -> None:
    contents = [
        Path(train(options(backend=backend, network_name=name))["onnx"]).read_bytes()
        for name in ("one", "two")
    ]
    assert contents[0] == contents[1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_that_is_not_installed_is_named(
    options: Options, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, f"lanflow.training.backends.{backend}", raising=False)
    monkeypatch.setitem(sys.modules, backend, None)
    with pytest.raises(
        UserError, match=rf"^{backend}train needs {backend}; install lanflow\[{backend}\]$"
    ):
        train(options(backend=backend))


def test_batches_are_of_the_devices_size_and_never_larger_than_the_data(
    packed: PackedData,
) -> None:
    backend = make_backend("torch")
    for wanted, used in ((64, 64), (5000, 480)):
        config = training_config(CPU_BATCH_SIZE=wanted, GPU_BATCH_SIZE=7)
        assert plan_job(config, packed.data_set, backend).batch_size == used
    backend.uses_gpu = True
    config = training_config(CPU_BATCH_SIZE=64, GPU_BATCH_SIZE=7)
    assert plan_job(config, packed.data_set, backend).batch_size == 7


def test_the_configuration_file_may_be_damaged(options: Options, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump({**TRAINING_YAML, "LEARNING_RAET": 0.1}))
    with pytest.raises(UserError, match=f"{path}: unknown key 'LEARNING_RAET'"):
        train(options(config_path=path))
    with pytest.raises(UserError, match="no such file"):
        train(options(config_path=tmp_path / "nowhere.yaml"))


def options_of(**keys: Any) -> TrainingOptions:
    return TrainingOptions(backend="jax", networks_path_base=Path("networks"), **keys)


@pytest.mark.parametrize(
    "keys",
    [
        {"mlflow_on": True},
        {"mlflow_run_id": "abc"},
        {"mlflow_run_name": "first try"},
        {"data_generation_experiment": "1"},
    ],
    ids=lambda keys: next(iter(keys)),
)
def test_some_options_switch_tracking_on(keys: dict[str, Any]) -> None:
    assert options_of(**keys).is_tracked


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"mlflow_tracking_uri": "sqlite:///mlflow.db"},
        {"mlflow_artifact_location": "artifacts"},
        {"mlflow_experiment_name": "tries"},
        {"training_data_folder": Path("data")},
    ],
    ids=lambda keys: next(iter(keys), "nothing"),
)
def test_other_options_do_not(keys: dict[str, Any]) -> None:
    assert not options_of(**keys).is_tracked


def test_without_tracking_the_rest_stays() -> None:
    tracked = options_of(mlflow_on=True, mlflow_run_name="first try", seed=7)
    assert tracked.without_tracking() == options_of(seed=7)
