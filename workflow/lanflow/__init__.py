"""lanflow: from simulations of a cognitive model to a trained, checked likelihood network.

>>> import lanflow
>>> data = lanflow.generate("ddm", n_sets=2_000, rows_per_set=1_000, labels="auto", seed=1)
>>> net = lanflow.train(data, network="lan", backend="jax", layers=(100, 100, 100), epochs=20)
>>> net.log_likelihood(rt=[0.5, 0.8], choice=[1, -1], v=1.0, a=1.5, z=0.5, t=0.3)
>>> result = lanflow.evaluate(net)
>>> lanflow.plot(net, "error")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lanflow.api import evaluate, generate, load, plot, read_data, simulate, train
    from lanflow.core.errors import UserError
    from lanflow.data.dataset import DataSet
    from lanflow.evaluation.record import Evaluation
    from lanflow.networks.network import Network

__version__ = "0.1.0"

__all__ = [
    "DataSet",
    "Evaluation",
    "Network",
    "UserError",
    "evaluate",
    "generate",
    "load",
    "plot",
    "read_data",
    "simulate",
    "train",
]

_HOMES = {
    "DataSet": "lanflow.data.dataset",
    "Evaluation": "lanflow.evaluation.record",
    "Network": "lanflow.networks.network",
    "UserError": "lanflow.core.errors",
}


def __getattr__(name: str) -> Any:
    """A public name, loaded when it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'lanflow' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES.get(name, "lanflow.api")), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
