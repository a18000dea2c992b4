"""The Torch backend: the arithmetic of the JAX backend, with Torch's own optimisers.

The backward pass of the layers is written out, into arrays that are made once; autograd would make
new ones for every batch. It gives the bits that autograd gives (``test_backend_torch``), and
``tests/parity`` compares both backends with each other and with the textbook's formulas.
"""

import io
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from lanflow.networks.types import Architecture, BackendName
from lanflow.training.backend import (
    ADAM_BETAS,
    ADAM_EPSILON,
    HUBER_DELTA,
    Backend,
    OptimizerState,
    Weights,
    cpu_name,
    no_gpu_error,
)
from lanflow.training.config import TrainingConfig

_ATEN = torch.ops.aten
_ACTIVATIONS = {"relu": torch.relu_, "tanh": torch.tanh_, "sigmoid": torch.sigmoid_}
# Given the slope of the loss by an activation's output, and that output: the slope by its input,
# written over the first.
_BACKWARD = {
    "relu": lambda slope, y: _ATEN.threshold_backward.grad_input(slope, y, 0, grad_input=slope),
    "tanh": lambda slope, y: _ATEN.tanh_backward.grad_input(slope, y, grad_input=slope),
    "sigmoid": lambda slope, y: _ATEN.sigmoid_backward.grad_input(slope, y, grad_input=slope),
}
# Rows of a batch that is only evaluated: its layers' outputs stay in the processor's cache.
_EVALUATED_ROWS = 2**11


def select_device(wanted: str) -> torch.device:
    """The device for ``auto``, ``cpu`` or ``gpu``.

    Raises
    ------
    UserError
        If a GPU was asked for and Torch sees none.
    """
    if wanted != "cpu" and torch.cuda.is_available():
        return torch.device("cuda")
    if wanted == "gpu":
        raise no_gpu_error("Torch", install="a CUDA build")
    return torch.device("cpu")


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


class TorchBackend(Backend):
    """Trains with Torch; parameters as of :func:`lanflow.training.backend.make_backend`."""

    name: BackendName = "torch"
    weights_suffix = "pt"
    address_bytes = 400 * 2**20

    def __init__(self, *, device: str = "auto", threads: int = 1) -> None:
        torch.set_num_threads(threads)
        self._device = select_device(device)
        self.uses_gpu = self._device.type != "cpu"
        self.device = torch.cuda.get_device_name() if self.uses_gpu else cpu_name(threads)

    def start(self, architecture: Architecture, config: TrainingConfig, weights: Weights) -> None:
        """Take initial weights and a fresh optimiser."""
        self._architecture, self._config = architecture, config
        self.restore(weights, {})

    def restore(self, weights: Weights, optimizer_state: OptimizerState) -> None:
        """Continue from copies taken before."""
        self._weights = self._copies(weights)
        self._layers = Layers(self._weights, self._architecture.activations)
        self._count = torch.tensor(float(optimizer_state.get("count", 0)), device=self._device)
        zeros = {name: np.zeros_like(array) for name, array in weights.items()}
        self._mu, self._nu = (
            self._copies(
                {name: optimizer_state.get(f"{moment}/{name}", zeros[name]) for name in weights}
            )
            for moment in ("mu", "nu")
        )

    def _copies(self, arrays: Weights) -> dict[str, torch.Tensor]:
        return {name: torch.tensor(array, device=self._device) for name, array in arrays.items()}

    def _loss(self, output: torch.Tensor, labels: torch.Tensor, reduction: str) -> torch.Tensor:
        match self._architecture.loss:
            case "bcelogit":
                return functional.binary_cross_entropy_with_logits(
                    output, labels, reduction=reduction
                )
            case "crossentropy":
                rows = self._cross_entropies(output, labels)
                return rows.mean() if reduction == "mean" else rows.sum()
        return functional.huber_loss(output, labels, delta=HUBER_DELTA, reduction=reduction)

    def _cross_entropies(self, output: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Of the choices of each row, and of none in time where that can be; shape (rows,)."""
        if self._architecture.can_omit:
            output = functional.pad(output, (0, 1))
            rest = (1 - labels.sum(dim=1, keepdim=True)).clamp(min=0)
            labels = torch.cat([labels, rest], dim=1)
        return -(labels * functional.log_softmax(output, dim=1)).sum(dim=1)

    def train_block(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        *,
        batch_size: int,
        learning_rates: np.ndarray,
    ) -> float:
        """Update once per batch; the host waits for the device once, at the end."""
        x = torch.from_numpy(features).to(self._device)
        y = torch.from_numpy(labels).to(self._device)
        total = torch.zeros((), dtype=torch.float64, device=self._device)
        batches = zip(x.split(batch_size), y.split(batch_size), strict=True)
        with torch.no_grad():
            for (batch, batch_labels), rate in zip(batches, learning_rates.tolist(), strict=True):
                loss = self._take_gradients(batch, batch_labels)
                self._update(rate)
                total += loss * (len(batch) * self._architecture.n_losses)
        return float(total)

    def _take_gradients(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Fill the gradients of the mean loss of a batch, and give that loss.

        The loss's own slope, of a few numbers a row, is autograd's.
        """
        output = self._layers.forward(x)
        with torch.enable_grad():
            output.requires_grad_()
            loss = self._loss(output, labels, "mean")
            (slope,) = torch.autograd.grad(loss, output)
        self._layers.backward(x, slope)
        return loss.detach()

    def _update(self, rate: float) -> None:
        """Change the weights by their gradients: one call for all of them.

        ``torch.optim`` does no more, but imports Torch's compiler, which takes a second.
        """
        weights = list(self._weights.values())
        gradients = [self._layers.gradients[name] for name in self._weights]
        decay = self._config.weight_decay
        if self._config.optimizer == "sgd":
            torch._fused_sgd_(
                weights,
                gradients,
                [],
                weight_decay=decay,
                momentum=0,
                lr=rate,
                dampening=0,
                nesterov=False,
                maximize=False,
                is_first_step=False,
            )
            return
        self._count += 1
        torch._fused_adam_(
            weights,
            gradients,
            list(self._mu.values()),
            list(self._nu.values()),
            [],
            [self._count] * len(weights),
            lr=rate,
            beta1=ADAM_BETAS[0],
            beta2=ADAM_BETAS[1],
            weight_decay=decay,
            eps=ADAM_EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def evaluate_block(self, features: np.ndarray, labels: np.ndarray) -> float:
        """Sum the losses of rows, without an update."""
        y = torch.from_numpy(labels).to(self._device)
        with torch.no_grad():
            return float(self._loss(self._outputs(features), y, "sum"))

    def _outputs(self, features: np.ndarray) -> torch.Tensor:
        """Outputs of the last layer for rows, before the loss."""
        x = torch.from_numpy(features).to(self._device)
        n_rows = len(x) if self.uses_gpu else _EVALUATED_ROWS
        return torch.cat([self._layers.forward(part).clone() for part in x.split(n_rows)])

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Log-likelihoods or log-probabilities of rows."""
        with torch.no_grad():
            output = self._outputs(np.array(features, dtype=np.float32))
            match self._architecture.loss:
                case "bcelogit":
                    output = functional.logsigmoid(output)
                case "crossentropy":
                    n_choices = output.shape[1]
                    if self._architecture.can_omit:
                        output = functional.pad(output, (0, 1))
                    output = functional.log_softmax(output, dim=1)[:, :n_choices]
            return np.asarray(output.cpu().numpy())

    def weights(self) -> Weights:
        """A copy of the weights."""
        return _numpy(self._weights)

    def optimizer_state(self) -> OptimizerState:
        """A copy of the optimiser's state; of adam's only, since sgd has none."""
        if self._config.optimizer == "sgd":
            return {}
        moments = {"mu": self._mu, "nu": self._nu}
        return {
            "count": np.array(self._count.cpu().numpy(), dtype=np.int32),
            **{
                f"{moment}/{k}": v
                for moment, tree in moments.items()
                for k, v in _numpy(tree).items()
            },
        }

    def native_weights(self, weights: Weights) -> bytes:
        """A state dict with LANfactory's names, which count activations as layers."""
        state = {}
        for name, array in weights.items():
            layer, kind = name.split("/")
            place = 2 * int(layer.removeprefix("layers_"))
            is_kernel = kind == "kernel"
            tensor = torch.tensor(array.T.copy() if is_kernel else array)
            state[f"layers.{place}.{'weight' if is_kernel else 'bias'}"] = tensor
        buffer = io.BytesIO()
        torch.save(state, buffer)
        return buffer.getvalue()

    def read_native_weights(self, content: bytes) -> Weights:
        """Weights from what :meth:`native_weights` gives; no code in the file is run."""
        try:
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            weights = {}
            for name, tensor in state.items():
                _, place, kind = name.split(".")
                array = np.asarray(tensor.numpy(), np.float32)
                is_kernel = kind == "weight"
                key = f"layers_{int(place) // 2}/{'kernel' if is_kernel else 'bias'}"
                weights[key] = np.ascontiguousarray(array.T) if is_kernel else array
        except Exception as e:  # pickle, zip and torch each raise their own kinds
            raise ValueError(f"not Torch's weights of a perceptron ({e})") from e
        return weights

    def versions(self) -> dict[str, str]:
        """Versions of the backend's libraries."""
        return {"torch": torch.__version__}


def _numpy(tensors: dict[str, torch.Tensor]) -> Weights:
    return {name: np.array(tensor.cpu().numpy()) for name, tensor in tensors.items()}
