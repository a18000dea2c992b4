"""Several networks of JAX as one program: an epoch of each, mapped over a first axis."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from lanflow.training.backend import Stack
from lanflow.training.backends.jax import JaxBackend
from lanflow.training.backends.jax_programs import compiled_epochs


class JaxStack(Stack):
    """Trains with JAX; parameters as of :func:`lanflow.training.backend.make_stack`."""

    def __init__(self, backends: Sequence[JaxBackend], *, size: int) -> None:
        self._backends = backends
        # Places that no network takes hold the first one once more; what it learns there is lost.
        self._places = [*backends, *[backends[0]] * (size - len(backends))]
        # An epoch of each begins with its own split, an order and learning rates.
        self._trained = jax.tree.map(
            lambda *arrays: jnp.stack(arrays), *(backend.trained for backend in self._places)
        )

    def train_epoch(
        self, seeds: Sequence[int | None], *, batch_size: int, learning_rates: np.ndarray
    ) -> list[float]:
        """Update each network once per batch of its rows: one call of one program."""
        first, n_unused = self._backends[0], len(self._places) - len(self._backends)
        train = compiled_epochs(first.epoch_options(batch_size))
        keys = [jax.random.key(seed or 0) for seed in [*seeds, *[None] * n_unused]]
        trained, losses = train(
            [backend.state for backend in self._places],
            first.held,
            self._trained,
            first.put(jnp.stack(keys)),
            first.put(np.pad(learning_rates, [(0, n_unused), (0, 0)])),
            batch_size=batch_size,
            optimizer=first.optimizer,
            architecture=first.architecture,
        )
        for backend, seed, state in zip(self._backends, seeds, trained, strict=False):
            if seed is not None:
                backend.state = state
        sums = np.asarray(losses, dtype=np.float64).sum(axis=1)
        return [float(loss) for loss in sums[: len(seeds)]]
