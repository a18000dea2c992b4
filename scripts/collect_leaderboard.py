"""Rule collect_leaderboard: a table of all networks of the study."""

import json
import sys
from pathlib import Path

import pandas as pd

from lanflow.core.files import write_text
from lanflow.evaluation.record import read_evaluation
from lanflow.networks.folder import read_history
from lanflow.report.leaderboard import build_leaderboard, find_earlier_networks, format_table
from lanflow.tracking.store import resolve_store
from lanflow.tracking.sync import sync_if_unsent

given = snakemake.input
sync_if_unsent([Path(path).parent for path in given.cards])
cards = [json.loads(Path(path).read_text()) for path in given.cards]
rows = build_leaderboard(
    cards,
    [read_history(Path(path)) for path in given.histories],
    [str(Path(path).parent) for path in given.cards],
    [read_evaluation(Path(path)) for path in given.evaluations],
    find_earlier_networks(resolve_store(), cards),
)
write_text(Path(snakemake.output.table), pd.DataFrame(rows).to_csv(index=False))
write_text(Path(snakemake.log[0]), format_table(rows) + "\n")
sys.stderr.write(f"\n{format_table(rows)}\n\nall of them: {snakemake.output.table}\n\n")
