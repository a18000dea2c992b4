"""The layers of a perceptron in Torch and its loss, forwards and backwards.

The backward pass is written out in arrays that are made once; autograd would make new ones for
every batch. It gives the bits that autograd gives (``tests/unit/training/test_backend_torch.py``).
"""

from collections.abc import Sequence

import torch
from torch.nn import functional

from lanflow.networks.types import Architecture

_ATEN = torch.ops.aten
_ACTIVATIONS = {"relu": torch.relu_, "tanh": torch.tanh_, "sigmoid": torch.sigmoid_}
# Given the slope of the loss by an activation's output, and that output: the slope by its input,
# written over the first.
_BACKWARD = {
    "relu": lambda slope, y: _ATEN.threshold_backward.grad_input(slope, y, 0, grad_input=slope),
    "tanh": lambda slope, y: _ATEN.tanh_backward.grad_input(slope, y, grad_input=slope),
    "sigmoid": lambda slope, y: _ATEN.sigmoid_backward.grad_input(slope, y, grad_input=slope),
}


# Products of matrices, and of stacks of them: by the number of axes.
_PRODUCTS = {2: torch.mm, 3: torch.bmm}
_PRODUCTS_WITH_BIAS = {2: torch.addmm, 3: torch.baddbmm}


class Layers:
    """The layers of a perceptron, forwards and backwards, in arrays that are made once.

    Of several networks all arrays have a first axis more, and biases are (networks, 1, outputs).

    Parameters
    ----------
    weights
        ``layers_{i}/kernel`` (inputs, outputs) and ``layers_{i}/bias`` (outputs,).
    activations
        One for each layer but the last.
    gradients
        Where slopes are written; new arrays when left out.

    Attributes
    ----------
    gradients
        Slopes of the loss by the weights, under their names.
    """

    def __init__(
        self,
        weights: dict[str, torch.Tensor],
        activations: Sequence[str],
        gradients: dict[str, torch.Tensor] | None = None,
    ) -> None:
        self._weights, self._activations = weights, activations
        self.gradients = gradients or {name: torch.empty_like(w) for name, w in weights.items()}
        n_axes = weights["layers_0/kernel"].ndim
        self._product, self._product_with_bias = _PRODUCTS[n_axes], _PRODUCTS_WITH_BIAS[n_axes]
        self._make_room(0)

    def _make_room(self, n_rows: int) -> None:
        """Arrays for the outputs of each layer, and for the slopes by those of the hidden ones."""
        biases = [self._weights[f"layers_{i}/bias"] for i in range(len(self._activations) + 1)]
        self._n_rows = n_rows
        self._outputs = [b.new_empty(*b.shape[:-2], n_rows, b.shape[-1]) for b in biases]
        self._slopes = [torch.empty_like(output) for output in self._outputs[:-1]]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The last layer's outputs for rows (rows, inputs), which stand until the next call."""
        n_rows = x.shape[-2]
        if n_rows > self._n_rows:
            self._make_room(n_rows)
        for i, output in enumerate(self._outputs):
            kernel, bias = self._weights[f"layers_{i}/kernel"], self._weights[f"layers_{i}/bias"]
            x = self._product_with_bias(bias, x, kernel, out=output.narrow(-2, 0, n_rows))
            if i < len(self._activations):
                _ACTIVATIONS[self._activations[i]](x)
        return x.detach()

    def backward(self, x: torch.Tensor, slope: torch.Tensor) -> None:
        """Fill the gradients, given the slope of the loss by the outputs of :meth:`forward`."""
        n_rows = x.shape[-2]
        for i in range(len(self._activations), 0, -1):
            layer_input = self._outputs[i - 1].narrow(-2, 0, n_rows)
            self._fill_gradients(i, layer_input, slope)
            kernel = self._weights[f"layers_{i}/kernel"]
            room = self._slopes[i - 1].narrow(-2, 0, n_rows)
            slope = self._product(slope, kernel.mT, out=room)
            _BACKWARD[self._activations[i - 1]](slope, layer_input)
        self._fill_gradients(0, x, slope)

    def _fill_gradients(self, i: int, layer_input: torch.Tensor, slope: torch.Tensor) -> None:
        of_bias = self.gradients[f"layers_{i}/bias"]
        self._product(layer_input.mT, slope, out=self.gradients[f"layers_{i}/kernel"])
        torch.sum(slope, dim=-2, keepdim=of_bias.ndim > 1, out=of_bias)

    def take_gradients(
        self, x: torch.Tensor, labels: torch.Tensor, architecture: Architecture
    ) -> torch.Tensor:
        """Fill the gradients of the mean loss of a batch, and give that loss, of each network.

        The loss's own slope, of a few numbers a row, is autograd's.
        """
        output = self.forward(x)
        with torch.enable_grad():
            output.requires_grad_()
            means = mean_loss(architecture, output, labels)
            # Of one number: with a tensor of ones, Torch would load what its compiler needs.
            total = means.sum() if means.ndim else means
            (slope,) = torch.autograd.grad(total, output)
        self.backward(x, slope)
        return means.detach()


def mean_loss(
    architecture: Architecture, output: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Mean over rows and outputs; of several networks that of each, (networks,)."""
    if output.ndim == 2:
        return loss_of(architecture, output, labels, "mean")
    return loss_of(architecture, output, labels, "none").flatten(1).mean(dim=1)


def loss_of(
    architecture: Architecture, output: torch.Tensor, labels: torch.Tensor, reduction: str
) -> torch.Tensor:
    """Losses of all outputs, or of all choices together: their ``mean``, ``sum`` or ``none``."""
    match architecture.loss:
        case "bcelogit":
            return functional.binary_cross_entropy_with_logits(output, labels, reduction=reduction)
        case "crossentropy":
            rows = _cross_entropies(output, labels, can_omit=architecture.can_omit)
            return {"mean": rows.mean, "sum": rows.sum, "none": lambda: rows}[reduction]()
    delta = architecture.huber_delta
    return functional.huber_loss(output, labels, delta=delta, reduction=reduction)


def _cross_entropies(output: torch.Tensor, labels: torch.Tensor, *, can_omit: bool) -> torch.Tensor:
    """Of the choices of each row, and of none in time where that can be; shape (rows,)."""
    if can_omit:
        output = functional.pad(output, (0, 1))
        rest = (1 - labels.sum(dim=-1, keepdim=True)).clamp(min=0)
        labels = torch.cat([labels, rest], dim=-1)
    return -(labels * functional.log_softmax(output, dim=-1)).sum(dim=-1)
