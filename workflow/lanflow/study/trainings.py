"""The trainings of a study: one for each network and backend."""

import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Literal

from lanflow.core.errors import UserError
from lanflow.networks.types import BackendName
from lanflow.study.config import NetworkConfig, StudyConfig
from lanflow.training.config import (
    TrainingConfig,
    TrainingFile,
    read_training_file,
    select_network,
)
from lanflow.training.together.names import Beside, member_name

# Namespace of the run uuids: the same study gives the same file names on every machine.
_NAMESPACE = uuid.UUID("6f0d5c0e-6c3c-4a8f-9e44-1c8a3b6f2d10")


@dataclass(frozen=True)
class Training:
    """One network on one backend: one job of the workflow.

    Attributes
    ----------
    key
        ``{network}_{backend}``, the name of the network's folder.
    family
        The name in the study; that of the network too, unless the study asks for several.
    start_from
        Folder of the network that it goes on from, if it does.
    run_uuid
        Prefix of the files with LANfactory's names; derived from study, model, network, backend
        and seed.
    """

    model: str
    network: str
    family: str
    backend: BackendName
    network_id: int
    config_path: str
    seed: int
    threads: int
    memory_mb: int
    device: Literal["auto", "cpu", "gpu"]
    run_uuid: str
    config: TrainingConfig
    start_from: str | None = None

    @property
    def key(self) -> str:
        """Name of the network's folder."""
        return f"{self.network}_{self.backend}"


def list_trainings(study: StudyConfig) -> Iterator[Training]:
    """List all trainings of a study, each with its effective configuration.

    A network with ``seeds``, ``network_ids`` or several training files is a family; its members are
    named ``{family}-{training file}-id{network_id}-seed{seed}``, without the parts that the study
    gives one of.

    Raises
    ------
    UserError
        If a training YAML is missing or wrong, or two networks of a model have one name.
    """
    read_once = cache(read_training_file)
    for model, model_config in study.models.items():
        family_of: dict[str, str] = {}
        for family, network in model_config.networks.items():
            for member in _members(family, network, study.seed, read_once):
                if member.name in family_of:
                    raise UserError(_two_of_one_name(model, member.name, family_of, family))
                family_of[member.name] = family
                for backend in network.backends:
                    yield _training_of(study, model, family, member, backend, read_once)


# Networks that a GPU trains beside each other, at most: 32 fill an H200 at batches of a thousand
# rows (docs/benchmarks_gpu.md).
_MOST_BESIDE = 32


def trained_beside(trainings: Iterable[Training]) -> dict[tuple[str, str, str], list[Beside]]:
    """Find the networks that each may be trained beside, as one program on a GPU.

    Parameters
    ----------
    trainings
        Of one study.

    Returns
    -------
    dict
        By model, network type and name of a network's folder, the others: of the same data, shape
        and settings but for seed, learning rate and its schedule. Nothing for a network that no GPU
        is asked for, or that goes on from another.
    """
    alike: dict[str, list[Training]] = {}
    for training in trainings:
        if training.device == "gpu" and training.start_from is None:
            alike.setdefault(_kind(training), []).append(training)
    found: dict[tuple[str, str, str], list[Beside]] = {}
    for members in alike.values():
        for first in range(0, len(members), _MOST_BESIDE):
            together = members[first : first + _MOST_BESIDE]
            for one in together:
                place = one.model, one.config.network_type, one.key
                found[place] = [_beside(other) for other in together if other is not one]
    return found


def _kind(training: Training) -> str:
    """All that networks have in common that are trained beside each other."""
    own = {"seed", "network_id", "learning_rate", "lr_scheduler", "lr_scheduler_params"}
    settings = training.config.model_dump_json(exclude=own)
    return f"{training.backend} {training.threads} {training.memory_mb} {settings}"


def _beside(training: Training) -> Beside:
    return Beside(training.key, training.seed, training.network_id, Path(training.config_path))


@dataclass(frozen=True)
class _Member:
    """One network of a family, for all its backends."""

    name: str
    config_path: str
    network_id: int
    seed: int
    threads: int
    memory_mb: int
    device: Literal["auto", "cpu", "gpu"]
    start_from: str | None


def _members(
    family: str, network: NetworkConfig, study_seed: int, read: Callable[[str], TrainingFile]
) -> Iterator[_Member]:
    """Yield a member for each training file, network id and seed of a network of a study."""
    seeds = network.seeds or [study_seed if network.seed is None else network.seed]
    for path in network.configs:
        ids: Iterable[int]
        if network.network_ids == "all":
            ids = range(len(read(path).layer_sizes))
        else:
            ids = network.network_ids or [network.network_id]
        for network_id, seed in product(ids, seeds):
            name = member_name(
                family,
                training_file=_stem(path) if len(network.configs) > 1 else "",
                network_id=network_id if network.network_ids is not None else None,
                seed=seed if network.seeds is not None else None,
            )
            yield _Member(
                name=name,
                config_path=path,
                network_id=network_id,
                seed=seed,
                threads=network.threads,
                memory_mb=network.memory_mb,
                device=network.device,
                start_from=network.start_from,
            )


def _stem(path: str) -> str:
    """Name of a training file as part of a network's name, which has letters, digits and dashes."""
    return re.sub(r"[^A-Za-z0-9]+", "-", Path(path).stem).strip("-")


def _two_of_one_name(model: str, name: str, family_of: dict[str, str], family: str) -> str:
    other = family_of[name]
    if other == family:
        return (
            f"models.{model}.networks.{family}: two of its training files make a network {name!r}; "
            "give the files names that differ"
        )
    return (
        f"models.{model}.networks: {other!r} and {family!r} both make a network {name!r}; "
        "give one of them another name"
    )


def _training_of(
    study: StudyConfig,
    model: str,
    family: str,
    member: _Member,
    backend: BackendName,
    read: Callable[[str], TrainingFile],
) -> Training:
    config = select_network(
        read(member.config_path),
        network_id=member.network_id,
        model=model,
        seed=member.seed,
        where=member.config_path,
    )
    place = f"{study.study}/{model}/{member.name}/{backend}/{member.seed}"
    return Training(
        model=model,
        network=member.name,
        family=family,
        backend=backend,
        network_id=member.network_id,
        config_path=member.config_path,
        seed=member.seed,
        threads=member.threads,
        memory_mb=member.memory_mb,
        device=member.device,
        run_uuid=uuid.uuid5(_NAMESPACE, place).hex,
        config=config,
        start_from=member.start_from,
    )
