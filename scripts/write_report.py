"""Rule write_report: the report of a study as one page."""

import sys
from pathlib import Path

from lanflow.core.files import write_text
from lanflow.report.page import write_report

given = snakemake.input
verdict = write_report(
    snakemake.params.settings,
    report_path=Path(snakemake.output.report),
    leaderboard_path=Path(given.leaderboard),
    network_folders=[Path(path).parent for path in given.cards],
    data_folders=[Path(path).parent for path in given.manifests],
)
write_text(Path(snakemake.log[0]), verdict + "\n")
sys.stderr.write(f"\n{verdict}\nreport: {snakemake.output.report}\n\n")
