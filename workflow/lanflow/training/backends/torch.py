"""The Torch backend: the arithmetic of the JAX backend, with Torch's own optimisers.

``tests/parity`` compares both backends with each other and with the textbook's formulas.
"""

import io
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from lanflow.networks.types import Architecture, BackendName
from lanflow.training.backend import (
    ADAM_BETAS,
    ADAM_EPSILON,
    Backend,
    OptimizerState,
    Weights,
    cpu_name,
    no_gpu_error,
)
from lanflow.training.backends.torch_layers import Layers, loss_of
from lanflow.training.backends.torch_muon import muon_step
from lanflow.training.backends.torch_steps import DeviceSteps
from lanflow.training.batches import HeldRows
from lanflow.training.config import TrainingConfig

# Rows of a batch that is only evaluated: its layers' outputs stay in the processor's cache.
_EVALUATED_ROWS = 2**11
# Of those that lie on a GPU.
_EVALUATED_HELD_ROWS = 2**19


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
    """Trains with Torch; parameters as of :func:`lanflow.training.backends.choose.make_backend`."""

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
        self.architecture, self.config = architecture, config
        self.restore(weights, {})

    def restore(self, weights: Weights, optimizer_state: OptimizerState) -> None:
        """Continue from copies taken before."""
        self._weights = self._copies(weights)
        self._layers = Layers(self._weights, self.architecture.activations)
        # A CUDA graph keeps the arrays that it was recorded with, so evaluation has its own.
        self._evaluated = self._layers
        if self.uses_gpu:
            self._evaluated = Layers(self._weights, self.architecture.activations)
        self._steps: DeviceSteps | None = None
        self._count = torch.tensor(float(optimizer_state.get("count", 0)), device=self._device)
        zeros = {name: np.zeros_like(array) for name, array in weights.items()}
        self._mu, self._nu = (
            self._copies(
                {name: optimizer_state.get(f"{moment}/{name}", zeros[name]) for name in weights}
            )
            for moment in ("mu", "nu")
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        """The weights and the optimiser's state on the device, for a stack to train."""
        groups = {"weights": self._weights, "mu": self._mu, "nu": self._nu}
        named = {f"{group}:{k}": v for group, tree in groups.items() for k, v in tree.items()}
        return {"count": self._count, **named}

    def _copies(self, arrays: Weights) -> dict[str, torch.Tensor]:
        return {name: torch.tensor(array, device=self._device) for name, array in arrays.items()}

    def bytes_for_rows(self) -> int:
        """Half of a GPU's memory."""
        return torch.cuda.mem_get_info()[1] // 2 if self.uses_gpu else 0

    def hold_rows(self, rows: HeldRows, *, held_by: Any = None) -> None:
        """Copy rows to the device, unless another backend did."""
        self._steps = None
        self.held = self._copy_rows(rows) if held_by is None else held_by.held
        self._train_rows, self._val_rows = self._number(rows.train), self._number(rows.val)
        self._parts = None if rows.parts is None else self._number(rows.parts)

    def _copy_rows(self, rows: HeldRows) -> tuple[torch.Tensor, torch.Tensor]:
        shapes = [(len(rows.rows), array.shape[1]) for array in (rows.features, rows.labels)]
        x, y = (torch.empty(shape, device=self._device) for shape in shapes)
        first = 0
        for features, labels in rows.blocks():
            last = first + len(features)
            x[first:last], y[first:last] = torch.from_numpy(features), torch.from_numpy(labels)
            first = last
        return x, y

    def _number(self, numbers: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(numbers).to(self._device)

    def drop_rows(self) -> None:
        """Forget the rows held, and the CUDA graph that was recorded with them."""
        self._steps = None
        for name in ("held", "_train_rows", "_val_rows", "_parts"):
            vars(self).pop(name, None)

    def train_epoch(self, seed: int, *, batch_size: int, learning_rates: np.ndarray) -> float:
        """Update once per batch of the rows held; the host waits for the device at the end."""
        order = self.draw_order(seed)
        steps = self._make_steps(len(order), batch_size, self.held)
        return float(steps.run(order, learning_rates))

    def draw_order(self, seed: int) -> torch.Tensor:
        """Numbers of the rows to train on, in an order drawn on the device."""
        generator = torch.Generator(self._device).manual_seed(seed)
        order = torch.randperm(
            len(self._train_rows), generator=generator, device=self._device, dtype=torch.int64
        )
        if self._parts is not None:
            order = order[torch.argsort(self._parts[order], stable=True)]
        return self._train_rows[order]

    def _make_steps(
        self, n_rows: int, batch_size: int, held: tuple[torch.Tensor, torch.Tensor]
    ) -> DeviceSteps:
        """The steps of before if these rows fit them, so that a CUDA graph is recorded once."""
        if self._steps is None or not self._steps.fit(n_rows, batch_size):
            self._steps = DeviceSteps(held, n_rows, batch_size, self._train_batch)
        return self._steps

    def _train_batch(
        self, x: torch.Tensor, labels: torch.Tensor, rate: float | torch.Tensor
    ) -> torch.Tensor:
        """Update once; the summed loss of the rows before."""
        loss = self._layers.take_gradients(x, labels, self.architecture)
        self._update(rate)
        return loss * (len(x) * self.architecture.n_losses)

    def evaluate_held(self) -> float:
        """Sum the losses of the rows held to validate on, without an update."""
        total = torch.zeros((), dtype=torch.float64, device=self._device)
        with torch.no_grad():
            for rows in self._val_rows.split(_EVALUATED_HELD_ROWS):
                x, y = (array.index_select(0, rows) for array in self.held)
                total += self._summed_loss(self._evaluated.forward(x), y)
        return float(total)

    def place(self, features: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows on the device; a GPU gets them beside what it computes."""
        arrays = torch.from_numpy(features), torch.from_numpy(labels)
        if not self.uses_gpu:
            return arrays
        beside = torch.cuda.Stream()
        with torch.cuda.stream(beside):
            x, y = (a.pin_memory().to(self._device, non_blocking=True) for a in arrays)
        beside.synchronize()
        for tensor in (x, y):
            tensor.record_stream(torch.cuda.default_stream())
        return x, y

    def train_block(
        self,
        features: Any,
        labels: Any,
        *,
        batch_size: int,
        learning_rates: np.ndarray,
    ) -> float:
        """Update once per batch; the host waits for the device once, at the end."""
        x, y = (torch.as_tensor(array, device=self._device) for array in (features, labels))
        if self.uses_gpu:
            return self._train_placed(x, y, batch_size, learning_rates)
        total = torch.zeros((), dtype=torch.float64)
        batches = zip(x.split(batch_size), y.split(batch_size), strict=True)
        with torch.no_grad():
            for (batch, batch_labels), rate in zip(batches, learning_rates.tolist(), strict=True):
                total += self._train_batch(batch, batch_labels, rate)
        return float(total)

    def _train_placed(
        self, x: torch.Tensor, y: torch.Tensor, batch_size: int, rates: np.ndarray
    ) -> float:
        """Train on a block as on rows that the device keeps, in the order in which they lie."""
        steps = self._make_steps(len(x), batch_size, (x, y))
        steps.take_rows(x, y)
        return float(steps.run(torch.arange(len(x), device=self._device), rates))

    def _update(self, rate: float | torch.Tensor) -> None:
        """Change the weights by their gradients: one call for all of them.

        ``torch.optim`` does no more, but imports Torch's compiler, which takes a second.
        """
        decay, optimizer = self.config.weight_decay, self.config.optimizer
        if optimizer != "sgd":
            self._count += 1
        moved = self._move_matrices(rate) if optimizer == "muon" else []
        names = [name for name in self._weights if name not in moved]
        weights = [self._weights[name] for name in names]
        gradients = [self._layers.gradients[name] for name in names]
        if optimizer == "sgd":
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
        torch._fused_adam_(
            weights,
            gradients,
            [self._mu[name] for name in names],
            [self._nu[name] for name in names],
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

    def _move_matrices(self, rate: float | torch.Tensor) -> list[str]:
        """Change the weights that are matrices as Muon does; their names."""
        kernels = [name for name in self._weights if name.endswith("kernel")]
        for name in kernels:
            weight, slope = self._weights[name], self._layers.gradients[name]
            if self.config.weight_decay:
                slope = slope + self.config.weight_decay * weight
            weight -= rate * muon_step(slope, self._mu[name], self._count)
        return kernels

    def evaluate_block(self, features: np.ndarray, labels: np.ndarray) -> float:
        """Sum the losses of rows, without an update."""
        y = torch.from_numpy(labels).to(self._device)
        with torch.no_grad():
            return float(self._summed_loss(self._outputs(features), y))

    def _summed_loss(self, output: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return loss_of(self.architecture, output, labels, "sum")

    def _outputs(self, features: np.ndarray) -> torch.Tensor:
        """Outputs of the last layer for rows, before the loss."""
        x = torch.from_numpy(features).to(self._device)
        n_rows = len(x) if self.uses_gpu else _EVALUATED_ROWS
        return torch.cat([self._evaluated.forward(part).clone() for part in x.split(n_rows)])

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Log-likelihoods or log-probabilities of rows."""
        with torch.no_grad():
            output = self._outputs(np.array(features, dtype=np.float32))
            match self.architecture.loss:
                case "bcelogit":
                    output = functional.logsigmoid(output)
                case "crossentropy":
                    n_choices = output.shape[1]
                    if self.architecture.can_omit:
                        output = functional.pad(output, (0, 1))
                    output = functional.log_softmax(output, dim=1)[:, :n_choices]
            return np.asarray(output.cpu().numpy())

    def weights(self) -> Weights:
        """A copy of the weights."""
        return _numpy(self._weights)

    def optimizer_state(self) -> OptimizerState:
        """A copy of the optimiser's state; of adam's only, since sgd has none."""
        if self.config.optimizer == "sgd":
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
