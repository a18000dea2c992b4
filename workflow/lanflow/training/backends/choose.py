"""Choosing a backend: the one that is asked for is loaded, the other is never imported."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, cast

from lanflow.core.errors import UserError, explain_import_error
from lanflow.core.interrupts import defer_signals
from lanflow.core.processes import require_memory
from lanflow.networks.types import BackendName
from lanflow.training.backend import Backend, Stack

# Address space that importing a backend takes, measured (torch 2.13, jax 0.10).
_LOADING_BYTES = {"torch": 600 * 2**20, "jax": 1000 * 2**20}


def make_backend(name: BackendName, *, device: str, threads: int) -> Backend:
    """Choose a backend and its device; the other backend is never imported.

    Parameters
    ----------
    name
        ``jax`` or ``torch``.
    device
        ``auto``, ``cpu`` or ``gpu``; ``auto`` is a GPU if the backend sees one.
    threads
        Threads of the CPU.

    Raises
    ------
    UserError
        If the backend is not installed, or a GPU was asked for and is not there.
    """
    if name not in sys.modules:
        require_memory(
            f"loading {name}",
            0,
            advice="raise it, or lift it (ulimit -v unlimited)",
            mapped_bytes=_LOADING_BYTES[name],
        )
    try:
        with defer_signals():
            kind = load_jax() if name == "jax" else load_torch()
            return kind(device=device, threads=threads)
    except ImportError as e:
        raise UserError(explain_import_error(e, f"{name}train", extra=name)) from e


def load_jax() -> Callable[..., Backend]:
    """Import JAX, and return its backend."""
    from lanflow.training.backends.jax import JaxBackend

    return JaxBackend


def load_torch() -> Callable[..., Backend]:
    """Import Torch, and return its backend."""
    _bound_spinning()
    from lanflow.training.backends.torch import TorchBackend

    return TorchBackend


def _bound_spinning() -> None:
    """Let Torch's threads sleep soon where they wait for each other.

    GNU's OpenMP reads it when Torch is loaded. Threads that wait spin, for some milliseconds if
    nothing is said, and take the core that the other thread needs where others compute, too. Two
    threads on two cores under a load of 6 to 9 (layers of 100, 100, 100, batches of 1,000; medians
    of three runs in turn): 16,000 rows/s with at most 1,000 spins, 6,200 with 10,000, 2,400 with
    100,000, and 1,500 with the default of 300,000 (one run; two did not end). On cores of one's
    own, 1,000 cost nothing seen, but none at all half of the rate.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def make_stack(backends: Sequence[Backend], *, size: int) -> Stack:
    """Put networks together that are trained as one program.

    Parameters
    ----------
    backends
        Of one kind and device, each started, all with the same rows held, as many to train on, and
        with settings that differ in nothing but seed, learning rate and its schedule.
    size
        Places of the stack, at least as many. Sums are rounded as their number decides.
    """
    if backends[0].name == "jax":
        from lanflow.training.backends.jax import JaxStack

        return JaxStack(cast("Any", backends), size=size)
    from lanflow.training.backends.torch_stack import TorchStack

    return TorchStack(cast("Any", backends), size=size)
