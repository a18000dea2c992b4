"""What LANfactory 0.9 keeps beside networks on the hub: a report of gates, and a list of networks.

``validation_report.json`` lies beside a network, ``manifest.json`` at a repository's root. Both are
of schema version 1 (``lanfactory/hf/upload.py``; the report's reader is LAN_pipeline_minimal).
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from lanflow.core.errors import UserError
from lanflow.evaluation.record import Evaluation, Gate
from lanflow.networks import folder as network_folder
from lanflow.networks.network import Network

REPORT = "validation_report.json"
MANIFEST = "manifest.json"
_SCHEMA_VERSION = 1

# What an output is the probability of.
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


def _gate(gate: Gate, kind: str) -> dict[str, Any]:
    """One gate in its words; the gate that asks HSSM has another name there."""
    hssm = "hssm_load" if kind == "lan" else "hssm_missing_load"
    entry: dict[str, Any] = {
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
    manifest = {} if content is None else _parse_manifest(content, where)
    others = [n for n in manifest.get("networks", []) if _key(n) != (kind, model)]
    networks = sorted([*others, entry], key=_key)
    return _json({**manifest, "schema_version": _SCHEMA_VERSION, "networks": networks})


def _parse_manifest(content: bytes, where: str) -> dict[str, Any]:
    try:
        manifest = json.loads(content)
        is_one = isinstance(manifest, dict) and all(
            isinstance(entry, dict) for entry in manifest.get("networks", [])
        )
    except (ValueError, TypeError):
        is_one = False
    if not is_one:
        raise UserError(
            f"{where}: {MANIFEST} is no list of networks in LANfactory's form; nothing was "
            "uploaded. Mend it, or move it elsewhere"
        )
    version = manifest.get("schema_version", _SCHEMA_VERSION)
    if version != _SCHEMA_VERSION:
        raise UserError(
            f"{where}: {MANIFEST} has schema_version {version!r}, and this lanflow writes "
            f"{_SCHEMA_VERSION}; nothing was uploaded. Update lanflow"
        )
    return dict(manifest)


def _key(entry: Mapping[str, Any]) -> tuple[str, str]:
    return str(entry.get("network_type", "")), str(entry.get("model", ""))


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
