"""The steps of a study as functions, as a notebook calls them; on real data and networks."""

import subprocess
import sys
from pathlib import Path

import matplotlib.figure
import numpy as np
import pytest

import lanflow
from lanflow.core.errors import UsageError
from lanflow.networks import folder as network_folder
from lanflow.training.config import DEFAULT_PATH, read_training_file
from tests.conftest import REPOSITORY
from tests.networks import FIXTURES
from tests.own_models import write_models_file
from tests.readme import blocks
from tests.unit.report.test_html import Tables

SMALL = {"layers": (8,), "epochs": 2, "batch_size": 64, "threads": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> lanflow.DataSet:
    folder = tmp_path_factory.mktemp("ddm")
    return lanflow.generate(
        "ddm", n_sets=40, rows_per_set=50, labels="auto", seed=1, n_processes=1, folder=folder
    )


@pytest.fixture(scope="module")
def net(data: lanflow.DataSet, tmp_path_factory: pytest.TempPathFactory) -> lanflow.Network:
    folder = tmp_path_factory.mktemp("networks")
    return lanflow.train(data, network="lan", backend="jax", folder=folder, **SMALL)


def test_generated_data_is_a_data_set_with_the_best_labels(data: lanflow.DataSet) -> None:
    assert (data.model, data.n_sets, data.label_source) == ("ddm", 40, "analytic")
    assert data.shapes["lan"][0] == 40 * 50
    again = lanflow.read_data(data.folder)
    assert again == data
    files = data.folder.parent / "generation" / "training_data"
    assert lanflow.read_data(files, model="ddm").digest == data.digest


def test_simulated_trials_are_as_hssm_takes_them_and_of_the_parameters_that_were_named(
    tmp_path: Path,
) -> None:
    ddm = {"v": 1.0, "a": 1.5, "z": 0.5, "t": 0.3}
    trials = lanflow.simulate("ddm", 200, **ddm, seed=3)
    assert list(trials.columns) == ["rt", "response"]
    assert trials.rt.min() > 0.3
    assert set(trials.response) == {-1.0, 1.0}
    assert trials.equals(lanflow.simulate("ddm", 200, t=0.3, z=0.5, a=1.5, v=1.0, seed=3))
    assert not trials.equals(lanflow.simulate("ddm", 200, **ddm, seed=4))
    own = {"m0": 0.0, "m1": 0.0, "sigma": 0.3, "t": 0.2}
    race = lanflow.simulate("lognormal_race", 50, models_file=write_models_file(tmp_path), **own)
    assert set(race.response) == {0.0, 1.0}
    with pytest.raises(lanflow.UserError, match=r"ddm takes v, a, z, t; given were v, a, z$"):
        lanflow.simulate("ddm", 10, v=1.0, a=1.5, z=0.5)
    with pytest.raises(lanflow.UserError, match="n_trials must be at least 1, got 0"):
        lanflow.simulate("ddm", 0, **ddm)


def test_a_trained_network_is_called_evaluated_and_drawn(net: lanflow.Network) -> None:
    values = net.log_likelihood(rt=[0.5, 0.8], choice=[1, -1], v=1.0, a=1.5, z=0.5, t=0.3)
    assert values.shape == (2,)
    assert np.isfinite(values).all()
    assert net.own_card.layer_sizes == [8, 1]
    result = lanflow.evaluate(net, n_sets=20, rows=20, n_simulated_sets=2)
    assert result.verdict == "failed"  # two epochs are no training
    assert result.summary().endswith("verdict: failed")
    assert (net.own_folder / network_folder.EVALUATION).exists()
    figure = lanflow.plot(net, "error")
    assert isinstance(figure, matplotlib.figure.Figure)
    picture = figure.png()
    assert picture.startswith(b"\x89PNG")
    # The scores of the evaluation are drawn, not others.
    (net.own_folder / network_folder.SCORES).unlink()
    lanflow.evaluate(net, n_sets=10, rows=20, n_simulated_sets=2)
    assert lanflow.plot(net, "error").png() != picture


def test_objects_show_themselves_in_a_notebook(
    data: lanflow.DataSet, net: lanflow.Network, tmp_path: Path
) -> None:
    shown = Tables(data._repr_html_())
    assert ["parameter sets", "40"] in shown.rows
    assert ["v", "-3", "3"] in shown.rows
    shown = Tables(net._repr_html_())
    assert "ddm lan (jax)" in shown.text
    assert ["trained on", "2,000 rows of 40 parameter sets"] in shown.rows
    alone = lanflow.load(net.path, model="ddm")
    assert Tables(alone._repr_html_()).rows[1] == ["file", str(net.path)]
    result = lanflow.evaluate(alone, n_sets=10, rows=20, n_simulated_sets=2)
    shown = Tables(result._repr_html_())
    assert shown.open == []
    assert {row[0] for row in shown.rows} >= {"structure", "accuracy", "mean absolute error"}
    assert "failed" in shown.text


def test_objects_show_themselves_in_one_line_of_a_terminal(
    data: lanflow.DataSet, net: lanflow.Network
) -> None:
    rows = "2,000 lan rows, 40 cpn rows, 40 opn rows, 40 gonogo rows of 40 parameter sets"
    assert repr(data) == f"<DataSet ddm: {rows}, {data.folder}>"
    assert repr(net) == f"<Network ddm lan: layers {net.own_card.layer_sizes}, {net.path}>"
    alone = lanflow.load(net.path, model="ddm")
    assert repr(alone) == f"<Network ddm lan: {net.path}>"
    result = lanflow.evaluate(alone, n_sets=10, rows=20, n_simulated_sets=2)
    assert result.scores is not None
    score = f"{result.scores.mean_abs_error:.3g}"
    assert repr(result) == f"<Evaluation ddm lan: failed, mean |error| {score}>"
    assert str(result) == result.summary()


def test_a_network_comes_back_from_its_folder_or_its_file(net: lanflow.Network) -> None:
    loaded = lanflow.load(net.own_folder)
    assert loaded.sha256 == net.sha256
    assert loaded.bounds == net.bounds
    alone = lanflow.load(net.path, model="ddm", card=net.own_folder / network_folder.CARD)
    assert alone.bounds == net.bounds
    assert alone.folder is None
    with pytest.raises(UsageError, match=r"model.onnx: give model="):
        lanflow.load(net.path)
    with pytest.raises(lanflow.UserError, match="takes 6 inputs, but a lan network of angle"):
        lanflow.load(net.path, model="angle")


def test_the_same_call_gives_the_same_bytes(data: lanflow.DataSet, net: lanflow.Network) -> None:
    assert lanflow.train(data, **SMALL).sha256 == net.sha256
    other = lanflow.train(data, **SMALL, seed=2)
    assert other.sha256 != net.sha256
    cpn = lanflow.train(data, network="cpn", backend="torch", **SMALL)
    assert cpn.log_probability(v=1.0, a=1.5, z=0.5, t=0.3).shape == (1,)


def test_training_goes_on_from_a_network_with_its_layers(
    data: lanflow.DataSet, net: lanflow.Network
) -> None:
    again = lanflow.train(data, backend="torch", start_from=net, epochs=1)
    assert again.own_card.layer_sizes == net.own_card.layer_sizes
    assert again.own_card.started_from is not None
    assert again.own_card.started_from.onnx_sha256 == net.sha256


def test_what_is_left_out_is_as_in_the_default_yaml(data: lanflow.DataSet) -> None:
    net = lanflow.train(data, epochs=1, weight_decay=0.01)
    file = read_training_file(DEFAULT_PATH)
    assert net.own_card.layer_sizes == file.layer_sizes[0]
    config = (net.own_folder / network_folder.CONFIG).read_text()
    assert f'"learning_rate": {file.learning_rate}' in config
    assert '"weight_decay": 0.01' in config


def test_wishes_that_cannot_be_met_are_told_in_a_line(
    data: lanflow.DataSet, tmp_path: Path
) -> None:
    with pytest.raises(lanflow.UserError, match="did you mean 'ddm'"):
        lanflow.generate("dmd", n_sets=2, rows_per_set=10)
    with pytest.raises(lanflow.UserError, match="n_sets must be at least 1, got 0"):
        lanflow.generate("ddm", n_sets=0, rows_per_set=10)
    with pytest.raises(lanflow.UserError, match=r"train: unknown key 'LEARNING_RAT'"):
        lanflow.train(data, learning_rat=0.1)
    with pytest.raises(lanflow.UserError, match="activations go with layers"):
        lanflow.train(data, activations=("relu",))
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(lanflow.UserError, match=r"thesis\.txt"):
        lanflow.generate("ddm", n_sets=2, rows_per_set=10, folder=tmp_path)
    network = lanflow.load(FIXTURES / "ddm_lan.onnx", model="ddm")
    with pytest.raises(UsageError, match=r"no figure 'errors' \(accepted: density, sweep, error"):
        lanflow.plot(network, "errors")  # type: ignore[arg-type]


def test_importing_lanflow_loads_nothing_and_every_public_name_is_there() -> None:
    program = (
        "import sys; before = set(sys.modules); import lanflow; "
        "new = {m.partition('.')[0] for m in set(sys.modules) - before}; "
        "print(sorted(new - set(sys.stdlib_module_names)), 'lanflow.api' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert done.stdout.strip() == "['lanflow'] False"
    for name in lanflow.__all__:
        assert getattr(lanflow, name).__doc__
    assert set(lanflow.__all__) <= set(dir(lanflow))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lanflow.nothing


@pytest.mark.slow
def test_a_script_needs_no_guard_for_processes(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import lanflow.data.generation.generate as g\n"
        "g.HEAD_START = 0\n"
        "import lanflow\n"
        f"data = lanflow.generate('ddm', n_sets=6, rows_per_set=10, n_processes=2, "
        f"folder={str(tmp_path / 'out')!r})\n"
        "print('sets', data.n_sets)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "sets 6" in done.stdout


def test_the_readmes_notebook_runs_as_printed_but_for_its_size(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (code,) = (block for block in blocks("python") if "lanflow.generate" in block)
    for large, small in {"2_000": "40", "1_000": "50", "epochs=20": "epochs=1"}.items():
        assert large in code
        code = code.replace(large, small)
    exec(compile(code, "README.md", "exec"), {})
    assert "verdict: failed" in capsys.readouterr().out
