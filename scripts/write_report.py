"""Rule write_report: the report of a study as one page."""

import sys
from pathlib import Path

from lanflow.report.page import write_report
from lanflow.workflow.script import log_to

log_to(snakemake.log[0])
given = snakemake.input
verdict = write_report(
    snakemake.params.settings,
    report_path=Path(snakemake.output.report),
    leaderboard_path=Path(given.leaderboard),
    network_folders=[Path(path).parent for path in given.cards],
    data_folders=[Path(path).parent for path in given.manifests],
)
sys.stderr.write(f"{verdict}\n")
