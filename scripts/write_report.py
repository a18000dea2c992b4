"""Rule write_report: the report of a study as one page."""

from lanflow.workflow.script import hand_over, log_to

hand_over()  # before what takes seconds to import

import sys
from pathlib import Path

from lanflow.report.page import write_report

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
