"""Updates by rows that lie on a GPU, without a word from the host between one and the next.

The host takes a millisecond to launch the kernels of an update, and a GPU a tenth of that to run
them (H200, layers of 100). So many updates are recorded as one CUDA graph, which the host launches
at once. A graph repeats the same kernels on the same arrays; a counter on the device tells them
which batch is next, and arrays there hold the order of rows and the learning rates.
"""

from collections.abc import Callable

import numpy as np
import torch

# Updates of one CUDA graph.
_RECORDED_STEPS = 50
# Updates before a graph is recorded or replayed: Torch wants some, on a stream aside. Every epoch
# begins with them, so that it is the same epoch whether or not its process recorded the graph.
_FIRST_STEPS = 3

_Rows = tuple[torch.Tensor, torch.Tensor]
_TrainBatch = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class DeviceSteps:
    """The updates of an epoch, in batches of rows that lie on the device.

    Parameters
    ----------
    held
        Features and labels, (rows, inputs) and (rows, outputs).
    n_rows
        Rows of an epoch, at most.
    batch_size
        Rows of a batch; the last of an epoch may be smaller.
    train_batch
        Updates the weights by features, labels and a learning rate, and gives the summed loss.
    n_networks
        Of several networks that are trained beside each other, each has an order of the rows,
        learning rates and a loss of its own: all of these have a first axis of networks.
    """

    def __init__(
        self,
        held: _Rows,
        n_rows: int,
        batch_size: int,
        train_batch: _TrainBatch,
        *,
        n_networks: int | None = None,
    ) -> None:
        device = held[0].device
        stack = () if n_networks is None else (n_networks,)
        self._held, self._batch_size, self._train_batch = held, batch_size, train_batch
        self._order = torch.zeros((*stack, n_rows), dtype=torch.int64, device=device)
        self._rates = torch.zeros((*stack, -(-n_rows // batch_size)), device=device)
        self._offsets = torch.arange(batch_size, device=device)
        self._counter = torch.zeros(1, dtype=torch.int64, device=device)
        self._total = torch.zeros(stack, dtype=torch.float64, device=device)
        self._aside = torch.cuda.Stream() if device.type == "cuda" else None
        self._graph: torch.cuda.CUDAGraph | None = None

    def fit(self, n_rows: int, batch_size: int) -> bool:
        """Tell whether so many rows, in batches of this size, are for these steps."""
        return batch_size == self._batch_size and n_rows <= self._order.shape[-1]

    def take_rows(self, features: torch.Tensor, labels: torch.Tensor) -> None:
        """Put other rows where those of before lie."""
        for place, array in zip(self._held, (features, labels), strict=True):
            if not place.is_set_to(array):
                place[: len(array)].copy_(array)

    def run(self, order: torch.Tensor, rates: np.ndarray) -> np.ndarray:
        """Update once per batch of these rows, in this order; the summed loss of all of them.

        Parameters
        ----------
        order
            Numbers of rows, (rows,) or (networks, rows) int64.
        rates
            Learning rate of each batch, (batches,) or (networks, batches) float32.

        Returns
        -------
        numpy.ndarray
            () or (networks,) float64.
        """
        n_rows, n_steps = order.shape[-1], rates.shape[-1]
        n_whole = n_rows // self._batch_size
        self._order[..., :n_rows] = order
        self._rates[..., :n_steps] = torch.from_numpy(rates).to(self._rates)
        self._counter.zero_()
        self._total.zero_()
        with torch.no_grad():
            for _ in range(n_whole - self._run_recorded(n_whole)):
                self._step()
            if n_whole < n_steps:
                self._train(order[..., n_whole * self._batch_size :], self._rates[..., n_whole])
        return np.asarray(self._total.cpu().numpy())

    def _step(self) -> None:
        """Train on the batch that the counter says, and count it."""
        rows = self._order.index_select(-1, self._counter * self._batch_size + self._offsets)
        self._train(rows, self._rates.index_select(-1, self._counter)[..., 0])
        self._counter += 1

    def _train(self, rows: torch.Tensor, rate: torch.Tensor) -> None:
        chosen = rows.flatten()
        x, y = (array.index_select(0, chosen).view(*rows.shape, -1) for array in self._held)
        self._total += self._train_batch(x, y, rate)

    def _run_recorded(self, n_steps: int) -> int:
        """Make as many of the updates as are worth a graph; how many they were."""
        if self._aside is None or n_steps < _FIRST_STEPS + _RECORDED_STEPS:
            return 0
        self._aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._aside):
            for _ in range(_FIRST_STEPS):
                self._step()
        torch.cuda.current_stream().wait_stream(self._aside)
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            # Another thread may be copying the next rows.
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                for _ in range(_RECORDED_STEPS):
                    self._step()
        n_replays = (n_steps - _FIRST_STEPS) // _RECORDED_STEPS
        for _ in range(n_replays):
            self._graph.replay()
        return _FIRST_STEPS + n_replays * _RECORDED_STEPS
