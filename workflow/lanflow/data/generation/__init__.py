"""Simulates training files."""
