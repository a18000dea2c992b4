"""What JAX could do: ceilings of the device, and bare training loops over rows that lie on it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gpu_parts.figures import N_INPUTS, N_OUTPUTS, Case, Ceilings, Recorder, Size, repeat

RATE = 1e-3
OPTIMIZER = optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8)


@dataclass(frozen=True)
class Variant:
    """One way to write an epoch as a program.

    Attributes
    ----------
    shuffles
        Draw an order on the device, and gather the rows of each batch by it; the rows are trained
        on as they lie otherwise.
    is_unrolled
        Write several updates out in the body of the loop.
    is_flat
        Keep all weights in one vector, so that Adam is one kernel.
    precision
        Of products: JAX's default for float32, or ``highest``.
    options
        Of the compiler, by name.
    """

    name: str
    shuffles: bool = True
    is_unrolled: bool = False
    is_flat: bool = False
    precision: str | None = None
    options: tuple[tuple[str, Any], ...] = ()


SCAN = Variant("bare scan, no shuffling", shuffles=False)
EPOCH = Variant("bare epoch, shuffled on the device")
UNROLLED = Variant("bare epoch, updates unrolled", is_unrolled=True)
FLAT = Variant("bare epoch, weights in one vector", is_flat=True)
HIGHEST = Variant("bare epoch, products in full float32", precision="highest")
# Products are tuned by timing kernels while compiling, unless it is told otherwise.
OPTIONS: dict[str, dict[str, Any]] = {
    "tuned": {},
    "not tuned": {"xla_gpu_autotune_level": 0},
    "products of cuBLAS": {"xla_gpu_enable_triton_gemm": False},
}


def versions() -> dict[str, str]:
    """The libraries and the device."""
    device = jax.devices()[0]
    return {
        "jax": jax.__version__,
        "optax": optax.__version__,
        "jax platform": device.client.platform_version.splitlines()[0],
        "jax device": device.device_kind,
    }


_peak = 0.0


def peak_mib() -> float | None:
    """Most device memory held since the last call, if it is more than this process ever held."""
    global _peak
    statistics = jax.devices()[0].memory_stats() or {}
    before, _peak = _peak, max(_peak, statistics.get("peak_bytes_in_use", 0) / 2**20)
    return _peak if _peak > before else None


def measure_ceilings(record: Recorder, size: Size, precision: str | None = None) -> Ceilings:
    """Rates of a large product of matrices and of a large copy, and the product's error."""
    n = size.product
    a, b = (jax.random.normal(jax.random.key(i), (n, n)) for i in range(2))
    with jax.default_matmul_precision(precision):
        product = jax.jit(lambda a, b: a @ b).lower(a, b).compile()
    got = np.asarray(product(a, b)[:64])
    flops = [10 * 2 * n**3 / s for s in repeat(lambda: _ten_times(lambda: product(a, b)), size)]
    name = precision or "default"
    record(f"product of matrices, {name} precision", "TFLOP/s", [f / 1e12 for f in flops])
    exact = np.asarray(a[:64], np.float64) @ np.asarray(b, np.float64)
    error = np.linalg.norm(got - exact) / np.linalg.norm(exact)
    record(f"error of that product, {name} precision", "relative", [float(error)])
    numbers = jnp.arange(size.copied_bytes // 4, dtype=jnp.float32)
    copy = jax.jit(lambda x: x + 1).lower(numbers).compile()
    jax.block_until_ready(copy(numbers))
    moved = 10 * 2 * size.copied_bytes
    copied = [moved / s for s in repeat(lambda: _ten_times(lambda: copy(numbers)), size)]
    if precision is None:
        record("copy on the device, read and write", "GB/s", [c / 1e9 for c in copied])
    peak_mib()
    return Ceilings(float(np.median(flops)), float(np.median(copied)))


def _ten_times(run: Callable[[], Any]) -> None:
    for _ in range(10):
        result = run()
    jax.block_until_ready(result)


def measure_loops(record: Recorder, size: Size) -> None:
    """Bare epochs: three batch sizes, variants, wide layers, a tiny batch, many networks."""
    ceilings = measure_ceilings(record, size)
    first, last = size.batches[0], size.batches[-1]
    wanted = [(variant, case) for case in size.batches for variant in (SCAN, EPOCH)]
    wanted += [(UNROLLED, first), (FLAT, first), (FLAT, last)]
    wanted += [(EPOCH, case) for case in (size.wide, size.tiny, *size.many)]
    _measure_all(record, size, wanted, ceilings)
    precise = measure_ceilings(record, size, "highest")
    _measure_all(record, size, [(HIGHEST, last), (HIGHEST, size.wide)], precise)
    permute = jax.jit(lambda key: jax.random.permutation(key, last.n_rows))
    keys = iter(range(2**30))

    def draw() -> None:
        jax.block_until_ready(permute(jax.random.key(next(keys))))

    draw()
    record("permutation on the device", "rows/s", [last.n_rows / s for s in repeat(draw, size)])
    record.trying("copies", partial(_measure_copy, record, size))


def _measure_copy(record: Recorder, size: Size) -> None:
    numbers = np.ones(size.copied_bytes // 4, np.float32)

    def copy() -> None:
        jax.block_until_ready(jax.device_put(numbers))

    copy()
    rates = [size.copied_bytes / s / 1e9 for s in repeat(copy, size)]
    record("copy to the device, device_put", "GB/s", rates)


def measure_graphs(record: Recorder, size: Size) -> None:
    """The same epochs where XLA_FLAGS of this process puts loops into CUDA graphs."""
    ceilings = measure_ceilings(record, size)
    wanted = [(EPOCH, case) for case in (*size.batches, size.tiny)]
    _measure_all(record, size, wanted, ceilings)


def measure_options(record: Recorder, size: Size) -> None:
    """What the compiler's search for the fastest products costs and gains; validation as well."""
    _measure_validation(record, size)
    for precision in (None, "highest"):
        ceilings = measure_ceilings(record, size, precision)
        name = "full float32" if precision else "default precision"
        wanted = [
            (
                Variant(
                    f"bare epoch, {name}, {how}",
                    precision=precision,
                    options=tuple(options.items()),
                ),
                case,
            )
            for how, options in reversed(OPTIONS.items())
            for case in (size.batches[0], size.batches[-1])
        ]
        _measure_all(record, size, wanted, ceilings)


def _measure_validation(record: Recorder, size: Size) -> None:
    """Seconds to compile the loss of a block of rows, and rows per second of it."""
    case = size.batches[-1]
    n_rows = min(149_796, case.n_rows)
    rows = made_rows(Case(n_rows, n_rows))
    weights = initial_weights(case, is_flat=False)
    for precision in (None, "highest"):
        for how, options in reversed(OPTIONS.items()):
            name = f"validation, {precision or 'default'} precision, {how}"
            record.trying(
                name, partial(_compile_loss, record, size, name, weights, rows, precision, options)
            )


def _compile_loss(
    record: Recorder,
    size: Size,
    name: str,
    weights: Any,
    rows: tuple[jax.Array, jax.Array],
    precision: str | None,
    options: dict[str, Any],
) -> None:
    before = time.perf_counter()
    with jax.default_matmul_precision(precision):
        lowered = jax.jit(_mean_loss, compiler_options=options).lower(weights, *rows)
    loss = lowered.compile()
    record(f"seconds to compile {name}", "s", [time.perf_counter() - before])
    loss(weights, *rows)
    seconds = repeat(lambda: _ten_times(lambda: loss(weights, *rows)), size)
    record(f"{name}", "rows/s", [10 * len(rows[0]) / s for s in seconds])


def _measure_all(
    record: Recorder, size: Size, wanted: list[tuple[Variant, Case]], ceilings: Ceilings
) -> None:
    for variant, case in dict.fromkeys(wanted):
        what = f"{variant.name}, batches of {case.batch_size}, {case.n_networks} networks"
        record.trying(what, partial(_measure_epochs, record, size, variant, case, ceilings))


def _measure_epochs(
    record: Recorder, size: Size, variant: Variant, case: Case, ceilings: Ceilings
) -> None:
    features, labels = made_rows(case)
    weights = initial_weights(case, is_flat=variant.is_flat)
    start = OPTIMIZER.init if case.n_networks == 1 else jax.vmap(OPTIMIZER.init)
    state, rates = start(weights), jnp.full(case.n_steps, RATE)
    before = time.perf_counter()
    arguments = (weights, state, features, labels, keys_of(0, case), rates)
    run_epoch = compiled_epoch(variant, case, size.n_unrolled, arguments)
    compile_s = time.perf_counter() - before
    carried = [weights, state]
    numbers = iter(range(2**30))

    def run() -> None:
        keys = keys_of(next(numbers), case)
        *carried[:], losses = run_epoch(*carried, features, labels, keys, rates)
        jax.block_until_ready(losses)

    run()
    record.rate(
        variant.name,
        case,
        repeat(run, size),
        ceilings,
        compile_s=compile_s,
        peak_mib=peak_mib(),
    )


def made_rows(case: Case) -> tuple[jax.Array, jax.Array]:
    """Random rows on the device, and a smooth function of them."""
    features = jax.random.uniform(jax.random.key(1), (case.n_rows, N_INPUTS))
    labels = -jnp.abs(features[:, 4:5] - features[:, 1:2]) * (1 + features[:, :1])
    return features, jnp.broadcast_to(labels, (case.n_rows, N_OUTPUTS))


def keys_of(number: int, case: Case) -> jax.Array:
    """Key of an epoch's order, or one for each of several networks."""
    key = jax.random.key(number)
    return key if case.n_networks == 1 else jax.random.split(key, case.n_networks)


def initial_weights(case: Case, *, is_flat: bool) -> Any:
    """Weights of a network, or of several, stacked along a first axis."""
    rng = np.random.default_rng(1)
    stack = () if case.n_networks == 1 else (case.n_networks,)
    weights = {}
    for i, (n_in, n_out) in enumerate(case.shapes):
        drawn = rng.normal(size=(*stack, n_in, n_out)) / np.sqrt(n_in)
        weights[f"layers_{i}/kernel"] = jnp.asarray(drawn, jnp.float32)
        weights[f"layers_{i}/bias"] = jnp.zeros((*stack, n_out))
    if not is_flat:
        return weights
    return jnp.concatenate([array.reshape(*stack, -1) for array in weights.values()], axis=-1)


def _unflatten(vector: jax.Array, case: Case) -> dict[str, jax.Array]:
    """The layers that a vector of all weights holds."""
    weights, first = {}, 0
    for i, (n_in, n_out) in enumerate(case.shapes):
        for kind, shape in (("kernel", (n_in, n_out)), ("bias", (n_out,))):
            n = int(np.prod(shape))
            weights[f"layers_{i}/{kind}"] = vector[first : first + n].reshape(shape)
            first += n
    return weights


def _mean_loss(weights: Mapping[str, jax.Array], x: jax.Array, y: jax.Array) -> jax.Array:
    last = len(weights) // 2 - 1
    for i in range(last + 1):
        x = x @ weights[f"layers_{i}/kernel"] + weights[f"layers_{i}/bias"]
        x = jnp.tanh(x) if i < last else x
    return optax.huber_loss(x, y, delta=1.0).mean()


def compiled_epoch(
    variant: Variant, case: Case, n_unrolled: int, arguments: tuple[Any, ...]
) -> Any:
    """One program for an epoch; of several networks, each in an order of its own."""

    def loss_of(weights: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        return _mean_loss(_unflatten(weights, case) if variant.is_flat else weights, x, y)

    def step(carry: Any, batch: Any, rows_of: Callable[[Any], Any]) -> Any:
        weights, state = carry
        rows, rate = batch
        loss, gradients = jax.value_and_grad(loss_of)(weights, *rows_of(rows))
        updates, state = OPTIMIZER.update(gradients, state, weights)
        return (jax.tree.map(lambda w, u: w - rate * u, weights, updates), state), loss

    def epoch(weights: Any, state: Any, x: Any, y: Any, key: Any, rates: Any) -> Any:
        if variant.shuffles:
            batches = jax.random.permutation(key, case.n_rows).reshape(case.n_steps, -1)
        else:
            batches = tuple(a.reshape(case.n_steps, case.batch_size, -1) for a in (x, y))

        def rows_of(rows: Any) -> Any:
            if not variant.shuffles:
                return rows
            return tuple(a.at[rows].get(mode="promise_in_bounds") for a in (x, y))

        (weights, state), losses = jax.lax.scan(
            partial(step, rows_of=rows_of),
            (weights, state),
            (batches, rates),
            unroll=n_unrolled if variant.is_unrolled else 1,
        )
        return weights, state, losses

    if case.n_networks > 1:
        epoch = jax.vmap(epoch, in_axes=(0, 0, None, None, 0, None))
    with jax.default_matmul_precision(variant.precision):
        options = dict(variant.options)
        jitted = jax.jit(epoch, donate_argnums=(0, 1), compiler_options=options)
        return jitted.lower(*arguments).compile()
