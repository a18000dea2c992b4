"""Runs recorded on disk and delivered to MLflow."""
