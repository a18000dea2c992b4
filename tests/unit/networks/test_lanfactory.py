from typing import Any

import pytest

from lanflow.core.errors import UserError
from lanflow.networks.lanfactory import LanfactoryNetwork, read_network_config

GOOD: dict[str, Any] = {
    "layer_sizes": [100, 100, 1],
    "activations": ["tanh", "relu", "linear"],
    "train_output_type": "logits",
    "network_type": "opn",
}


def test_a_configuration_of_any_version_is_read() -> None:
    expected = LanfactoryNetwork((100, 100, 1), ("tanh", "relu"), "opn")
    assert read_network_config(GOOD, "x") == expected
    assert read_network_config({**GOOD, "activations": ["tanh", "relu"]}, "x") == expected
    old = {key: value for key, value in GOOD.items() if key != "network_type"}
    assert read_network_config(old, "x").network_type is None
    likelihood = {**old, "train_output_type": "logprob"}
    assert read_network_config(likelihood, "x").network_type == "lan"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"layer_sizes": [100, True]}, "x: layer_sizes: expected a list of numbers of units"),
        ({"layer_sizes": None}, "x: layer_sizes: expected"),
        ({"activations": "tanh"}, "x: activations: expected a list of names"),
        ({"activations": ["tanh", "gelu", "linear"]}, "expected one of relu, tanh, sigmoid"),
        ({"activations": ["tanh"]}, "for 3 layers"),
        ({"activations": [["tanh"], "tanh"]}, "x: activations"),
        ({"train_output_type": "softmax"}, r"'softmax' \(accepted: logprob, logits\)"),
        ({"train_output_type": []}, "x: train_output_type"),
        ({"network_type": "lan"}, "network_type: 'lan' with train_output_type 'logits'"),
        ({"network_type": {}}, "x: network_type"),
    ],
)
def test_a_configuration_that_is_none_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_network_config({**GOOD, **keys}, "x")
    with pytest.raises(UserError, match="expected a dict"):
        read_network_config([], "x")
