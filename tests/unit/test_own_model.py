"""A model of one's own, from its definition to the bundle; one of each kind, by real commands."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lanflow
from lanflow.cli.main import main
from lanflow.data.generation import generate as generation
from lanflow.evaluation.hssm.gate import hssm_gate
from lanflow.models.models_file import _run_here
from lanflow.models.simulators import find_model
from lanflow.models.sources import make_density
from lanflow.networks.network import Network
from tests.evaluated import write_evaluation
from tests.own_models import TEXT, models_file, write_models_file

KINDS = {"exp_ramp": "solver", "lognormal_race": "kde"}


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Data and a network of one model, and the models file."""
    folder = tmp_path_factory.mktemp(request.param)
    file = write_models_file(folder)
    data = lanflow.generate(
        request.param,
        models_file=file,
        n_sets=24,
        rows_per_set=40,
        n_simulations=500,
        delta_t=0.005,
        n_processes=1,
        folder=folder / "data",
    )
    net = lanflow.train(
        data, backend="torch", layers=(8,), epochs=2, batch_size=64, threads=1, folder=folder
    )
    return data, net, file


@pytest.fixture
def another_process() -> Any:
    """As in a process in which nobody has named the models file yet."""
    kept = dict(_run_here)
    _run_here.clear()
    yield
    _run_here.update(kept)


def test_labels_are_the_best_that_there_are(made: Any) -> None:
    data, _, _ = made
    assert data.label_source == KINDS[data.model]
    if data.label_source == "kde":
        return
    model = find_model(data.model, models_file())
    features, labels = (np.asarray(data.array("lan", kind)) for kind in ("features", "labels"))
    row = int(np.flatnonzero(features[:, -2] > features[:, 3] + 0.1)[0])
    theta = dict(zip(data.parameters, features[row].astype(float).tolist(), strict=False))
    known = make_density("solver", model, theta, 20.0).evaluate(
        features[row, -2], features[row, -1]
    )
    assert labels[row, 0] == pytest.approx(known[0], abs=1e-4)


def test_every_record_has_the_file_that_defines_the_model(made: Any, tmp_path: Path) -> None:
    data, net, file = made
    record = {"name": "my_model.py", "sha256": models_file().sha256, "text": TEXT}
    manifest = json.loads((data.folder.parent / "manifest.json").read_text())
    card = json.loads((net.folder / "card.json").read_text())
    for content in (manifest, card):
        assert content["definition"]["models_file"] == record
    assert (net.folder / "models_file.py").read_text() == file.read_text()


def test_it_is_evaluated_drawn_recovered_and_bundled(made: Any, tmp_path: Path) -> None:
    _, net, file = made
    own, folder = ["--models-file", str(file)], str(net.folder)
    evaluation = net.folder / "evaluation.json"
    few = ["--n-sets", "3", "--rows", "20", "--n-simulated-sets", "2"]
    assert (
        main(["evaluate", folder, *own, *few, "--output", str(evaluation)]) == 3
    )  # it hardly trained
    record = json.loads(evaluation.read_text())
    assert record["reference"]["source"] == KINDS[net.model_name]
    assert record["verdict"] == "failed"  # two epochs are no training
    assert main(["plot", folder, *own, "--draws", "3"]) == 0
    recovery = ["--output", str(tmp_path / "r.json"), "--n-subjects", "2", "--n-trials", "20"]
    method = ["--method", "maximum-likelihood", "--processes", "1"]
    assert main(["recover", folder, *own, *recovery, *method]) == 0
    assert main(["bundle", folder, "--output", str(tmp_path / "bundle")]) == 0
    inner = tmp_path / "bundle" / "lan" / net.model_name
    assert (inner / "models_file.py").read_text() == TEXT
    readme = (tmp_path / "bundle" / "README.md").read_text()
    model = find_model(net.model_name, models_file())
    assert f'model="{net.model_name}"' in readme
    assert f'"list_params": {list(model.parameters)!r}' in readme
    assert f'"choices": {model.choices!r}' in readme
    assert "`models_file.py` beside `card.json`" in readme


@pytest.mark.usefixtures("another_process")
def test_without_the_file_what_needs_no_model_is_judged(made: Any, tmp_path: Path) -> None:
    _, net, _ = made
    network = Network.from_folder(net.folder)
    result = lanflow.evaluate(network, n_simulated_sets=2)
    gates = {gate.name: gate for gate in result.gates}
    assert result.verdict == "not judged"
    assert gates["structure"].verdict == gates["parity"].verdict == "passed"
    assert set(gates["density"].numbers) == {"mean_mass_error", "max_mass_error"}
    assert result.scores is None
    reason = gates["accuracy"].reason
    assert f"model '{net.model_name}' is defined in a models file, my_model.py" in reason
    assert "bring it in with --models-file" in reason
    assert lanflow.plot(network, "error").png().startswith(b"\x89PNG")
    alone = Network.from_onnx(
        net.folder / "model.onnx", model=net.model_name, card_path=net.folder / "card.json"
    )
    assert lanflow.evaluate(alone, n_simulated_sets=2).verdict == "not judged"
    again = Network.from_folder(net.folder, models_file=models_file())
    assert again.model.name == net.model_name
    write_evaluation(net.folder)


@pytest.mark.usefixtures("another_process")
def test_commands_that_need_the_file_say_how_to_bring_it_in(
    made: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, net, _ = made
    options = [str(net.folder), "--output", str(tmp_path / "r.json")]
    assert main(["recover", *options]) == 1
    assert "which is not at hand; bring it in with --models-file" in caplog.text
    other = write_models_file(tmp_path, TEXT.replace("1 + k * t", "1 - k * t"))
    assert main(["recover", *options, "--models-file", str(other)]) == 1
    assert f"{other}: is not the file that defined model '{net.model_name}'" in caplog.text
    assert not (tmp_path / "r.json").exists()


def test_other_text_is_another_chunk(tmp_path: Path) -> None:
    """Files of an interrupted try are kept by name: a changed model must not find them."""
    from lanflow.data.generation.config import GenerationConfig
    from lanflow.data.generation.plan import ChunkPlan
    from tests.unit.data.generation.test_run import GENERATION_YAML

    config = GenerationConfig.model_validate({**GENERATION_YAML, "MODEL": "exp_ramp"})
    files = [models_file(), models_file(TEXT + "# changed\n")]
    plans = [ChunkPlan(config.with_models_file(file), 1, 0, 1) for file in files]
    assert len({plan.file_name(0) for plan in plans}) == len({plan.batch_id for plan in plans}) == 2
    ddm = GenerationConfig.model_validate(GENERATION_YAML)
    assert ddm.with_models_file(models_file()).digest == ddm.digest


def test_worker_processes_load_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "HEAD_START", 0.0)
    both = []
    for n_processes in (1, 2):
        data = lanflow.generate(
            "lognormal_race",
            models_file=write_models_file(tmp_path),
            n_sets=3,
            rows_per_set=20,
            n_simulations=200,
            n_processes=n_processes,
            folder=tmp_path / str(n_processes),
        )
        both.append([file.sha256 for file in data.files])
        shutil.rmtree(tmp_path / str(n_processes))
    assert both[0] == both[1]


@pytest.mark.usefixtures("another_process")
def test_the_gate_of_hssm_needs_no_simulator(made: Any) -> None:
    _, net, _ = made
    gate = hssm_gate(Network.from_folder(net.folder), python="python3", seed=1)
    assert gate.verdict == "skipped"
