"""Registering networks that passed their gates, and pointing aliases at the best."""

import json
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lanflow.core.errors import UsageError
from lanflow.core.names import MAX_LENGTH, is_name
from lanflow.evaluation.record import (
    Evaluation,
    NotPassedError,
    read_own_evaluation,
    require_passed,
)
from lanflow.models.models_file import ModelsFile
from lanflow.networks import folder as network_folder
from lanflow.networks.card import FOLDER_HINT
from lanflow.networks.folder import read_part
from lanflow.networks.network import Network
from lanflow.publish.bundle import README
from lanflow.publish.readme import describe_network
from lanflow.tracking.store import MODELS_FILE_TAG, Store, training_experiment

if TYPE_CHECKING:
    from lanflow.publish.registry import Entry, Registry, Version

log = logging.getLogger(__name__)

BEST = "best"
_STUDY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_SCORE_TAG, _NETWORK_TAG = "mean_abs_error", "onnx_sha256"


@dataclass(frozen=True)
class Registered:
    """A network that is in the registry: its folder, and the version of a registered model."""

    network: str
    name: str
    version: int
    is_new: bool


@dataclass(frozen=True)
class NotRegistered:
    """A network that was left out, and why."""

    network: str
    reason: str


@dataclass(frozen=True)
class Registration:
    """Content of ``registered.json``.

    Attributes
    ----------
    registered, not_registered
        The networks.
    aliases
        By registered model, the number of the version that each alias points at.
    """

    registered: list[Registered]
    not_registered: list[NotRegistered]
    aliases: dict[str, dict[str, int]]


def register_networks(
    store: Store,
    folders: Sequence[Path],
    *,
    study: str | None = None,
    skip_failed: bool = False,
    models_file: ModelsFile | None = None,
) -> Registration:
    """Register each network that passed its gates once, and point aliases at the best.

    A network is a version of the registered model ``{model}-{network_type}``. Its alias ``best``
    is the version with the smallest mean absolute error of all that are registered;
    ``{study}-best`` is the best of the networks given here.

    Parameters
    ----------
    store
        Whose registry.
    folders
        The networks' folders.
    study
        Name of the study that the networks are all of.
    skip_failed
        Leave out networks that did not pass, instead of refusing all.
    models_file
        Defines their model, where neither ssm-simulators nor their cards do.

    Raises
    ------
    NotPassedError
        If a network did not pass, was not evaluated, or changed since; nothing is registered then.
    """
    if study is not None and not (_STUDY.fullmatch(study) and is_name(study)):
        raise UsageError(
            f"--study {study[:MAX_LENGTH]!a}: expected letters, digits and hyphens, at most "
            f"{MAX_LENGTH}"
        )
    networks, left_out = _those_that_passed(folders, models_file, skip_failed=skip_failed)
    if not networks:
        return Registration([], left_out, {})
    from lanflow.publish.registry import Registry

    registry = Registry(store)
    registered = []
    given: dict[str, list[Version]] = {}
    for network, evaluation in networks:
        version, is_new = _register(registry, network, evaluation, study)
        given.setdefault(version.name, []).append(version)
        said = "registered as" if is_new else "is registered already, as"
        log.info("%s: %s %s version %d", network.folder, said, version.name, version.number)
        registered.append(Registered(str(network.folder), version.name, version.number, is_new))
    aliases = {
        name: _set_aliases(registry, name, versions, study) for name, versions in given.items()
    }
    return Registration(registered, left_out, aliases)


def _those_that_passed(
    folders: Sequence[Path], models_file: ModelsFile | None, *, skip_failed: bool
) -> tuple[list[tuple[Network, Evaluation]], list[NotRegistered]]:
    networks, left_out = [], []
    for folder in folders:
        try:
            network = Network.from_folder(folder, models_file=models_file)
            evaluation = read_own_evaluation(network)
            require_passed(network, evaluation)
        except NotPassedError as e:
            if not skip_failed:
                raise
            log.info("not registered: %s", e)
            left_out.append(NotRegistered(str(folder), str(e)))
        else:
            networks.append((network, evaluation))
    return networks, left_out


def registered_name(network: Network) -> str:
    """Name of the registered model; its versions compare with one another."""
    return f"{network.model_name}-{network.network_type.name}"


def _register(
    registry: "Registry", network: Network, evaluation: Evaluation, study: str | None
) -> "tuple[Version, bool]":
    """The network's version and whether it is new; the tags of an old one are updated."""
    name, tags = registered_name(network), _tags(network, evaluation, study)
    for version in registry.versions(name):
        if version.tags.get(_NETWORK_TAG) == network.sha256:
            return registry.set_tags(version, tags), False
    kind, card = network.network_type.name, network.own_card
    about = f"{network.model_name} networks of type {kind}: {card.output}"
    return registry.register(_entry(registry, network, evaluation, tags), about=about), True


def _tags(network: Network, evaluation: Evaluation, study: str | None) -> dict[str, str]:
    card, scores = network.own_card, evaluation.scores
    tags = {
        "model": network.model_name,
        "network_type": network.network_type.name,
        "backend": card.backend,
        "data_digest": card.data_digest,
        "run_uuid": card.run_uuid,
        "verdict": evaluation.verdict,
        _NETWORK_TAG: network.sha256,
        "lanflow_version": card.lanflow_version,
    }
    if network.models_file_record is not None:
        tags[MODELS_FILE_TAG] = network.models_file_record.sha256
    if scores is not None and scores.mean_abs_error is not None:
        tags |= {_SCORE_TAG: repr(float(scores.mean_abs_error)), "score_unit": scores.unit}
    return tags if study is None else {**tags, "study": study}


def _entry(
    registry: "Registry", network: Network, evaluation: Evaluation, tags: dict[str, str]
) -> "Entry":
    from lanflow.publish.registry import Entry

    card, text = network.own_card, describe_network(network, evaluation)
    run_id = card.mlflow_run_id
    if run_id is not None and not registry.has_run(run_id):
        log.warning("%s: its run %s is not in this store", network.folder, run_id)
        run_id = None
    judged = evaluation.model_dump(mode="json")
    return Entry(
        name=registered_name(network),
        onnx=network.onnx,
        description=text,
        tags=tags,
        files={
            README: text.encode(),
            network_folder.CARD: read_part(network.own_folder / network_folder.CARD, FOLDER_HINT),
            network_folder.EVALUATION: json.dumps(judged, indent=2).encode(),
            **_models_file(network),
        },
        metadata={
            "inputs": card.inputs,
            "parameters": card.parameters,
            "bounds": card.bounds.to_json(),
            "output": card.output,
        },
        experiment_name=training_experiment(network.model_name),
        run_id=run_id,
    )


def _models_file(network: Network) -> dict[str, bytes]:
    """The user's file that defines the model, if one does."""
    record = network.models_file_record
    return {} if record is None else {network_folder.MODELS_FILE: record.text.encode()}


def _set_aliases(
    registry: "Registry", name: str, given: "Sequence[Version]", study: str | None
) -> dict[str, int]:
    """Point the aliases at the best versions; returns the version's number by alias."""
    candidates = {BEST: registry.versions(name)}
    if study is not None:
        candidates[f"{study}-{BEST}"] = list(given)
    aliases = {}
    for alias, versions in candidates.items():
        best = best_version(versions)
        if best is not None:
            registry.set_alias(alias, best)
            aliases[alias] = best.number
            log.info("%s@%s is version %d", name, alias, best.number)
    return aliases


def best_version(versions: "Iterable[Version]") -> "Version | None":
    """The version with the least mean absolute error, of equals the older; None without scores."""
    scored = [
        (float(version.tags[_SCORE_TAG]), version.number, version)
        for version in versions
        if _SCORE_TAG in version.tags and version.tags.get("verdict") == "passed"
    ]
    return min(scored, key=lambda entry: entry[:2])[2] if scored else None
