"""Exact densities of models with several accumulators or decisions, or that vary over trials."""
