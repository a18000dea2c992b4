"""Cognitive models: their simulators, parameters and densities."""
