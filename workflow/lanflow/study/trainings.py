"""The trainings of a study: one for each network and backend."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from lanflow.networks.types import BackendName
from lanflow.study.config import StudyConfig
from lanflow.training.config import TrainingConfig, read_training_file, select_network

# Namespace of the run uuids: the same study gives the same file names on every machine.
_NAMESPACE = uuid.UUID("6f0d5c0e-6c3c-4a8f-9e44-1c8a3b6f2d10")


@dataclass(frozen=True)
class Training:
    """One network on one backend: one job of the workflow.

    Attributes
    ----------
    key
        ``{network}_{backend}``, the name of the network's folder.
    run_uuid
        Prefix of the files with LANfactory's names; derived from study, model, network, backend
        and seed.
    """

    model: str
    network: str
    backend: BackendName
    network_id: int
    config_path: str
    seed: int
    memory_mb: int
    device: Literal["auto", "cpu", "gpu"]
    run_uuid: str
    config: TrainingConfig

    @property
    def key(self) -> str:
        """Name of the network's folder."""
        return f"{self.network}_{self.backend}"


def list_trainings(study: StudyConfig) -> Iterator[Training]:
    """List all trainings of a study, each with its effective configuration.

    Raises
    ------
    UserError
        If a training YAML is missing or wrong.
    """
    files = {}
    for model, model_config in study.models.items():
        for name, network in model_config.networks.items():
            if network.config not in files:
                files[network.config] = read_training_file(network.config)
            seed = study.seed if network.seed is None else network.seed
            config = select_network(
                files[network.config],
                network_id=network.network_id,
                model=model,
                seed=seed,
                where=network.config,
            )
            for backend in network.backends:
                place = f"{study.study}/{model}/{name}/{backend}/{seed}"
                yield Training(
                    model=model,
                    network=name,
                    backend=backend,
                    network_id=network.network_id,
                    config_path=network.config,
                    seed=seed,
                    memory_mb=network.memory_mb,
                    device=network.device,
                    run_uuid=uuid.uuid5(_NAMESPACE, place).hex,
                    config=config,
                )
