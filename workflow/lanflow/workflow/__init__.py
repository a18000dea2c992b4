"""What the Snakefile asks for: where the workflow is, and a study's start and end."""
