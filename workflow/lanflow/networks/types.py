"""Types of network: the data that each learns from, its loss, the meaning of its output.

The table follows LANfactory's (``lanfactory/cli/utils.py``, version 0.7.0): a likelihood network
regresses log-likelihoods with a linear output, the others learn probabilities through logits and
give log-probabilities once trained.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lanflow.core.errors import UserError

BackendName = Literal["jax", "torch"]
Activation = Literal["relu", "tanh", "sigmoid"]
NetworkTypeName = Literal["lan", "cpn", "opn", "gonogo"]
# ``crossentropy`` is that of several choices, of which one or none happens.
Loss = Literal["huber", "bcelogit", "crossentropy"]
# Where the Huber loss turns from a square into a line, nats.
DEFAULT_HUBER_DELTA = 1.0


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
        ``huber`` (on log-likelihoods) or ``bcelogit`` (binary cross-entropy of a
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
    "cpn": NetworkType("cpn", "bcelogit", "logits", False, "log-probability of the highest choice"),
    "opn": NetworkType(
        "opn", "bcelogit", "logits", False, "log-probability of an omission (rt past the deadline)"
    ),
    "gonogo": NetworkType(
        "gonogo", "bcelogit", "logits", False, "log-probability of a no-go (nogo) outcome"
    ),
}


def describe_output(
    name: NetworkTypeName, choices: Sequence[int] | None, *, takes_choice: bool = False
) -> str:
    """Say what a network's output means, and which choice a probability is of.

    Parameters
    ----------
    name
        The type of network.
    choices
        The model's, as data code them; None where they are not known.
    takes_choice
        Whether the choice is the network's last input.
    """
    kind = NETWORK_TYPES[name]
    if takes_choice:
        among = "" if choices is None else f" (one of {', '.join(map(str, choices))})"
        return f"log-probability of the choice that is the last input{among}"
    if not choices or kind.has_trial or name == "opn":
        return kind.output
    if name == "cpn":
        return f"log-probability of choice {choices[-1]}, whatever choice a trial has"
    return f"{kind.output}: anything but choice {choices[-1]} in time"


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
    choices
        Of a choice-probability network of more than two choices: their codes, ascending, one for
        each unit of the output layer. Empty for all other networks.
    can_omit
        Of such a network: whether there may be no choice in time, so that the probabilities of all
        choices sum to less than one.
    huber_delta
        Of a likelihood network: where its loss turns from a square into a line, nats.
    """

    network_type: NetworkTypeName
    input_dim: int
    layer_sizes: tuple[int, ...]
    activations: tuple[Activation, ...]
    choices: tuple[int, ...] = ()
    can_omit: bool = False
    huber_delta: float = DEFAULT_HUBER_DELTA

    @property
    def loss(self) -> Loss:
        """The loss that is trained with."""
        return "crossentropy" if self.choices else NETWORK_TYPES[self.network_type].loss

    @property
    def n_losses(self) -> int:
        """Losses of a row: one for each output, or one of all choices together."""
        return 1 if self.choices else self.layer_sizes[-1]

    @property
    def n_exported_inputs(self) -> int:
        """Inputs of the exported network, which takes the choice where there are several."""
        return self.input_dim + bool(self.choices)

    @property
    def n_exported_outputs(self) -> int:
        """Outputs of the exported network for a row."""
        return 1 if self.choices else self.layer_sizes[-1]

    @property
    def n_weights(self) -> int:
        """Number of trained numbers, biases included."""
        sizes = (self.input_dim, *self.layer_sizes)
        return sum((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(sizes))
