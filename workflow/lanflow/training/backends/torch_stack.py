"""Several networks of Torch as one program: products of stacked matrices, one Adam for all."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from lanflow.training.backend import ADAM_BETAS, ADAM_EPSILON, Stack
from lanflow.training.backends.torch import TorchBackend
from lanflow.training.backends.torch_layers import Layers
from lanflow.training.backends.torch_muon import muon_step
from lanflow.training.backends.torch_steps import DeviceSteps


class TorchStack(Stack):
    """Trains with Torch; parameters as of :func:`lanflow.training.backends.choose.make_stack`.

    The weights of a network are one row of an array, its gradients and Adam's moments are rows of
    others. The arrays stay where they are from epoch to epoch, as a CUDA graph wants it; each
    backend's own are copied to and fro.
    """

    def __init__(self, backends: Sequence[TorchBackend], *, size: int) -> None:
        first, self._backends = backends[0], backends
        self._architecture, self._config = first.architecture, first.config
        self._shapes = {name: array.shape for name, array in first.weights().items()}
        device = first.held[0].device
        self._count = torch.zeros(size, device=device)
        n_weights = sum(map(math.prod, self._shapes.values()))
        # Adam's own step, for a learning rate of 1, comes in an array of its own.
        self._weights, self._gradients, self._mu, self._nu, self._step = (
            torch.zeros(size, n_weights, device=device) for _ in range(5)
        )
        self._layers = Layers(
            self._parts(self._weights),
            self._architecture.activations,
            self._parts(self._gradients),
        )
        self._places = [self._places_of(i) for i in range(len(backends))]
        self._steps: DeviceSteps | None = None

    def _parts(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """Views of the arrays that the rows hold, as :class:`Layers` takes them."""
        sizes = [math.prod(shape) for shape in self._shapes.values()]
        return {
            name: part.view(len(rows), -1, shape[-1])
            for (name, shape), part in zip(
                self._shapes.items(), rows.split(sizes, dim=1), strict=True
            )
        }

    def _places_of(self, i: int) -> dict[str, torch.Tensor]:
        """Views of what belongs to a network, under the names of :meth:`TorchBackend.tensors`."""
        groups = {"weights": self._weights, "mu": self._mu, "nu": self._nu}
        named = {
            f"{group}:{name}": part[i].view(self._shapes[name])
            for group, rows in groups.items()
            for name, part in self._parts(rows).items()
        }
        return {"count": self._count[i], **named}

    def train_epoch(
        self, seeds: Sequence[int | None], *, batch_size: int, learning_rates: np.ndarray
    ) -> list[float]:
        """Update each network once per batch of its rows; the host waits at the end."""
        orders = [
            backend.draw_order(seed or 0)
            for backend, seed in zip(self._backends, seeds, strict=True)
        ]
        n_unused = len(self._count) - len(orders)
        orders += [orders[0]] * n_unused
        for backend, places in zip(self._backends, self._places, strict=True):
            _copy(backend.tensors(), places)
        if self._steps is None:
            self._steps = DeviceSteps(
                self._backends[0].held,
                len(orders[0]),
                batch_size,
                self._train_batch,
                n_networks=len(orders),
            )
        rates = np.pad(learning_rates, [(0, n_unused), (0, 0)])
        losses = self._steps.run(torch.stack(orders), rates)
        for backend, seed, places in zip(self._backends, seeds, self._places, strict=True):
            if seed is not None:
                _copy(places, backend.tensors())
        return [float(loss) for loss in losses[: len(seeds)]]

    def _train_batch(
        self, x: torch.Tensor, labels: torch.Tensor, rates: torch.Tensor
    ) -> torch.Tensor:
        """Update each network once; the summed loss of its rows before."""
        means = self._layers.take_gradients(x, labels, self._architecture)
        self._update(rates)
        return means * (x.shape[1] * self._architecture.n_losses)

    def _update(self, rates: torch.Tensor) -> None:
        """Change the weights by their gradients, each network with its own learning rate."""
        if self._config.weight_decay:
            self._gradients.add_(self._weights, alpha=self._config.weight_decay)
        if self._config.optimizer == "sgd":
            self._weights.addcmul_(self._gradients, rates.unsqueeze(1), value=-1)
            return
        self._count += 1
        self._step.zero_()
        views: Callable[[torch.Tensor], list[torch.Tensor]] = list
        if self._config.optimizer == "muon":
            views = self._biases
            self._point_matrices()
        steps, *others = map(views, (self._step, self._gradients, self._mu, self._nu))
        torch._fused_adam_(
            steps,
            *others,
            [],
            list(self._count) * (len(steps) // len(self._count)),
            lr=1.0,
            beta1=ADAM_BETAS[0],
            beta2=ADAM_BETAS[1],
            weight_decay=0.0,
            eps=ADAM_EPSILON,
            amsgrad=False,
            maximize=False,
        )
        self._weights.addcmul_(self._step, rates.unsqueeze(1))

    def _biases(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """Views of what belongs to biases: of the first bias for each network, and so on."""
        parts = self._parts(rows)
        return [each[0] for name, part in parts.items() if name.endswith("bias") for each in part]

    def _point_matrices(self) -> None:
        """Fill in Muon's steps, for a learning rate of 1."""
        steps, slopes, means = (
            self._parts(rows) for rows in (self._step, self._gradients, self._mu)
        )
        for name in steps:
            if name.endswith("kernel"):
                steps[name].copy_(-muon_step(slopes[name], means[name], self._count))


def _copy(tensors: dict[str, torch.Tensor], places: dict[str, torch.Tensor]) -> None:
    """Write arrays to places of the same names, in one call."""
    torch._foreach_copy_([places[name] for name in tensors], list(tensors.values()))
