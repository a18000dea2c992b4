import json
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanflow.cli.main import main
from lanflow.core.errors import UserError
from lanflow.core.settings import parse_settings
from lanflow.data.dataset import DataSet, open_data_set
from lanflow.data.generation.config import GenerationConfig
from lanflow.data.generation.generate import generate_chunk
from lanflow.data.generation.plan import ChunkPlan
from lanflow.data.locate import Places
from lanflow.data.packing import materialise
from lanflow.data.prepare import freeze
from lanflow.data.relabel import group_by_vector, relabel_source, relabeller
from lanflow.data.training_file import TrainingFileContent, read_training_file
from lanflow.models.analytic import choice_probability
from lanflow.models.simulators import find_model
from lanflow.models.sources import make_density
from tests.conftest import training_file_content, write_training_file
from tests.own_models import models_file

FLOOR = np.float32(-66.77497)


def generated(folder: Path, source: str, *, model: str = "ddm") -> Path:
    """Folder of two files of a model with labels of a source."""
    yaml = {
        "MODEL": model,
        "PIPELINE": {"N_PARAMETER_SETS": 4},
        "SIMULATOR": {"N_SAMPLES": 300, "DELTA_T": 0.005},
        "TRAINING": {"N_SAMPLES_PER_PARAM": 50},
        "ESTIMATOR": {"TYPE": source},
    }
    config = parse_settings(GenerationConfig, yaml, "generation.yaml")
    plan = ChunkPlan(config=config, seed=1, chunk=0, n_files=2)
    generate_chunk(plan, folder, n_processes=1)
    return folder / "training_data"


@pytest.fixture(scope="module")
def kde(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generated(tmp_path_factory.mktemp("kde"), "kde")


def packed(files: Path, folder: Path, relabel: str | None, **keys: Any) -> DataSet:
    manifest = freeze(query=None, places=Places(folder=files), model=None, relabel=relabel)
    return materialise(manifest, folder, **keys)


def expected_labels(data_set: DataSet, kind: str, source: Any = "analytic") -> np.ndarray:
    """Labels of the rows by the density itself, one row after another."""
    out = []
    description = find_model(data_set.model)
    for row in np.asarray(data_set.array(kind, "features")):
        theta = dict(zip(data_set.parameters, row.astype(float).tolist(), strict=False))
        density = make_density(source, description, theta, 20.0)
        out.append(density.evaluate(row[-2:-1], row[-1:])[0])
    return np.array(out, np.float32)[:, None]


def test_relabelled_data_has_the_same_rows_and_the_labels_of_the_density(
    kde: Path, tmp_path: Path
) -> None:
    as_it_is = packed(kde, tmp_path / "as_it_is", None)
    exact = packed(kde, tmp_path / "exact", "analytic")
    for kind in ("lan", "cpn", "opn", "gonogo"):
        for what in ("features", "sets"):
            np.testing.assert_array_equal(exact.array(kind, what), as_it_is.array(kind, what))
    np.testing.assert_array_equal(exact.array("lan", "labels"), expected_labels(exact, "lan"))
    difference = np.abs(exact.array("lan", "labels") - as_it_is.array("lan", "labels"))
    assert (difference > 0.01).mean() > 0.2
    assert (as_it_is.label_source, exact.label_source) == ("kde", "analytic")
    assert open_data_set(tmp_path / "exact").label_source == "analytic"


def test_labels_of_choices_are_of_the_same_density(kde: Path, tmp_path: Path) -> None:
    data_set = packed(kde, tmp_path / "exact", "auto")
    theta = np.asarray(data_set.array("cpn", "features")).astype(float)
    upper = np.array([[choice_probability(v, a, z)] for v, a, z, _ in theta])
    np.testing.assert_allclose(data_set.array("cpn", "labels"), upper, atol=1e-5)
    np.testing.assert_allclose(data_set.array("gonogo", "labels"), 1 - upper, atol=1e-5)
    assert not np.any(data_set.array("opn", "labels"))


def test_exact_labels_of_lanflow_stay_what_they_are(tmp_path: Path) -> None:
    files = generated(tmp_path / "made", "analytic", model="angle_deadline")
    as_it_is = packed(files, tmp_path / "as_it_is", None)
    again = packed(files, tmp_path / "again", "analytic")
    # ssm-simulators' mixture calls the first tenth of a millisecond negative, too.
    later = np.asarray(as_it_is.array("lan", "features"))[:, -2] > 1e-4
    for kind in ("lan", "cpn", "opn", "gonogo"):
        rows = later if kind == "lan" else slice(None)
        np.testing.assert_array_equal(
            again.array(kind, "labels")[rows], as_it_is.array(kind, "labels")[rows]
        )


@pytest.mark.slow
def test_two_processes_give_the_same_labels_as_one(kde: Path, tmp_path: Path) -> None:
    one, two = (packed(kde, tmp_path / str(n), "solver", n_processes=n) for n in (1, 2))
    for kind in ("lan", "cpn", "opn", "gonogo"):
        np.testing.assert_array_equal(one.array(kind, "labels"), two.array(kind, "labels"))
    assert two.label_source == "solver"
    np.testing.assert_array_equal(two.array("lan", "labels"), expected_labels(two, "lan", "solver"))


def file_of(content: dict[str, Any]) -> TrainingFileContent:
    return read_training_file(pickle.dumps(content), Path("f.pickle"))


def relabelled(content: dict[str, Any], source: Any = "analytic") -> TrainingFileContent:
    with relabeller(source, n_processes=1) as relabel:
        return relabel(file_of(content), Path("f.pickle"))


def test_rows_before_zero_and_behind_the_deadline_are_at_the_floor() -> None:
    content = training_file_content(model="ddm_deadline", n_sets=3, n_per_set=8)
    config = content["model_config"]
    config["params"] = [*config["params"], "deadline"]
    config["param_bounds"] = [
        [*row, end] for row, end in zip(config["param_bounds"], (0.001, 10), strict=True)
    ]
    deadline = np.full((3, 1), 1.5, "f4")
    theta = np.hstack([content["theta"], deadline])
    for kind in ("cpn", "opn", "gonogo"):
        content[f"{kind}_data"] = theta
    trials = content["lan_data"][:, 4:]
    trials[:, 0] = np.tile([-999, -0.5, -1e-5, 1.499, 1.5, 1.6, 1.4, 3], 3)
    content["lan_data"] = np.hstack([np.repeat(theta, 8, axis=0), trials]).astype("f4")
    labels = relabelled(content).arrays["lan"][1].reshape(3, 8)
    assert (labels[:, [0, 1, 2, 4, 5, 7]] == FLOOR).all()
    assert (labels[:, [3, 6]] > FLOOR).any()
    content["generator_config"] = {"training": {"negative_rt_log_likelihood": -50}}
    labels = relabelled(content).arrays["lan"][1].reshape(3, 8)
    assert (labels[:, :3] == -50).all()


def test_the_longest_decision_is_what_the_file_says() -> None:
    content = training_file_content(model="weibull", n_sets=1, n_per_set=6)
    config = content["model_config"]
    config["params"] = [*config["params"], "alpha", "beta"]
    theta = np.array([[0.0, 2.5, 0.5, 0.1, 5.0, 6.9]], "f4")
    for kind in ("cpn", "opn", "gonogo"):
        content[f"{kind}_data"] = theta
    trials = np.array([[0.5, 1], [1, -1], [2, 1], [2.05, 1], [3, 1], [4, -1]], "f4")
    content["lan_data"] = np.hstack([np.repeat(theta, 6, axis=0), trials])
    for settings in ({"simulator": {"max_t": 2}}, {"max_t": 2}):
        content["generator_config"] = settings
        labels = relabelled(content, "solver").arrays["lan"][1].ravel()
        assert (labels[:4] > FLOOR).all()
        assert (labels[4:] == FLOOR).all()
    content["generator_config"] = {}
    assert (relabelled(content, "solver").arrays["lan"][1] > FLOOR).all()


@pytest.mark.parametrize(
    ("asked", "model", "source"),
    [
        ("auto", "ddm", "analytic"),
        ("auto", "weibull_deadline", "solver"),
        ("solver", "ddm", "solver"),
        ("analytic", "angle", "analytic"),
    ],
)
def test_auto_takes_the_better_there_is(asked: str, model: str, source: str) -> None:
    assert relabel_source(asked, model) == source


@pytest.mark.parametrize(
    ("asked", "model", "said"),
    [
        ("auto", "lca_3", "relabel: model 'lca_3' has neither an analytic likelihood nor one that"),
        ("analytic", "weibull", "relabel: no analytic likelihood is known for model 'weibull'"),
        ("solver", "lba3", "relabel: the solver is for one particle between two boundaries"),
        ("auto", "dmm", "relabel: model 'dmm' is not one of the"),
    ],
)
def test_a_source_that_a_model_has_not_is_refused(
    folder_of_files: Path, asked: str, model: str, said: str
) -> None:
    with pytest.raises(UserError) as caught:
        freeze(query=None, places=Places(folder=folder_of_files), model=model, relabel=asked)
    assert str(caught.value).startswith(said)


@pytest.mark.usefixtures("without_ssms")
def test_a_generator_that_is_not_installed_is_named() -> None:
    with pytest.raises(UserError, match=r"^relabelling data needs ssms\S*; install lanflow\[gen"):
        relabel_source("auto", "ddm")


def with_changes(**keys: Any) -> dict[str, Any]:
    return {**training_file_content(n_sets=2, n_per_set=3), **keys}


def test_what_cannot_be_relabelled_is_refused_naming_the_file() -> None:
    content = training_file_content(n_sets=2, n_per_set=3)
    odd, outside = content["lan_data"].copy(), content["lan_data"].copy()
    odd[4, 5] = 2
    outside[3:, 1] = np.float32(-1.5)
    names = {**content["model_config"], "params": ["v", "a", "w", "t"]}
    for changed, said in (
        ({"lan_data": odd}, "lan_data holds the choice 2; to relabel it, choices must be -1 and 1"),
        ({"lan_data": outside}, "ddm has no analytic density at v "),
        ({"model_config": names}, "parameters v, a, w, t; to relabel it they must be those of ddm"),
        (
            {"cpn_labels": np.ones((2, 3))},
            "cpn_labels has 3 columns; to relabel",
        ),
    ):
        with pytest.raises(UserError) as caught:
            relabelled(with_changes(**changed))
        assert str(caught.value).startswith(f"f.pickle: {said}")


@pytest.mark.parametrize(("model", "source"), [("lba3", "analytic"), ("race_no_z_3", "solver")])
def test_data_of_several_choices_get_the_labels_of_their_race(
    model: str, source: str, tmp_path: Path
) -> None:
    data_set = packed(generated(tmp_path / "made", "kde", model=model), tmp_path / "set", "auto")
    assert data_set.label_source == source
    rows = np.asarray(data_set.array("lan", "features"))
    labels = np.asarray(data_set.array("lan", "labels"))
    before = rows[:, -2] < 0
    expected = expected_labels(data_set, "lan", source)
    np.testing.assert_allclose(labels[~before], expected[~before], rtol=1e-6)
    shares = np.asarray(data_set.array("cpn", "labels"))
    assert shares.shape == (8, 3)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-4)


def test_parameters_in_another_order_are_told_apart_by_name() -> None:
    content = training_file_content(n_sets=2, n_per_set=3)
    labels = relabelled(content).arrays["lan"][1]
    order = [3, 0, 2, 1]
    config = content["model_config"]
    turned = {
        key: content[key][:, [*order, 4, 5][: content[key].shape[1]]]
        for key in ("lan_data", "cpn_data", "opn_data", "gonogo_data")
    }
    names = [config["params"][i] for i in order]
    again = relabelled({**content, **turned, "model_config": {**config, "params": names}})
    np.testing.assert_array_equal(again.arrays["lan"][1], labels)


def test_rows_of_a_vector_belong_together_wherever_they_stand() -> None:
    theta = np.array([[1, 2], [1, 2], [0, 5], [1, 2], [0, 5], [3, 3]], "f4")
    groups = [rows.tolist() for rows in group_by_vector(theta)]
    assert sorted(groups) == [[0, 1, 3], [2, 4], [5]]


def test_a_relabelled_manifest_says_so_and_is_another_data_set(folder_of_files: Path) -> None:
    places = Places(folder=folder_of_files)
    plain, analytic, auto, solver = (
        freeze(query=None, places=places, model="ddm", relabel=relabel)
        for relabel in (None, "analytic", "auto", "solver")
    )
    assert [m.relabel for m in (plain, analytic, solver)] == [None, "analytic", "solver"]
    assert auto == analytic
    assert len({m.digest for m in (plain, analytic, solver)}) == 3
    assert plain == analytic.model_copy(update={"digest": plain.digest, "relabel": None})


def test_the_commands_freeze_relabel_and_verify(
    kde: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    manifest, data_set = str(tmp_path / "manifest.json"), str(tmp_path / "data_set")
    command = ["manifest", "--folder", str(kde), "--relabel", "auto", "--output", manifest]
    assert main([*command, "--json"]) == 0
    command = ["materialise", manifest, "--output", data_set, "--processes", "1", "--json"]
    with caplog.at_level(logging.INFO, logger="lanflow"):
        assert main(command) == 0
    assert main(["verify", manifest, "--json"]) == 0
    digests = [json.loads(line)["digest"] for line in capsys.readouterr().out.splitlines()]
    assert len(digests) == 3
    assert len(set(digests)) == 1
    record = json.loads((tmp_path / "data_set" / "data_set.json").read_text())
    assert record["label_source"] == "analytic"
    assert json.loads(Path(manifest).read_text())["generator"]["estimator"]["label_source"] == "kde"


def test_files_keep_their_labels_where_nothing_else_is_asked(tmp_path: Path) -> None:
    path = write_training_file(tmp_path / "a.pickle")
    file = read_training_file(path.read_bytes(), path)
    with relabeller(None, n_processes=2) as relabel:
        assert relabel(file, path) is file


def test_a_file_of_a_variant_that_kept_its_name_is_not_relabelled(
    kde: Path, tmp_path: Path
) -> None:
    files = tmp_path / "variant"
    files.mkdir()
    for path in kde.iterdir():
        content = pickle.loads(path.read_bytes())
        content["model_config"] |= {"boundary_name": "mine", "boundary_params": ["a"]}
        (files / path.name).write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=r"boundary 'mine' instead of 'constant'.*--models-file"):
        freeze(query=None, places=Places(folder=files), model="ddm", relabel="analytic")
    manifest = freeze(query=None, places=Places(folder=files), model="ddm")
    assert manifest.definition is not None
    assert manifest.definition.boundary == "mine"
    assert manifest.digest != freeze(query=None, places=Places(folder=kde), model="ddm").digest
    # Its files are no part of a data set of the model whose name they have.
    path = next(files.iterdir())
    file = read_training_file(path.read_bytes(), path)
    with (
        relabeller("analytic", n_processes=1) as relabel,
        pytest.raises(UserError, match="is named 'ddm', but is not that of ssm-simulators"),
    ):
        relabel(file, path)


def test_a_models_file_brings_the_model_of_such_files_in(kde: Path, tmp_path: Path) -> None:
    files = tmp_path / "variant"
    files.mkdir()
    for path in kde.iterdir():
        content = pickle.loads(path.read_bytes())
        content["model_config"] |= {"name": "half", "boundary_name": "half"}
        (files / path.name).write_bytes(pickle.dumps(content))
    file = models_file(
        "def half(t, a): return a / 2 + 0 * t\n"
        'MODEL = {"name": "half", "params": ["v", "a", "z", "t"], "boundary": half,\n'
        '  "param_bounds": [[-3, 0.3, 0.1, 0], [3, 2.5, 0.9, 2]]}\n'
    )
    places = Places(folder=files)
    manifest = freeze(query=None, places=places, model="half", relabel="solver", models_file=file)
    made = materialise(manifest, tmp_path / "made", models_file=file)
    features, labels = (np.asarray(made.array("lan", kind)) for kind in ("features", "labels"))
    row = int(np.flatnonzero(labels[:, 0] > -5)[0])
    theta = dict(zip(made.parameters, features[row].astype(float).tolist(), strict=False))
    halved = make_density("analytic", find_model("ddm"), {**theta, "a": theta["a"] / 2}, 20.0)
    known = halved.evaluate(features[row, -2], features[row, -1])
    assert labels[row, 0] == pytest.approx(known[0], abs=5e-3)
