"""Rule describe_data: the data of a model as a page of the report."""

import json
from pathlib import Path

from lanflow.atomic import write_text
from lanflow.leaderboard import data_summary_page

manifest = json.loads(Path(snakemake.input.manifest).read_text())
data_set = json.loads(Path(snakemake.input.record).read_text())
audit = json.loads(Path(snakemake.input.audit).read_text())
write_text(Path(snakemake.output.page), data_summary_page(manifest, data_set, audit))
write_text(Path(snakemake.log[0]), f"digest {manifest['digest']}\n")
