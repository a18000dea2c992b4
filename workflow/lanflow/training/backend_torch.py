"""The Torch backend: the arithmetic of the JAX backend, with Torch's own optimisers.

``tests/parity`` compares both with each other and with the textbook's formulas.
"""

import io
from functools import cached_property

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

_ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}


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
        self._architecture = architecture
        self._activations = [_ACTIVATIONS[name] for name in architecture.activations]
        self._config = config
        self._set(weights)

    def _set(self, weights: Weights) -> None:
        self._weights = {
            name: torch.tensor(array, device=self._device, requires_grad=True)
            for name, array in weights.items()
        }
        self.__dict__.pop("_optimizer", None)

    @cached_property
    def _optimizer(self) -> torch.optim.Optimizer:
        """Made by the first update: it imports Torch's compiler, which takes a second."""
        parameters = list(self._weights.values())
        lr, decay = self._config.learning_rate, self._config.weight_decay
        if self._config.optimizer == "adam":
            return torch.optim.Adam(
                parameters,
                lr=lr,
                weight_decay=decay,
                betas=ADAM_BETAS,
                eps=ADAM_EPSILON,
                fused=True,
            )
        return torch.optim.SGD(parameters, lr=lr, weight_decay=decay, fused=True)

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = self._weights
        for i, activation in enumerate(self._activations):
            x = torch.addmm(weights[f"layers_{i}/bias"], x, weights[f"layers_{i}/kernel"])
            x = activation(x)
        last = len(self._activations)
        return torch.addmm(weights[f"layers_{last}/bias"], x, weights[f"layers_{last}/kernel"])

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
        (group,) = self._optimizer.param_groups
        batches = zip(x.split(batch_size), y.split(batch_size), strict=True)
        for (batch, batch_labels), rate in zip(batches, learning_rates.tolist(), strict=True):
            group["lr"] = rate
            loss = self._loss(self._forward(batch), batch_labels, "mean")
            loss.backward()
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
            total += loss.detach() * (len(batch) * self._architecture.n_losses)
        return float(total)

    def evaluate_block(self, features: np.ndarray, labels: np.ndarray) -> float:
        """Sum the losses of rows, without an update."""
        with torch.no_grad():
            x = torch.from_numpy(features).to(self._device)
            y = torch.from_numpy(labels).to(self._device)
            return float(self._loss(self._forward(x), y, "sum"))

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Log-likelihoods or log-probabilities of rows."""
        with torch.no_grad():
            x = torch.tensor(np.asarray(features, dtype=np.float32), device=self._device)
            output = self._forward(x)
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
        return {k: np.array(v.detach().cpu().numpy()) for k, v in self._weights.items()}

    def optimizer_state(self) -> OptimizerState:
        """A copy of the optimiser's state; of adam's only, since sgd has none."""
        state: OptimizerState = {}
        for name, tensor in self._weights.items():
            entry = self._optimizer.state.get(tensor, {})
            if "exp_avg" in entry:
                state["count"] = np.array(entry["step"].cpu().numpy(), dtype=np.int32)
                state[f"mu/{name}"] = np.array(entry["exp_avg"].cpu().numpy())
                state[f"nu/{name}"] = np.array(entry["exp_avg_sq"].cpu().numpy())
        return state

    def restore(self, weights: Weights, optimizer_state: OptimizerState) -> None:
        """Continue from copies taken before."""
        self._set(weights)
        if not optimizer_state:
            return
        for name, tensor in self._weights.items():
            self._optimizer.state[tensor] = {
                "step": torch.tensor(float(optimizer_state["count"]), device=self._device),
                "exp_avg": torch.tensor(optimizer_state[f"mu/{name}"], device=self._device),
                "exp_avg_sq": torch.tensor(optimizer_state[f"nu/{name}"], device=self._device),
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
