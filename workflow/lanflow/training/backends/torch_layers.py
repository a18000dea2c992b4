"""The layers of a perceptron in Torch, forwards and backwards, in arrays that are made once.

The backward pass is written out; autograd would make new arrays for every batch. It gives the bits
that autograd gives (``tests/unit/training/test_backend_torch.py``).
"""

from collections.abc import Sequence

import torch

_ATEN = torch.ops.aten
_ACTIVATIONS = {"relu": torch.relu_, "tanh": torch.tanh_, "sigmoid": torch.sigmoid_}
# Given the slope of the loss by an activation's output, and that output: the slope by its input,
# written over the first.
_BACKWARD = {
    "relu": lambda slope, y: _ATEN.threshold_backward.grad_input(slope, y, 0, grad_input=slope),
    "tanh": lambda slope, y: _ATEN.tanh_backward.grad_input(slope, y, grad_input=slope),
    "sigmoid": lambda slope, y: _ATEN.sigmoid_backward.grad_input(slope, y, grad_input=slope),
}


class Layers:
    """The layers of a perceptron, forwards and backwards, in arrays that are made once.

    Parameters
    ----------
    weights
        ``layers_{i}/kernel`` (inputs, outputs) and ``layers_{i}/bias`` (outputs,).
    activations
        One for each layer but the last.

    Attributes
    ----------
    gradients
        Slopes of the loss by the weights, under their names.
    """

    def __init__(self, weights: dict[str, torch.Tensor], activations: Sequence[str]) -> None:
        self._weights, self._activations = weights, activations
        self.gradients = {name: torch.empty_like(tensor) for name, tensor in weights.items()}
        self._make_room(0)

    def _make_room(self, n_rows: int) -> None:
        """Arrays for the outputs of each layer, and for the slopes by those of the hidden ones."""
        biases = [self._weights[f"layers_{i}/bias"] for i in range(len(self._activations) + 1)]
        self._n_rows = n_rows
        self._outputs = [bias.new_empty(n_rows, len(bias)) for bias in biases]
        self._slopes = [torch.empty_like(output) for output in self._outputs[:-1]]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The last layer's outputs for rows (rows, inputs), which stand until the next call."""
        if len(x) > self._n_rows:
            self._make_room(len(x))
        for i, output in enumerate(self._outputs):
            kernel, bias = self._weights[f"layers_{i}/kernel"], self._weights[f"layers_{i}/bias"]
            x = torch.addmm(bias, x, kernel, out=output[: len(x)])
            if i < len(self._activations):
                _ACTIVATIONS[self._activations[i]](x)
        return x.detach()

    def backward(self, x: torch.Tensor, slope: torch.Tensor) -> None:
        """Fill the gradients, given the slope of the loss by the outputs of :meth:`forward`."""
        n_rows = len(x)
        for i in range(len(self._activations), 0, -1):
            layer_input, name = self._outputs[i - 1][:n_rows], self._activations[i - 1]
            self._fill_gradients(i, layer_input, slope)
            kernel = self._weights[f"layers_{i}/kernel"]
            slope = torch.mm(slope, kernel.t(), out=self._slopes[i - 1][:n_rows])
            _BACKWARD[name](slope, layer_input)
        self._fill_gradients(0, x, slope)

    def _fill_gradients(self, i: int, layer_input: torch.Tensor, slope: torch.Tensor) -> None:
        torch.mm(layer_input.t(), slope, out=self.gradients[f"layers_{i}/kernel"])
        torch.sum(slope, dim=0, out=self.gradients[f"layers_{i}/bias"])
