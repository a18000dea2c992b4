"""Rule collect_leaderboard: all networks of the study in one table."""

import json
import sys
from pathlib import Path

import pandas as pd

from lanflow.artifacts import read_history
from lanflow.atomic import write_text
from lanflow.earlier_runs import find_earlier_networks
from lanflow.evaluation_record import read_evaluation
from lanflow.leaderboard import build_leaderboard, format_table
from lanflow.store import resolve_store
from lanflow.unsent_runs import send_if_waiting

given = snakemake.input
send_if_waiting([Path(path).parent for path in given.cards])
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
