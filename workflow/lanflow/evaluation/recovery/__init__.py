"""Finds the parameters of simulated subjects again."""
