"""Rule collect_leaderboard: a table of all networks of the study."""

from lanflow.workflow.script import hand_over, log_to

hand_over()  # before what takes seconds to import

import sys
from pathlib import Path

from lanflow.core.files import write_text
from lanflow.evaluation.record import read_evaluation
from lanflow.networks.folder import read_history
from lanflow.networks.network import Network
from lanflow.report.leaderboard import (
    build_leaderboard,
    find_earlier_networks,
    format_leaderboard,
    leaderboard_csv,
)
from lanflow.tracking.store import resolve_store
from lanflow.tracking.sync import sync_if_unsent

log_to(snakemake.log[0])
given = snakemake.input
folders = [Path(path).parent for path in given.cards]
sync_if_unsent(folders)
networks = [Network.from_folder(folder) for folder in folders]
rows = build_leaderboard(
    networks,
    [read_evaluation(Path(path)) for path in given.evaluations],
    [read_history(Path(path)) for path in given.histories],
    find_earlier_networks(resolve_store(), networks),
)
write_text(Path(snakemake.output.table), leaderboard_csv(rows))
sys.stderr.write(f"{format_leaderboard(rows)}\n")
