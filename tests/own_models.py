"""A models file as a person writes one, with a model of each kind."""

from pathlib import Path

from lanflow.models.models_file import ModelsFile

TEXT = '''\
import numpy as np


def exponential(t, a, tau):
    """A boundary that comes closer, with the time constant tau."""
    return a * np.exp(-t / tau)


def ramp(t, v, k):
    return v * (1 + k * t)


def lognormal_race(m0, m1, sigma, t, n_samples, rng):
    finish = rng.lognormal([m0, m1], sigma, (n_samples, 2))
    return t + finish.min(axis=1), finish.argmin(axis=1)


MODELS = [
    {
        "name": "exp_ramp",
        "params": ["v", "a", "z", "t", "tau", "k"],
        "param_bounds": {
            "v": (-2, 2),
            "a": (0.5, 2),
            "z": (0.2, 0.8),
            "t": (0.1, 0.6),
            "tau": (1, 5),
            "k": (0, 1),
        },
        "boundary": exponential,
        "drift": ramp,
    },
    {
        "name": "lognormal_race",
        "params": ["m0", "m1", "sigma", "t"],
        "param_bounds": [[-1, -1, 0.2, 0.1], [0.5, 0.5, 0.8, 0.5]],
        "choices": [0, 1],
        "simulator": lognormal_race,
    },
]
'''


def write_models_file(folder: Path, text: str = TEXT) -> Path:
    """``my_model.py`` in a folder."""
    path = folder / "my_model.py"
    path.write_text(text)
    return path


def models_file(text: str = TEXT) -> ModelsFile:
    """The same, read."""
    return ModelsFile("my_model.py", text)
