"""Content of the report, read from a study's results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanflow.core.files import read_json
from lanflow.evaluation.record import Evaluation, Gate, read_evaluation
from lanflow.evaluation.recovery.record import (
    LikelihoodRecovery,
    PosteriorRecovery,
    read_recovery,
)
from lanflow.networks import folder as network_folder
from lanflow.networks.card import RunFile, read_run_file
from lanflow.networks.network import Network


@dataclass(frozen=True)
class NetworkResults:
    """A network and what else lies in its folder.

    Attributes
    ----------
    network
        From a folder of a training.
    evaluation
        What its gates found; None if it was not evaluated.
    run
        Content of ``run.json``.
    lineage
        Content of ``training_data_lineage.json``, which has LANfactory's keys.
    recovery
        Content of ``recovery.json``; None if there is none, or an earlier network's.
    """

    network: Network
    evaluation: Evaluation | None
    run: RunFile
    lineage: Mapping[str, Any]
    recovery: LikelihoodRecovery | PosteriorRecovery | None

    @property
    def name(self) -> str:
        """For people: model, type and the folder's own name."""
        network = self.network
        return f"{network.model_name} {network.network_type.name} {network.own_folder.name}"

    @property
    def backend(self) -> str:
        """The backend that trained it."""
        return self.network.own_card.backend

    @property
    def name_without_backend(self) -> str:
        """For people: what it shares with the same network of another backend."""
        return self.name.removesuffix(f"_{self.backend}")

    @property
    def verdict(self) -> str:
        """Of its evaluation, or ``not evaluated``."""
        return "not evaluated" if self.evaluation is None else self.evaluation.verdict

    @property
    def gates(self) -> Sequence[Gate]:
        """Its gates; none if it was not evaluated."""
        return [] if self.evaluation is None else self.evaluation.gates

    def figure_path(self, name: str) -> Path | None:
        """Return the file of one of its figures; None if it was not drawn."""
        path = self.network.own_folder / name
        return path if path.exists() else None


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
        run=read_run_file(folder / network_folder.RECORD),
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
    folder
        Of its files.
    """

    model: str
    manifest: Mapping[str, Any]
    data_set: Mapping[str, Any]
    audit: Mapping[str, Any]
    folder: Path

    @property
    def picture(self) -> Path:
        """The figure of the audit (PNG)."""
        return self.folder / "audit.png"


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
        folder=folder,
    )
