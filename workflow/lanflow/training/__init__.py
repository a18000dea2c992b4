"""Trains a network, with JAX or PyTorch."""
