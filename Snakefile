"""The workflow's entry in a checkout; its text is workflow/Snakefile."""


include: "workflow/Snakefile"


# Snakemake forgets the default target of what is included.
PLACE.set_default_target("all")
