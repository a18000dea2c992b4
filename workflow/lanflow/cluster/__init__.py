"""What a cluster has of its own: the site file, and what Slurm says."""
