"""Exact densities of models with several accumulators, or that vary over trials."""
