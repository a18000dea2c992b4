"""Models that a user defines in a models file."""
