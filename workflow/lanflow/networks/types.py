"""Types of network: the data that each learns from, its loss, the meaning of its output.

The table follows LANfactory's (``lanfactory/cli/utils.py``, version 0.7.0): a likelihood network
regresses log-likelihoods with a linear output, the others learn probabilities through logits and
give log-probabilities once trained.
"""

import itertools
from dataclasses import dataclass
from typing import Literal

from lanflow.core.errors import UserError

BackendName = Literal["jax", "torch"]
Activation = Literal["relu", "tanh", "sigmoid"]
NetworkTypeName = Literal["lan", "cpn", "opn", "gonogo"]


class ContractError(UserError):
    """A network that HSSM could not use one trial at a time."""


@dataclass(frozen=True)
class NetworkType:
    """One type of network.

    Attributes
    ----------
    name
        The ecosystem's short name, used in paths.
    loss
        ``huber`` (delta 1, on log-likelihoods) or ``bcelogit`` (binary cross-entropy of a
        probability against a logit).
    train_output_type
        LANfactory's word for what the output node holds while training.
    has_trial
        Whether rt and choice follow the parameters among the inputs.
    output
        What the exported network's output means.
    """

    name: NetworkTypeName
    loss: Literal["huber", "bcelogit"]
    train_output_type: Literal["logprob", "logits"]
    has_trial: bool
    output: str

    @property
    def features_key(self) -> str:
        """Key of the features in a training file."""
        return f"{self.name}_data"

    @property
    def labels_key(self) -> str:
        """Key of the labels in a training file."""
        return f"{self.name}_labels"


NETWORK_TYPES: dict[str, NetworkType] = {
    "lan": NetworkType(
        "lan", "huber", "logprob", True, "log-likelihood of (rt, choice) given the parameters"
    ),
    "cpn": NetworkType(
        "cpn", "bcelogit", "logits", False, "log-probability of the upper choice (choice 1)"
    ),
    "opn": NetworkType(
        "opn", "bcelogit", "logits", False, "log-probability of an omission (rt past the deadline)"
    ),
    "gonogo": NetworkType(
        "gonogo", "bcelogit", "logits", False, "log-probability of a no-go (nogo) outcome"
    ),
}


@dataclass(frozen=True)
class Architecture:
    """Shape of a multilayer perceptron.

    Attributes
    ----------
    network_type
        Key into ``NETWORK_TYPES``.
    input_dim
        Number of inputs: parameters, and for a lan rt and choice.
    layer_sizes
        Units per layer, the output layer included.
    activations
        One per hidden layer; the output layer is linear.
    """

    network_type: NetworkTypeName
    input_dim: int
    layer_sizes: tuple[int, ...]
    activations: tuple[Activation, ...]

    @property
    def n_weights(self) -> int:
        """Number of trained numbers, biases included."""
        sizes = (self.input_dim, *self.layer_sizes)
        return sum((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(sizes))
