"""Content of the report, read from a study's results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanflow.core.files import read_json
from lanflow.evaluation.record import Evaluation, read_evaluation
from lanflow.evaluation.recovery.record import (
    LikelihoodRecovery,
    PosteriorRecovery,
    read_recovery,
)
from lanflow.networks import folder as network_folder
from lanflow.networks.network import Network
from lanflow.report.leaderboard import Row


@dataclass(frozen=True)
class NetworkResults:
    """A network and what else lies in its folder.

    Attributes
    ----------
    network
        From a folder of a training.
    evaluation
        What its gates found; None if it was not evaluated.
    run, lineage
        Contents of ``run.json`` and of ``training_data_lineage.json``.
    recovery
        Content of ``recovery.json``; None if there is none, or an earlier network's.
    """

    network: Network
    evaluation: Evaluation | None
    run: Mapping[str, Any]
    lineage: Mapping[str, Any]
    recovery: LikelihoodRecovery | PosteriorRecovery | None

    @property
    def name(self) -> str:
        """For people: model, type and the folder's own name."""
        network = self.network
        return f"{network.model_name} {network.network_type.name} {network.own_folder.name}"

    @property
    def verdict(self) -> str:
        """``passed``, ``failed`` or ``not evaluated``."""
        return "not evaluated" if self.evaluation is None else self.evaluation.verdict

    def read_figure(self, name: str) -> bytes | None:
        """One of its figures (PNG), if it was drawn."""
        path = self.network.own_folder / name
        return path.read_bytes() if path.exists() else None


def read_network(folder: Path) -> NetworkResults:
    """Read the folder of a network.

    Raises
    ------
    UserError
        Naming the file that is missing or damaged.
    """
    network = Network.from_folder(folder)
    evaluation = folder / network_folder.EVALUATION
    return NetworkResults(
        network=network,
        evaluation=read_evaluation(evaluation) if evaluation.exists() else None,
        run=read_json(folder / network_folder.RECORD),
        lineage=read_json(folder / network_folder.LINEAGE),
        recovery=_read_recovery(network),
    )


def _read_recovery(network: Network) -> LikelihoodRecovery | PosteriorRecovery | None:
    path = network.own_folder / network_folder.RECOVERY
    if not path.exists():
        return None
    record = read_recovery(path)
    return record if record.onnx_sha256 == network.sha256 else None


@dataclass(frozen=True)
class ReportedData:
    """The training data of one model.

    Attributes
    ----------
    model
        Whose simulations they are.
    manifest, data_set, audit
        Contents of ``manifest.json``, ``data_set.json`` and ``audit.json``.
    picture
        The figure of the audit (PNG).
    """

    model: str
    manifest: Mapping[str, Any]
    data_set: Mapping[str, Any]
    audit: Mapping[str, Any]
    picture: bytes


def read_data(folder: Path) -> ReportedData:
    """Read the folder of a model's data.

    Raises
    ------
    UserError
        Naming the file that is missing or damaged.
    """
    return ReportedData(
        model=folder.name,
        manifest=read_json(folder / "manifest.json"),
        data_set=read_json(folder / "data_set" / "data_set.json"),
        audit=read_json(folder / "audit.json"),
        picture=(folder / "audit.png").read_bytes(),
    )


def best_of_each(networks: Sequence[NetworkResults], rows: Sequence[Row]) -> list[NetworkResults]:
    """The first network on the leaderboard of each model and network type."""
    by_path = {str(one.network.path): one for one in networks}
    best: dict[tuple[str, str], NetworkResults] = {}
    for row in rows:
        if row.onnx in by_path:
            best.setdefault((row.model, row.network_type), by_path[row.onnx])
    return list(best.values())
