"""For the Snakefile: the place of the workflow, and the start and the end of a study."""
