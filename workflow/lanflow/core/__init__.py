"""Errors, files, locks, interruptions, settings and figures, for every room."""
