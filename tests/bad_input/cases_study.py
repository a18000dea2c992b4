"""A study's configuration: every key with values of every wrong kind, and names of every kind."""

import copy
from dataclasses import dataclass
from typing import Any

from tests.bad_input.cases_training import WRONG
from tests.conftest import REPOSITORY

_CONFIG = REPOSITORY / "config"
STUDY: dict[str, Any] = {
    "study": "s",
    "seed": 1,
    "models": {
        "ddm": {
            "data": {"generate": {"config": str(_CONFIG / "generation" / "tiny.yaml")}},
            "networks": {"lan": {"config": str(_CONFIG / "training" / "tiny_lan.yaml")}},
        }
    },
}
_DATA, _NETWORK = "models.ddm.data", "models.ddm.networks.lan"
_KEYS = (
    *("study", "seed", "results", "tracking", "evaluation", "recovery", "models"),
    *("tracking.uri", "evaluation.n_sets", "evaluation.rows", "evaluation.reference"),
    *("recover_parameters", "recovery.n_subjects", "recovery.method", "require_gates"),
    *("models.ddm", _DATA, f"{_DATA}.generate", f"{_DATA}.generate.config"),
    *(f"{_DATA}.generate.chunks", f"{_DATA}.generate.log_files", f"{_DATA}.generate.threads"),
    *(f"{_DATA}.path_map", f"{_DATA}.run_ids", f"{_DATA}.max_repeated_sets"),
    *("models.ddm.networks", _NETWORK, f"{_NETWORK}.network_id", f"{_NETWORK}.backends"),
    *(f"{_NETWORK}.seed", f"{_NETWORK}.device", f"{_NETWORK}.memory_mb", f"{_NETWORK}.threads"),
)
_TEXTS = {"study", "results", "tracking.uri", f"{_DATA}.generate.config"}
_BOOLEANS = {"recover_parameters", "require_gates", f"{_DATA}.generate.log_files"}
_NULLS = {"evaluation.n_sets", "tracking.uri", f"{_DATA}.run_ids", f"{_NETWORK}.seed"}
_NAMES = ("../x", "a b", "a/b", "", "-x", "a\n", "\u00e9", "x" * 300, "$(x)", "a;b", "a.b")


@dataclass(frozen=True)
class StudyCase:
    """A study with one fault, and the pattern of the message."""

    name: str
    content: dict[str, Any]
    expected: str


def _with(path: str, value: Any) -> dict[str, Any]:
    content = copy.deepcopy(STUDY)
    *sections, last = path.split(".")
    node = content
    for section in sections:
        node = node.setdefault(section, {})
    node[last] = value
    return content


def _is_right(path: str, kind: str) -> bool:
    """Whether a kind of value is right for a key."""
    return (
        (kind == "a text" and path in _TEXTS)
        or (kind == "a boolean" and path in _BOOLEANS)
        or (kind == "null" and path in _NULLS)
        or (kind in ("a boolean", "negative") and path == f"{_DATA}.max_repeated_sets")
    )


def _renamed(section: str, name: str) -> dict[str, Any]:
    content = copy.deepcopy(STUDY)
    node = content["models"] if section == "models" else content["models"]["ddm"]["networks"]
    (key,) = node
    node[name] = node.pop(key)
    return content


CASES = [
    *(
        StudyCase(f"{path}: {kind}", _with(path, value), path.rpartition(".")[2])
        for path in _KEYS
        for kind, value in WRONG.items()
        if not _is_right(path, kind)
    ),
    *(
        StudyCase(f"a name in {section}: {ascii(name)[:20]}", _renamed(section, name), section)
        for section in ("models", "networks")
        for name in _NAMES
    ),
    *(
        StudyCase(f"a key with a slip: {slip}", _with(f"{where}{slip}", 1), f"{slip}.*{meant}")
        for where, slip, meant in [
            ("", "sead", "seed"),
            ("", "traking", "tracking"),
            ("evaluation.", "n_set", "n_sets"),
            (f"{_DATA}.generate.", "chunk", "chunks"),
            (f"{_NETWORK}.", "devise", "device"),
        ]
    ),
    StudyCase("a secret in the address", _with("tracking.uri", "http://u:pw@host"), "password"),
    StudyCase(
        "a generation YAML that is missing",
        _with(f"{_DATA}.generate.config", "no.yaml"),
        r"no\.yaml: no such file",
    ),
]
