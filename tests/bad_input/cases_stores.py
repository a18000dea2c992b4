"""Stores, their variables, records of runs, inventories: wrong addresses and hostile content."""

import json
from typing import Any

from tests.bad_input.case import STORE, Case, lanflow, train

_OPENED = frozenset({STORE, "mlartifacts"})
_TRACKED = ("--mlflow-on",)
_SECRET = "s3cr3tpw"  # no message may show it


def _store(name: str, uri: str, expected: str, **keys: Any) -> Case:
    """A training whose store cannot be used; the secret must not be in the message."""
    shown = rf"(?s)\A(?!.*{_SECRET}).*(?:{expected})"
    return train(
        f"{name}: {uri[:40]!r}", shown, *_TRACKED, environment={"MLFLOW_TRACKING_URI": uri}, **keys
    )


def _variable(name: str, value: str, expected: str, **keys: Any) -> Case:
    environment = {"MLFLOW_TRACKING_URI": "sqlite:///m.db", name: value}
    return train(f"{name}={value[:30]!r}", expected, *_TRACKED, environment=environment, **keys)


_RECORD = {
    "key": "k",
    "tracking_uri": "sqlite:///x.db",
    "experiment": "e",
    "start_time": 1,
    "status": "FINISHED",
    "end_time": 2,
}


def _record(name: str, expected: str, text: str) -> Case:
    """A record of a run that waits to be sent, in a folder from somebody else."""
    return lanflow(
        f"a record {name}",
        expected,
        "sync",
        "r",
        "--mlflow-tracking-uri",
        "sqlite:///m.db",
        files={"r/unsent_runs/k/run.json": text},
        may_write=_OPENED | {"r/unsent_runs/k/lock"},
    )


CASES: list[Case] = [
    _store("an unknown scheme", "foo://bar", "foo"),
    _store("a database without its driver", f"mysql://u:{_SECRET}@127.0.0.1/x", "mysql|MySQL"),
    _store("nobody answers", f"http://u:{_SECRET}@127.0.0.1:1", "127.0.0.1"),
    _store("a port of no network", "http://127.0.0.1:99999", "99999"),
    _store("no host", "http://", "http://"),
    _store("half an address", "http://[::1", "::1"),
    _store("a folder as database", "sqlite:////tmp", "/tmp"),
    _store("a text as database", "sqlite:///t.txt", "t.txt", files={"t.txt": "no database" * 200}),
    _store("a folder of the kernel", "sqlite:////proc/x/m.db", "/proc/x"),
    _store("two slashes", "sqlite://m.db", "sqlite"),
    _store("a line break", "sqlite:///a\nb.db", "MLFLOW_TRACKING_URI"),
    _store("a blank", "http://a b", "MLFLOW_TRACKING_URI"),
    _store("a device", "file:///dev/null", "/dev/null"),
    *(
        _variable("LANFLOW_STORE_PATIENCE", value, "LANFLOW_STORE_PATIENCE", may_write=_OPENED)
        for value in ("abc", "-1", "nan", "inf")
    ),
    _variable("LANFLOW_MLFLOW_SEND", "soon", "LANFLOW_MLFLOW_SEND"),
    _variable("MLFLOW_ARTIFACT_LOCATION", "a\nb", "MLFLOW_ARTIFACT_LOCATION"),
    _variable("MLFLOW_ARTIFACT_LOCATION", "/proc/nope", "/proc/nope", may_write=_OPENED),
    _variable("MLFLOW_ARTIFACT_LOCATION", "/dev/null/x", "/dev/null", may_write=_OPENED),
    _variable("MLFLOW_ARTIFACT_LOCATION", "foo://x", "foo", may_write=_OPENED),
    _variable("MLFLOW_EXPERIMENT_NAME", "a" * 600, "EXPERIMENT", may_write=_OPENED),
    _variable("MLFLOW_EXPERIMENT_NAME", "a\nb", "EXPERIMENT", may_write=_OPENED),
    train(
        "a run that is not there",
        "nonsense",
        "--mlflow-run-id",
        "nonsense",
        "--mlflow-tracking-uri",
        "sqlite:///m.db",
        may_write=_OPENED,
    ),
    train(
        "a run with a path",
        r"\.\./\.\.",
        "--mlflow-run-id",
        "../..",
        "--mlflow-tracking-uri",
        "sqlite:///m.db",
        may_write=_OPENED,
    ),
    train(
        "a run name of bytes that are no text",
        "--mlflow-run-name",
        *_TRACKED,
        "--mlflow-run-name",
        "\udcff",
        "--mlflow-tracking-uri",
        "sqlite:///m.db",
        may_write=_OPENED,
    ),
    lanflow(
        "prepare an experiment without a name",
        "EXPERIMENT",
        "prepare",
        "",
        "--mlflow-tracking-uri",
        "sqlite:///m.db",
        may_write=_OPENED,
    ),
    lanflow(
        "prepare an experiment of 2,000 letters",
        "EXPERIMENT",
        "prepare",
        "a" * 2000,
        "--mlflow-tracking-uri",
        "sqlite:///m.db",
        may_write=_OPENED,
    ),
    lanflow(
        "query an experiment that is not there",
        "'x'",
        "query",
        "x",
        "--output",
        "q.json",
        "--mlflow-tracking-uri",
        "sqlite:///m.db",
        may_write=_OPENED,
    ),
    lanflow(
        "query with no filter that MLflow knows",
        "filter|invalid|Invalid",
        "query",
        "Default",
        "--filter",
        "params.x ~ 5",
        "--output",
        "q.json",
        "--mlflow-tracking-uri",
        "sqlite:///m.db",
        may_write=_OPENED,
    ),
    lanflow(
        "query with records that are cut",
        r"x\.json",
        "query",
        "Default",
        "--records",
        "x.json",
        "--output",
        "q.json",
        "--mlflow-tracking-uri",
        "sqlite:///m.db",
        files={"x.json": "{"},
        may_write=_OPENED,
    ),
    _record("cut", r"run\.json", "{"),
    _record("of a list", r"run\.json", "[]"),
    _record("of another program", r"run\.json", '{"a": 1}'),
    _record(
        "that sends a file of this machine",
        "hostname|not of these|size",
        json.dumps(
            {
                **_RECORD,
                "artifacts": [
                    {"name": "a", "path": "../../../../../../etc/hostname", "size_bytes": 1}
                ],
            }
        ),
    ),
    _record(
        "that writes outside",
        "evil",
        json.dumps(
            {**_RECORD, "artifacts": [{"name": "../../evil", "path": "run.json", "size_bytes": 1}]}
        ),
    ),
]
