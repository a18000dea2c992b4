"""A model of one's own in a study, and the page that shows how."""

import re
from pathlib import Path

import numpy as np
import pytest

from lanflow.evaluation.record import read_evaluation
from tests.conftest import REPOSITORY, write_training_file
from tests.own_models import write_models_file
from tests.readme import as_typed
from tests.workflow.conftest import Checkout, make_checkout

PAGE = (REPOSITORY / "docs" / "own_model.md").read_text()


def blocks(language: str) -> list[str]:
    """The page's blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.slow
def test_the_page_runs_as_printed(tmp_path: Path) -> None:
    reader = make_checkout(tmp_path)
    model, notebook = blocks("python")
    (reader.folder / "my_model.py").write_text(model)
    for content in blocks("yaml"):
        name = content.splitlines()[0].removeprefix("# ")
        (reader.folder / name).write_text(content)
    for block in blocks("bash"):
        reader.run("bash", "-euc", as_typed(block))
    reader.run("python", "-c", notebook)
    assert (reader.folder / "bundle/lan/collapsing/models_file.py").read_text() == model


def theirs(folder: Path) -> None:
    """Data of somebody else's model, as ssm-simulators' Python API would write them."""
    from tests.conftest import training_file_content

    content = training_file_content(n_sets=20)
    content["model_config"] |= {"name": "theirs", "boundary_name": "of_theirs", "choices": [-1, 1]}
    write_training_file(folder / "training_data_0.pickle", content)


@pytest.mark.slow
def test_a_study_of_an_own_model_and_of_one_that_is_not_at_hand_ends_with_its_report(
    tracked: Checkout,
) -> None:
    write_models_file(tracked.folder)
    theirs(tracked.folder / "their_files")
    networks = {"lan": {"config": "training.yaml", "backends": ["torch"]}}
    generate = {"generate": {"config": "generation.yaml"}}
    study = tracked.write_study(
        models_file="my_model.py",
        evaluation={"n_sets": 3, "rows": 20, "n_simulated_sets": 2},
        models={
            "lognormal_race": {"data": generate, "networks": networks},
            "theirs": {"data": {"folder": "their_files"}, "networks": networks},
        },
    )
    output = tracked.snakemake("--cores", "2", study=study)
    assert "not judged" in output
    place = tracked.folder / "results" / "networks" / "lan"
    ours, other = (
        read_evaluation(place / name / "lan_torch" / "evaluation.json")
        for name in ("lognormal_race", "theirs")
    )
    assert (ours.reference.source, other.reference.source) == ("kde", "none")
    assert other.verdict == "not judged"
    assert np.isfinite(other.gates[1].numbers["onnx_torch"] or 0)
    report = (tracked.folder / "results" / "report.html").read_text()
    assert "1 of them not judged, since its model is not at hand." in report
    assert "is brought in with --models-file" in report
    assert not tracked.planned(study=study)
    # A change of the file makes anew what came of it, and nothing else.
    path = tracked.folder / "my_model.py"
    path.write_text(path.read_text().replace("sigma, (n_samples", "1.1 * sigma, (n_samples"))
    planned = tracked.planned(study=study)
    assert planned["generate_data"] == planned["train_network"] == planned["evaluate_network"] == 1
