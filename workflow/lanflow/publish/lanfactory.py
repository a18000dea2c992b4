"""Files that LANfactory 0.9 keeps beside networks on the hub: report of gates, list of networks.

``validation_report.json`` lies beside a network, ``manifest.json`` at a repository's root. Both are
of schema version 1 (``lanfactory/hf/upload.py``; the report's reader is LAN_pipeline_minimal).
"""

import json
from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ConfigDict, ValidationError

from lanflow.core.errors import UserError
from lanflow.evaluation.record import Evaluation, Gate
from lanflow.networks import folder as network_folder
from lanflow.networks.network import Network

REPORT = "validation_report.json"
MANIFEST = "manifest.json"
_SCHEMA_VERSION = 1

# The event whose probability an output gives.
_AUX_CATEGORIES = {"lan": None, "cpn": "choice", "opn": "omission", "gonogo": "nogo"}


def validation_report(network: Network, evaluation: Evaluation) -> bytes:
    """The gates of an evaluation as LANfactory's ``validation_report.json``.

    A gate that was skipped says so: readers ask for gates that were passed and not skipped.
    """
    kind = network.network_type.name
    report = {
        "schema_version": _SCHEMA_VERSION,
        "onnx": network_folder.ONNX,
        "onnx_sha256": network.sha256,
        "model": network.model_name,
        "network_type": kind,
        "aux_category": _AUX_CATEGORIES[kind],
        "passed": evaluation.verdict == "passed",
        "gates": [_gate(gate, kind) for gate in evaluation.gates],
        "validated_by": f"lanflow {evaluation.versions.get('lanflow', '')}".strip(),
    }
    return _json(report)


def _gate(gate: Gate, kind: str) -> dict[str, object]:
    """One gate in its words; the gate that asks HSSM has another name there."""
    hssm = "hssm_load" if kind == "lan" else "hssm_missing_load"
    entry: dict[str, object] = {
        "gate": hssm if gate.name == "hssm" else gate.name,
        "passed": gate.verdict != "failed",
    }
    if gate.verdict == "skipped":
        entry |= {"skipped": True, "reason": gate.reason}
    elif gate.verdict == "failed":
        entry["error"] = gate.reason
    if gate.name == "parity" and gate.numbers:
        differences = [number for number in gate.numbers.values() if number is not None]
        entry["max_abs_error"] = max(differences, default=None)
    return entry | {"numbers": gate.numbers, "limits": gate.limits}


def add_to_manifest(
    content: bytes | None, network: Network, *, root_name: str, names: Iterable[str], where: str
) -> bytes:
    """A repository's ``manifest.json`` with one network's entry; entries of others stay.

    Parameters
    ----------
    content
        The manifest that is there, or None.
    network
        Whose entry is added, or takes the place of an earlier one.
    root_name
        The network's file at the repository's root.
    names
        The files in the network's folder there.
    where
        The repository, for errors.

    Raises
    ------
    UserError
        If the manifest that is there is none: written anew, it would lose what others published.
    """
    kind, model = network.network_type.name, network.model_name
    entry = {
        "model": model,
        "network_type": kind,
        "onnx_root": root_name,
        "folder": f"{kind}/{model}",
        "files": sorted(names),
    }
    manifest = _Manifest() if content is None else _parse_manifest(content, where)
    others = [each for each in manifest.networks if _key(each) != (kind, model)]
    joined = manifest.model_copy(update={"networks": sorted([*others, entry], key=_key)})
    return _json(joined.model_dump(mode="json"))


class _Manifest(BaseModel):
    """A repository's list of networks; what others wrote beside and in it stays."""

    model_config = ConfigDict(extra="allow", strict=True)

    schema_version: int = _SCHEMA_VERSION
    networks: list[Mapping[str, object]] = []


def _parse_manifest(content: bytes, where: str) -> _Manifest:
    try:
        manifest = _Manifest.model_validate_json(content)
    except ValidationError as e:
        raise UserError(
            f"{where}: {MANIFEST} is no list of networks in LANfactory's form; nothing was "
            "uploaded. Mend it, or move it elsewhere"
        ) from e
    if manifest.schema_version != _SCHEMA_VERSION:
        raise UserError(
            f"{where}: {MANIFEST} has schema_version {manifest.schema_version}, and this lanflow "
            f"writes {_SCHEMA_VERSION}; nothing was uploaded. Update lanflow"
        )
    return manifest


def _key(entry: Mapping[str, object]) -> tuple[str, str]:
    return str(entry.get("network_type", "")), str(entry.get("model", ""))


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
