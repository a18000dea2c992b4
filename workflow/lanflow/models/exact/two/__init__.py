"""Models of two decisions: in sequence, side by side, or one that drives the other."""
