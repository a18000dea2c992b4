"""What the report is made of, read from a study's results."""

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanflow.evaluation.record import Evaluation, read_evaluation
from lanflow.networks import folder as network_folder


@dataclass(frozen=True)
class ReportedNetwork:
    """One network, as its folder describes it.

    Attributes
    ----------
    folder
        Of the network.
    card, run, lineage
        Contents of its files.
    evaluation
        What its gates found; None if it was not evaluated.
    """

    folder: Path
    card: dict[str, Any]
    run: dict[str, Any]
    lineage: dict[str, Any]
    evaluation: Evaluation | None

    @property
    def name(self) -> str:
        """For people: model, type and the folder's own name."""
        return f"{self.card['model']} {self.card['network_type']} {self.folder.name}"

    @property
    def verdict(self) -> str:
        """Passed, failed, or not evaluated."""
        return "not evaluated" if self.evaluation is None else self.evaluation.verdict

    def picture(self, name: str) -> bytes | None:
        """One of its figures, if it was drawn."""
        path = self.folder / name
        return path.read_bytes() if path.exists() else None

    @property
    def recovery(self) -> dict[str, Any] | None:
        """What became of its simulated subjects, if it and no earlier network recovered them."""
        path = self.folder / network_folder.RECOVERY
        if not path.exists():
            return None
        record = _read(path)
        sha256 = hashlib.sha256((self.folder / network_folder.ONNX).read_bytes()).hexdigest()
        return record if record["onnx_sha256"] == sha256 else None


@dataclass(frozen=True)
class ReportedData:
    """The training data of one model.

    Attributes
    ----------
    model
        Whose simulations they are.
    manifest, data_set, audit
        Contents of its files.
    picture
        The figure of the audit.
    """

    model: str
    manifest: dict[str, Any]
    data_set: dict[str, Any]
    audit: dict[str, Any]
    picture: bytes


def read_network(folder: Path) -> ReportedNetwork:
    """What the folder of a network holds."""
    evaluation = folder / network_folder.EVALUATION
    return ReportedNetwork(
        folder=folder,
        card=_read(folder / network_folder.CARD),
        run=_read(folder / network_folder.RECORD),
        lineage=_read(folder / network_folder.LINEAGE),
        evaluation=read_evaluation(evaluation) if evaluation.exists() else None,
    )


def read_data(folder: Path) -> ReportedData:
    """What the folder of a model's data holds."""
    return ReportedData(
        model=folder.name,
        manifest=_read(folder / "manifest.json"),
        data_set=_read(folder / "data_set" / "data_set.json"),
        audit=_read(folder / "audit.json"),
        picture=(folder / "audit.png").read_bytes(),
    )


def read_leaderboard(path: Path) -> list[dict[str, Any]]:
    """The rows of ``leaderboard.csv``, numbers as numbers and empty cells as None."""
    with path.open(newline="") as file:
        return [
            {key: _number_or_text(value) for key, value in row.items()}
            for row in csv.DictReader(file)
        ]


def _number_or_text(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text or None


def best_of_each(
    networks: Sequence[ReportedNetwork], rows: Sequence[dict[str, Any]]
) -> list[ReportedNetwork]:
    """The first network on the leaderboard of each model and network type."""
    by_path = {network.folder / network_folder.ONNX: network for network in networks}
    best: dict[tuple[str, str], ReportedNetwork] = {}
    for row in rows:
        network = by_path.get(Path(str(row["onnx"])))
        if network is not None:
            best.setdefault((row["model"], row["network_type"]), network)
    return list(best.values())


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content
