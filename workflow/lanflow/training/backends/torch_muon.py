"""Muon's steps in Torch: of matrices, or of stacks of them, one for each network.

The arithmetic is that of :mod:`lanflow.training.backends.jax_programs`.
"""

import torch

from lanflow.training.backend import MUON_BETA, MUON_EPSILON, MUON_POLYNOMIAL, MUON_ROUNDS


def muon_step(slope: torch.Tensor, mean: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """Direction in which a matrix of weights is moved, for a learning rate of 1.

    Parameters
    ----------
    slope
        Of the loss by the weights, (inputs, outputs) or (networks, inputs, outputs).
    mean
        The slopes' moving average, which is updated.
    count
        Updates so far, this one included: of one network, or (networks,).
    """
    count = count.view(-1, 1, 1) if mean.ndim > 2 else count
    mean.lerp_(slope, 1 - MUON_BETA)
    ahead = mean * (MUON_BETA / (1 - MUON_BETA ** (count + 1)))
    ahead += slope * ((1 - MUON_BETA) / (1 - MUON_BETA**count))
    return _orthogonal(ahead)


def _orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Give a matrix singular values of about 1, or more where it widens."""
    n_inputs, n_outputs = matrix.shape[-2:]
    x = matrix.mT if n_inputs > n_outputs else matrix
    x = x / (torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True) + MUON_EPSILON)
    a, b, c = MUON_POLYNOMIAL
    # A product and what is added to it in one call.
    added = torch.addmm if x.ndim == 2 else torch.baddbmm
    for _ in range(MUON_ROUNDS):
        square = x @ x.mT
        x = added(x, added(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.mT if n_inputs > n_outputs else x) * max(1, n_outputs / n_inputs) ** 0.5
