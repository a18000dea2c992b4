"""What Torch could do: ceilings of the device, and bare training loops over rows that lie on it.

An update is written so that it needs nothing of the host: a counter on the device says which batch
is next, so the same CUDA graph can be replayed for each.
"""

import contextlib
import importlib.metadata
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from gpu_parts.figures import N_INPUTS, Case, Ceilings, Recorder, Size, repeat

RATE = 1e-3
# Updates of one CUDA graph.
GRAPH_STEPS = 50
Gradient = Callable[
    [Sequence[torch.Tensor], torch.Tensor, torch.Tensor], tuple[torch.Tensor, list[torch.Tensor]]
]


def device() -> torch.device:
    """The GPU, or the CPU where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def synchronize() -> None:
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def versions() -> dict[str, str]:
    """The libraries and the device."""
    found = {"torch": torch.__version__, "torch cuda": str(torch.version.cuda)}
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        found["triton"] = importlib.metadata.version("triton")
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found["torch device"] = properties.name
        found["device memory"] = f"{properties.total_memory / 2**30:.0f} GiB"
        found["multiprocessors"] = str(properties.multi_processor_count)
    return found


def peak_mib() -> float | None:
    """Most device memory held since the last call."""
    if not torch.cuda.is_available():
        return None
    peak = torch.cuda.max_memory_allocated() / 2**20
    torch.cuda.reset_peak_memory_stats()
    return peak


def measure_ceilings(record: Recorder, size: Size, precision: str = "highest") -> Ceilings:
    """Rates of a large product of matrices and of a large copy, and the product's error."""
    torch.set_float32_matmul_precision(precision)
    n = size.product
    a, b = (torch.randn(n, n, device=device()) for _ in range(2))
    out = torch.empty_like(a)
    product = partial(torch.mm, a, b, out=out)
    product()
    flops = [10 * 2 * n**3 / s for s in repeat(lambda: _ten_times(product), size)]
    record(f"product of matrices, precision {precision}", "TFLOP/s", [f / 1e12 for f in flops])
    exact = a[:64].double().cpu() @ b.double().cpu()
    error = torch.linalg.norm(out[:64].double().cpu() - exact) / torch.linalg.norm(exact)
    record(f"error of that product, precision {precision}", "relative", [float(error)])
    source = torch.rand(size.copied_bytes // 4, device=device())
    target = source.clone()
    moved = 10 * 2 * size.copied_bytes
    copied = [moved / s for s in repeat(lambda: _ten_times(lambda: target.copy_(source)), size)]
    if precision == "highest":
        record("copy on the device, read and write", "GB/s", [c / 1e9 for c in copied])
    peak_mib()
    return Ceilings(float(np.median(flops)), float(np.median(copied)))


def _ten_times(run: Callable[[], Any]) -> None:
    for _ in range(10):
        run()
    synchronize()


def measure_launches(record: Recorder, size: Size) -> None:
    """What the smallest kernel costs, launched by the host or by a CUDA graph; copies to it."""
    number = torch.zeros(1, device=device())
    n = 1000

    def launch() -> None:
        for _ in range(n):
            number.add_(1)

    launch()
    for what, run in (
        ("launch of a kernel", launch),
        ("kernel of a CUDA graph", replayed(launch, 1)),
    ):

        def waiting(run: Callable[[], None] = run) -> None:
            run()
            synchronize()

        record(what, "us", [s / n * 1e6 for s in repeat(waiting, size)])
    rows = torch.rand(size.copied_bytes // 4)
    places = {"pageable": rows}
    if torch.cuda.is_available():
        places["pinned"] = rows.pin_memory()
    for name, source in places.items():
        target = torch.empty_like(source, device=device())

        def copy(target: torch.Tensor = target, source: torch.Tensor = source) -> None:
            target.copy_(source, non_blocking=True)
            synchronize()

        rates = [size.copied_bytes / s / 1e9 for s in repeat(copy, size)]
        record(f"copy to the device, {name}", "GB/s", rates)


def forward(weights: Sequence[torch.Tensor], x: torch.Tensor) -> list[torch.Tensor]:
    """Inputs of every layer, and the output; stacked networks have three axes."""
    values = [x]
    add_product = torch.addmm if x.ndim == 2 else torch.baddbmm
    for i in range(0, len(weights), 2):
        x = add_product(weights[i + 1], values[-1], weights[i])
        values.append(torch.tanh(x) if i + 2 < len(weights) else x)
    return values


def mean_loss(weights: Sequence[torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean Huber loss of each network, summed over networks."""
    losses = functional.huber_loss(forward(weights, x)[-1], y, delta=1.0, reduction="none")
    return losses.mean(dim=(-2, -1)).sum()


def autograd(
    weights: Sequence[torch.Tensor],
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    loss_of: Callable[..., torch.Tensor] = mean_loss,
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Loss and gradients by Torch's own differentiation."""
    loss = loss_of(weights, x, y)
    return loss.detach(), list(torch.autograd.grad(loss, weights))


@torch.no_grad()
def by_hand(
    weights: Sequence[torch.Tensor], x: torch.Tensor, y: torch.Tensor
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Loss and gradients written out."""
    values = forward(weights, x)
    error = values.pop() - y
    slope = error.clamp(-1, 1)
    loss = (slope * (error - slope / 2)).mean(dim=(-2, -1)).sum()
    slope = slope / x.shape[-2]
    gradients: list[torch.Tensor] = []
    for i in reversed(range(len(values))):
        gradients[:0] = [values[i].mT @ slope, slope.sum(-2, keepdim=x.ndim == 3)]
        if i > 0:
            slope = torch.ops.aten.tanh_backward(slope @ weights[2 * i].mT, values[i])
    return loss, gradients


class Update:
    """One update of one or more networks, by rows that lie on the device.

    Parameters
    ----------
    case
        What is trained.
    gradient
        How the gradient is computed.
    """

    def __init__(self, case: Case, gradient: Gradient = autograd) -> None:
        place = device()
        self.case, self._gradient = case, gradient
        self._features = torch.rand(case.n_rows, N_INPUTS, device=place)
        gap = self._features[:, 4:5] - self._features[:, 1:2]
        self._labels = -gap.abs() * (1 + self._features[:, :1])
        self._stack = () if case.n_networks == 1 else (case.n_networks,)
        self.weights = self._initial_weights(place)
        self._rates = torch.full((case.n_steps,), RATE, device=place)
        self.optimizer = torch.optim.Adam(
            self.weights,
            lr=torch.tensor(RATE, device=place),
            fused=True,
            capturable=place.type == "cuda",
        )
        self._order = torch.empty((case.n_networks, case.n_rows), dtype=torch.int64, device=place)
        self._offsets = torch.arange(case.batch_size, device=place)
        self._counter = torch.zeros(1, dtype=torch.int64, device=place)
        self.total = torch.zeros((), dtype=torch.float64, device=place)
        self.shuffle()

    def _initial_weights(self, place: torch.device) -> list[torch.Tensor]:
        weights = []
        for n_in, n_out in self.case.shapes:
            kernel = torch.randn(*self._stack, n_in, n_out, device=place) / math.sqrt(n_in)
            weights += [kernel, torch.zeros(*self._stack, *(1,) * bool(self._stack), n_out)]
        return [array.to(place).requires_grad_() for array in weights]

    def shuffle(self) -> None:
        """Begin an epoch: a new order for each network, made on the device."""
        for order in self._order:
            torch.randperm(self.case.n_rows, out=order)
        self._counter.zero_()
        self.total.zero_()

    def __call__(self) -> None:
        """Make the update that the counter says, and count it."""
        places = self._counter * self.case.batch_size + self._offsets
        rows = self._order.index_select(1, places).flatten()
        shape = (*self._stack, self.case.batch_size, -1)
        x, y = (a.index_select(0, rows).view(shape) for a in (self._features, self._labels))
        loss, gradients = self._gradient(self.weights, x, y)
        for array, gradient in zip(self.weights, gradients, strict=True):
            array.grad = gradient
        self.optimizer.param_groups[0]["lr"].copy_(self._rates.index_select(0, self._counter)[0])
        self.optimizer.step()
        self.total += loss
        self._counter += 1


def replayed(run: Callable[[], None], n_times: int) -> Callable[[], None]:
    """``run`` so many times as one CUDA graph; without a GPU, the calls themselves."""

    def all_times() -> None:
        for _ in range(n_times):
            run()

    if not torch.cuda.is_available():
        return all_times
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        all_times()
    return graph.replay


def measure_loops(record: Recorder, size: Size) -> None:
    """Bare epochs: host-launched, in CUDA graphs, with a gradient by hand, stacked."""
    record.trying("launches", partial(measure_launches, record, size))
    ceilings = measure_ceilings(record, size)
    whole = [*size.batches, size.wide, size.tiny]
    for case in (size.batches[0], size.batches[-1], size.tiny):
        _measure(record, size, "bare, launched by the host", case, ceilings, n_graph=0)
    _measure(record, size, "bare, a CUDA graph a step", size.batches[0], ceilings, n_graph=1)
    for case in (*whole, *size.many):
        _measure(record, size, "bare, 50 steps a CUDA graph", case, ceilings)
    for case in (*whole, *size.many):
        what = "bare, gradient by hand, 50 steps a graph"
        _measure(record, size, what, case, ceilings, gradient=by_hand)
    for what, gradient in (("autograd", autograd), ("by hand", by_hand)):
        record.trying("kernels", partial(count_kernels, record, size, what, gradient))


def measure_rough(record: Recorder, size: Size) -> None:
    """Epochs in CUDA graphs with products in TF32, which is JAX's default."""
    rough = measure_ceilings(record, size, "high")
    for case in (*size.batches, size.wide, *size.many):
        what = "bare, by hand, TF32, 50 steps a graph"
        _measure(record, size, what, case, rough, gradient=by_hand)


def measure_compiled(record: Recorder, size: Size) -> None:
    """The same epochs with the gradient compiled, which needs Triton and a C compiler."""
    ceilings = measure_ceilings(record, size)
    written, loss = compiled(by_hand), partial(autograd, loss_of=compiled(mean_loss))
    for case in dict.fromkeys((size.batches[0], size.batches[-1])):
        what = "bare, compiled by hand, 50 steps a graph"
        _measure(record, size, what, case, ceilings, gradient=written)
        what = "bare, compiled loss, 50 steps a graph"
        _measure(record, size, what, case, ceilings, gradient=loss)
    overhead = compiled(by_hand, mode="reduce-overhead")
    what = "bare, compiled by hand, reduce-overhead"
    _measure(record, size, what, size.batches[0], ceilings, gradient=overhead, n_graph=0)
    record.trying("kernels", partial(count_kernels, record, size, "compiled by hand", written))


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """``torch.compile`` for the GPU; without one, its tracing alone, which needs no compiler."""
    if not torch.cuda.is_available():
        return torch.compile(function, backend="eager", dynamic=False)
    return torch.compile(function, dynamic=False, **options)


def _measure(
    record: Recorder,
    size: Size,
    what: str,
    case: Case,
    ceilings: Ceilings,
    *,
    gradient: Gradient = autograd,
    n_graph: int = GRAPH_STEPS,
) -> None:
    """Time epochs; ``n_graph`` updates are one CUDA graph, or the host launches each for 0."""

    def measure() -> None:
        peak_mib()
        update = Update(case, gradient)
        before = time.perf_counter()
        update()
        n_steps = math.gcd(case.n_steps, n_graph) if n_graph else 1
        run_steps = replayed(update, n_steps) if n_graph else update
        synchronize()
        first_s = time.perf_counter() - before

        def epoch() -> None:
            update.shuffle()
            for _ in range(case.n_steps // n_steps):
                run_steps()
            if not math.isfinite(float(update.total)):
                raise FloatingPointError("the loss is not finite")

        epoch()
        seconds = repeat(epoch, size)
        loss = float(update.total) / case.n_steps / case.n_networks
        more = {"first_s": first_s, "peak_mib": peak_mib(), "loss": loss}
        record.rate(what, case, seconds, ceilings, **more)

    record.trying(f"{what}, batches of {case.batch_size}, {case.n_networks} networks", measure)


def count_kernels(record: Recorder, size: Size, what: str, gradient: Gradient) -> None:
    """Kernels of one update as the profiler counts them; the last measurement of a process."""
    if not torch.cuda.is_available():
        return
    update = Update(size.tiny, gradient)
    update()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        update()
        synchronize()
    on_device = [e for e in seen.events() if e.device_type == torch.autograd.DeviceType.CUDA]
    record(f"kernels of an update, {what}", "kernels", [float(len(on_device))])
