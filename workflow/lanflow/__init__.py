"""lanflow: from simulations of a cognitive model to a trained, checked likelihood network."""

__version__ = "0.1.0"
