"""Trained networks: their types, their ONNX files and their folders."""
