"""A larger study: the trainings of two models, two types of networks, both backends."""

import json

import pytest

from tests.conftest import TRAINING_YAML
from tests.workflow.conftest import Checkout


@pytest.mark.slow
def test_two_models_two_network_types_and_both_backends(tracked: Checkout) -> None:
    study = tracked.write_study(
        models={
            model: {
                "data": {"generate": {"config": "generation.yaml", "chunks": 2}},
                "networks": {
                    "lan": {"config": "training.yaml"},
                    "cpn": {"config": "training_cpn.yaml", "seed": 5},
                },
            }
            for model in ("ddm", "angle")
        }
    )
    tracked.write_yaml("training_cpn.yaml", {**TRAINING_YAML, "NETWORK_TYPE": "cpn"})
    networks = [
        f"results/networks/{kind}/{model}/{kind}_{backend}/model.onnx"
        for model in ("ddm", "angle")
        for kind in ("lan", "cpn")
        for backend in ("jax", "torch")
    ]
    tracked.snakemake(*networks, study=study)
    cards = [json.loads(path.read_text()) for path in tracked.folder.rglob("card.json")]
    made = {(c["model"], c["network_type"], c["backend"], c["seed"]) for c in cards}
    assert made == {
        (model, kind, backend, seed)
        for model in ("ddm", "angle")
        for kind, seed in (("lan", 1), ("cpn", 5))
        for backend in ("jax", "torch")
    }
    inputs = {(c["model"], c["network_type"]): c["inputs"] for c in cards}
    assert inputs["angle", "lan"] == ["v", "a", "z", "t", "theta", "rt", "choice"]
    assert inputs["ddm", "cpn"] == ["v", "a", "z", "t"]
    digests = {c["model"]: c["data_digest"] for c in cards}
    assert digests["ddm"] != digests["angle"]
