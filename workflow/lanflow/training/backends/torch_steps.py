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
    """

    def __init__(self, held: _Rows, n_rows: int, batch_size: int, train_batch: _TrainBatch) -> None:
        device = held[0].device
        self._held, self._batch_size, self._train_batch = held, batch_size, train_batch
        self._order = torch.zeros(n_rows, dtype=torch.int64, device=device)
        self._rates = torch.zeros(-(-n_rows // batch_size), device=device)
        self._offsets = torch.arange(batch_size, device=device)
        self._counter = torch.zeros(1, dtype=torch.int64, device=device)
        self._total = torch.zeros((), dtype=torch.float64, device=device)
        self._aside = torch.cuda.Stream() if device.type == "cuda" else None
        self._graph: torch.cuda.CUDAGraph | None = None

    def fit(self, n_rows: int, batch_size: int, held: _Rows | None) -> bool:
        """Tell whether so many rows, of these arrays if they are named, are for these steps."""
        are_held = held is None or all(map(torch.Tensor.is_set_to, held, self._held))
        return are_held and batch_size == self._batch_size and n_rows <= len(self._order)

    def take_rows(self, features: torch.Tensor, labels: torch.Tensor) -> None:
        """Put other rows where those of before lie."""
        for place, array in zip(self._held, (features, labels), strict=True):
            if not place.is_set_to(array):
                place[: len(array)].copy_(array)

    def run(self, order: torch.Tensor, rates: np.ndarray) -> float:
        """Update once per batch of these rows, in this order; the summed loss of all of them.

        Parameters
        ----------
        order
            Numbers of rows, (rows,) int64.
        rates
            Learning rate of each batch, float32.
        """
        n_whole = len(order) // self._batch_size
        self._order[: len(order)] = order
        self._rates[: len(rates)] = torch.from_numpy(rates).to(self._rates)
        self._counter.zero_()
        self._total.zero_()
        with torch.no_grad():
            for _ in range(n_whole - self._run_recorded(n_whole)):
                self._step()
            if n_whole < len(rates):
                self._train(order[n_whole * self._batch_size :], self._rates[n_whole])
        return float(self._total)

    def _step(self) -> None:
        """Train on the batch that the counter says, and count it."""
        rows = self._order.index_select(0, self._counter * self._batch_size + self._offsets)
        self._train(rows, self._rates.index_select(0, self._counter)[0])
        self._counter += 1

    def _train(self, rows: torch.Tensor, rate: torch.Tensor) -> None:
        x, y = (array.index_select(0, rows) for array in self._held)
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
