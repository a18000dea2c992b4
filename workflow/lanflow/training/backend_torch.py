"""The Torch kernel: the same arithmetic as the JAX kernel's, with Torch's own optimisers."""

import io
from collections.abc import Mapping
from functools import cached_property

import numpy as np
import torch
from torch.nn import functional

from lanflow.core.errors import UserError
from lanflow.networks.types import NETWORK_TYPES, Architecture
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
        raise UserError(
            "--device gpu: Torch sees no GPU here (install a CUDA build, or use --device cpu)"
        )
    return torch.device("cpu")


class TorchKernel:
    """Implements :class:`lanflow.training.backend.Kernel`.

    Parameters
    ----------
    device
        ``auto``, ``cpu`` or ``gpu``.
    threads
        Of the CPU; sums are split by it, so it decides the last bits of the weights.
    """

    name = "torch"
    weights_suffix = "pt"

    def __init__(self, *, device: str = "auto", threads: int = 1) -> None:
        torch.set_num_threads(threads)
        self._device = select_device(device)
        self.uses_gpu = self._device.type != "cpu"
        name = torch.cuda.get_device_name() if self.uses_gpu else ""
        self.device = name or f"cpu, {threads} thread(s)"

    def start(
        self, architecture: Architecture, config: TrainingConfig, weights: Mapping[str, np.ndarray]
    ) -> None:
        """Take initial weights and a fresh optimiser."""
        self._logits = NETWORK_TYPES[architecture.network_type].loss == "bcelogit"
        self._activations = [_ACTIVATIONS[name] for name in architecture.activations]
        self._config = config
        self._set(weights)

    def _set(self, weights: Mapping[str, np.ndarray]) -> None:
        self._weights = {
            name: torch.tensor(array, device=self._device, requires_grad=True)
            for name, array in weights.items()
        }
        self.__dict__.pop("_optimizer", None)

    @cached_property
    def _optimizer(self) -> torch.optim.Optimizer:
        """Made by the first update: it imports Torch's compiler, a second no prediction needs."""
        parameters = list(self._weights.values())
        lr, decay = self._config.learning_rate, self._config.weight_decay
        if self._config.optimizer == "adam":
            return torch.optim.Adam(
                parameters, lr=lr, weight_decay=decay, betas=(0.9, 0.999), eps=1e-8, fused=True
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
        if self._logits:
            return functional.binary_cross_entropy_with_logits(output, labels, reduction=reduction)
        return functional.huber_loss(output, labels, delta=1.0, reduction=reduction)

    def train_block(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        *,
        batch_size: int,
        learning_rates: np.ndarray,
    ) -> float:
        """One update per batch; the host waits for the device once, at the end."""
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
            total += loss.detach() * batch_labels.numel()
        return float(total)

    def evaluate_block(self, features: np.ndarray, labels: np.ndarray) -> float:
        """The summed row losses without an update."""
        with torch.no_grad():
            x = torch.from_numpy(features).to(self._device)
            y = torch.from_numpy(labels).to(self._device)
            return float(self._loss(self._forward(x), y, "sum"))

    def predict(self, features: np.ndarray) -> np.ndarray:
        """The evaluation head (rows, outputs)."""
        with torch.no_grad():
            x = torch.tensor(np.asarray(features, dtype=np.float32), device=self._device)
            output = self._forward(x)
            if self._logits:
                output = functional.logsigmoid(output)
            return np.asarray(output.cpu().numpy())

    def weights(self) -> dict[str, np.ndarray]:
        """A copy of the weights."""
        return {k: np.array(v.detach().cpu().numpy()) for k, v in self._weights.items()}

    def optimizer_state(self) -> dict[str, np.ndarray]:
        """A copy of the optimiser's state: ``count``, ``mu/...``, ``nu/...`` for adam."""
        state: dict[str, np.ndarray] = {}
        for name, tensor in self._weights.items():
            entry = self._optimizer.state.get(tensor, {})
            if "exp_avg" in entry:
                state["count"] = np.array(entry["step"].cpu().numpy(), dtype=np.int32)
                state[f"mu/{name}"] = np.array(entry["exp_avg"].cpu().numpy())
                state[f"nu/{name}"] = np.array(entry["exp_avg_sq"].cpu().numpy())
        return state

    def restore(
        self, weights: Mapping[str, np.ndarray], optimizer_state: Mapping[str, np.ndarray]
    ) -> None:
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

    def native_weights(self, weights: Mapping[str, np.ndarray]) -> bytes:
        """A state dict with LANfactory's names: activations take every second place."""
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

    def read_native_weights(self, content: bytes) -> dict[str, np.ndarray]:
        """Weights from what :meth:`native_weights` gives; nothing in it is run."""
        try:
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            weights = {}
            for name, tensor in state.items():
                _, place, kind = name.split(".")
                array = np.asarray(tensor.numpy(), np.float32)
                is_kernel = kind == "weight"
                key = f"layers_{int(place) // 2}/{'kernel' if is_kernel else 'bias'}"
                weights[key] = np.ascontiguousarray(array.T) if is_kernel else array
        except Exception as e:  # pickle, zip and torch each have their own kinds
            raise ValueError(f"not Torch's weights of a perceptron ({e})") from e
        return weights

    def versions(self) -> dict[str, str]:
        """Versions of the backend's libraries."""
        return {"torch": torch.__version__}
