"""Networks that differ in their seed alone: how good a training is, and how much that varies."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from lanflow.core.tables import count_of
from lanflow.core.templates import Cell, Table
from lanflow.report.leaderboard import Row

# Numbers that are averaged, and their headings.
_AVERAGED = {
    "mean_abs_error": "mean |error|",
    "p99_abs_error": "99th percentile",
    "seconds": "training (s)",
}


@dataclass(frozen=True)
class Spread:
    """Mean, standard deviation, least and greatest of a number over seeds."""

    mean: float
    deviation: float
    least: float
    most: float

    def __str__(self) -> str:
        """Mean and standard deviation, for people."""
        return f"{self.mean:.3g} \N{PLUS-MINUS SIGN} {self.deviation:.2g}"


@dataclass(frozen=True)
class Family:
    """One training with several seeds, on one backend and the same data.

    Attributes
    ----------
    rows
        Of the leaderboard, two or more, the least error first.
    """

    rows: Sequence[Row]

    @property
    def name(self) -> str:
        """Name and backend, as the folders of its networks have them but for the seed."""
        return f"{self.rows[0].family}_{self.rows[0].backend}"

    @property
    def seeds(self) -> str:
        """The number of networks, for people."""
        return count_of(len(self.rows), "seed")

    @property
    def passed(self) -> str:
        """The number of networks that passed their gates, for people."""
        return f"{sum(row.verdict == 'passed' for row in self.rows)} of {len(self.rows)} passed"

    def spread(self, column: str) -> Spread | None:
        """Spread of a column; None where fewer than two networks have a number there."""
        found = [float(x) for row in self.rows if (x := getattr(row, column)) is not None]
        if len(found) < 2:
            return None
        return Spread(statistics.fmean(found), statistics.stdev(found), min(found), max(found))


def find_families(rows: Sequence[Row]) -> list[Family]:
    """Put networks of the study together that differ in their seed alone, in order of the rows."""
    found: dict[object, list[Row]] = {}
    for row in rows:
        if row.origin == "study" and row.family is not None:
            key = (row.model, row.network_type, row.family, row.backend, row.data_digest)
            found.setdefault(key, []).append(row)
    return [Family(members) for members in found.values() if len(members) > 1]


def families_table(families: Sequence[Family]) -> Table:
    """A row for each family: how many passed, mean and spread of its numbers, its best network."""
    shown = [
        column for column in _AVERAGED if any(one.spread(column) is not None for one in families)
    ]
    rows: list[list[Cell]] = []
    for one in families:
        best, error = one.rows[0], one.spread("mean_abs_error")
        spreads: list[Cell] = [
            None if spread is None else _unbroken(str(spread)) for spread in map(one.spread, shown)
        ]
        ends: Cell = None if error is None else _unbroken(f"{error.least:.3g} to {error.most:.3g}")
        rows.append(
            [
                *(best.model, best.network_type, one.name, len(one.rows), _unbroken(one.passed)),
                *spreads,
                ends,
                f"{best.network}_{best.backend}",
            ]
        )
    averaged = [_AVERAGED[column] for column in shown]
    head = ["model", "type", "network", "seeds", "gates", *averaged, "least and greatest error"]
    return Table("Seeds of one training", [*head, "best"], rows)


def _unbroken(text: str) -> str:
    """The text, which a page keeps on one line."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")
