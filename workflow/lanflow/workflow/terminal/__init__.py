"""Terminal of a build: one line a job, then what came out."""
