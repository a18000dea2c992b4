"""Figures of networks, data sets and recoveries."""
