#!/usr/bin/env bash
# Run by Snakemake in a new conda environment: put this repository's lanflow into it.
set -euo pipefail
python -m pip install --no-deps --editable .
