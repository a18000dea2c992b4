"""Training data: which files there are, what is taken, and how it is packed."""
