import pytest
from docs.write_published import judged, page

from lanflow.evaluation.published import accuracy_limits, limited_models, read_published
from tests.conftest import REPOSITORY


def test_the_limits_are_the_errors_of_published_networks_rounded_up() -> None:
    published = {each.file: each.evaluation for each in read_published().networks}
    race = "race_3_no_bias_lan_no_batch.onnx"
    of_models = {"ddm": "ddm.onnx", "angle": "angle.onnx", "race_no_bias_3": race}
    for model, file in of_models.items():
        scores = published[file].scores
        assert scores is not None
        limits = accuracy_limits(model)
        for key in ("mean_abs_error", "median_abs_error", "p99_abs_error"):
            measured = getattr(scores, key)
            assert measured <= limits[key] < 1.1 * measured
            assert float(f"{limits[key]:.2g}") == limits[key]
    # Of other models the middle of them; a mean difference may be as large for all.
    assert {
        key: accuracy_limits("ornstein")[key] for key in ("mean_abs_error", "p99_abs_error")
    } == {key: accuracy_limits("angle")[key] for key in ("mean_abs_error", "p99_abs_error")}
    biases = {name: accuracy_limits(name)["abs_mean_difference"] for name in of_models}
    assert biases["ddm"] == biases["angle"] == accuracy_limits("ornstein")["abs_mean_difference"]
    assert biases["ddm"] < biases["race_no_bias_3"]


def test_only_networks_of_the_model_against_a_good_reference_set_limits() -> None:
    """That of lba_angle_3 is eight nats away from ssm-simulators' model of this name."""
    assert limited_models(read_published()) == ["angle", "ddm", "race_no_bias_3"]


def test_the_page_and_the_verdicts_are_those_of_the_numbers() -> None:
    published = read_published()
    assert judged(published) == published
    assert (REPOSITORY / "docs" / "published.md").read_text() == page(published)


@pytest.mark.parametrize("file", ["ddm_lan_batch.onnx", "ddm_rank1.onnx"])
def test_networks_that_hssm_cannot_use_were_scored(file: str) -> None:
    (found,) = (each.evaluation for each in read_published().networks if each.file == file)
    verdicts = {gate.name: gate.verdict for gate in found.gates}
    assert verdicts["structure"] == "failed"
    assert found.scores is not None
    assert verdicts["density"] != "skipped"
