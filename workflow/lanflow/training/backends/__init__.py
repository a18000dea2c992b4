"""A training on a device: one chapter for each library that computes it."""
