"""What a build shows to the person who started it: one line a job, then what came out."""
