"""Slurm clusters: the site file, the profile that reads it, and queries of Slurm."""
