#!/usr/bin/env bash
# Run by Snakemake in a new conda environment: put the workflow's own lanflow into it. The Snakefile
# says where that is, as Snakemake runs this in the working directory, which may be any.
set -euo pipefail
: "${LANFLOW_SOURCE:?it is set by the Snakefile: the folder or repository of the workflow}"
if [ -d "$LANFLOW_SOURCE" ]; then
    python -m pip install --no-deps --editable "$LANFLOW_SOURCE"
else
    python -m pip install --no-deps "$LANFLOW_SOURCE"
fi
