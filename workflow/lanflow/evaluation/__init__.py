"""Compares a network with its model, and says whether it passes."""
