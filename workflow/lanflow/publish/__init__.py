"""Packs networks, registers them in MLflow and uploads them to the Hub."""
