"""Rule collect_leaderboard: all networks of the study in one table."""

import json
import sys
from pathlib import Path

import pandas as pd

from lanflow.artifacts import read_history
from lanflow.atomic import write_text
from lanflow.leaderboard import build_leaderboard, format_table, leaderboard_page
from lanflow.unsent_runs import send_if_waiting

cards = [Path(path) for path in snakemake.input.cards]
send_if_waiting([path.parent for path in cards])
rows = build_leaderboard(
    [json.loads(path.read_text()) for path in cards],
    [read_history(Path(path)) for path in snakemake.input.histories],
    [str(path.parent) for path in cards],
)
write_text(Path(snakemake.output.table), pd.DataFrame(rows).to_csv(index=False))
write_text(Path(snakemake.output.page), leaderboard_page(rows))
write_text(Path(snakemake.log[0]), format_table(rows) + "\n")
sys.stderr.write(f"\n{format_table(rows)}\n\nall of them: {snakemake.output.table}\n\n")
