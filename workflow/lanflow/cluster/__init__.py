"""The site file of a cluster, the profile that reads it, and the report of Slurm."""
