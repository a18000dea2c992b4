"""The one place that chooses a kernel; the other backend is never imported."""

from lanflow.errors import UserError
from lanflow.kernel import Kernel


def make_kernel(backend: str, *, device: str, threads: int) -> Kernel:
    """A backend's kernel.

    Parameters
    ----------
    backend
        ``jax`` or ``torch``.
    device
        ``auto``, ``cpu`` or ``gpu``.
    threads
        Of the CPU.

    Raises
    ------
    UserError
        If the backend is not installed, or a GPU was asked for and is not there.
    """
    try:
        if backend == "jax":
            from lanflow.kernel_jax import JaxKernel

            return JaxKernel(device=device, threads=threads)
        from lanflow.kernel_torch import TorchKernel

        return TorchKernel(device=device, threads=threads)
    except ImportError as e:
        raise UserError(f"{backend}train needs {e.name}; install lanflow[{backend}]") from e
