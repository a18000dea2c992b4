import pytest

from lanflow.networks.types import NETWORK_TYPES, Architecture


def test_each_network_type_learns_from_its_own_keys() -> None:
    keys = {name: (t.features_key, t.labels_key) for name, t in NETWORK_TYPES.items()}
    assert keys == {
        "lan": ("lan_data", "lan_labels"),
        "cpn": ("cpn_data", "cpn_labels"),
        "opn": ("opn_data", "opn_labels"),
        "gonogo": ("gonogo_data", "gonogo_labels"),
    }


def test_losses_and_outputs_are_lanfactorys() -> None:
    lan = NETWORK_TYPES["lan"]
    assert (lan.loss, lan.train_output_type, lan.has_trial) == ("huber", "logprob", True)
    for name in ("cpn", "opn", "gonogo"):
        other = NETWORK_TYPES[name]
        assert (other.loss, other.train_output_type, other.has_trial) == (
            "bcelogit",
            "logits",
            False,
        )


def test_each_network_type_says_what_its_output_means() -> None:
    outputs = {t.output for t in NETWORK_TYPES.values()}
    assert len(outputs) == 4
    assert all("log-" in output for output in outputs)


@pytest.mark.parametrize(
    ("input_dim", "layer_sizes", "n_weights"),
    [(6, (1,), 7), (6, (100, 100, 100, 1), 700 + 10_100 + 10_100 + 101), (4, (3, 2), 15 + 8)],
)
def test_weights_are_counted_with_biases(
    input_dim: int, layer_sizes: tuple[int, ...], n_weights: int
) -> None:
    activations = ("tanh",) * (len(layer_sizes) - 1)
    assert Architecture("lan", input_dim, layer_sizes, activations).n_weights == n_weights
