"""One particle for the tests of its course and of its density."""

from collections.abc import Callable

import numpy as np

from lanflow.models.density import Array
from lanflow.models.exact.course import Process

UNTIL = 20.0


def process(
    *,
    a: float = 1.2,
    v: float = 0.5,
    start: float = 0.4,
    slope: float = 0.0,
    leak: float = 0.0,
    boundary: Callable[[Array], Array] | None = None,
    drift: Callable[[Array], Array] | None = None,
) -> Process:
    return Process(
        boundary=boundary or (lambda t: a - slope * t),
        drift=drift or (lambda t: np.full_like(t, v)),
        start=start,
        leak=leak,
        until=UNTIL,
    )


def switching(t: Array) -> Array:
    """A drift that jumps at 0.3 and after 1.7 seconds, and is steep at 0.9."""
    jumping = np.where(t >= 0.3, 1.5, 0.0) + np.where(t > 1.7, -0.5, 0.0)
    return np.asarray(jumping + 3 * np.tanh((t - 0.9) / 0.002))
