"""Which runs and files of a data-generation experiment are taken, by what MLflow knows."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lanflow.errors import UserError
from lanflow.run_groups import check_one_configuration
from lanflow.store import FILES_TAG

QUERY_VERSION = 3

Policy = Literal["complete", "salvage"]
TO_SALVAGE = (
    "or take what is whole with the policy salvage (lanflow query --policy salvage, study key "
    "policy)"
)

_SHA256 = re.compile("[0-9a-f]{64}")
# No training file has a tebibyte.
_MAX_SIZE = 2**40


@dataclass(frozen=True)
class RunSelection:
    """Which runs of an experiment to take, and what to do about those that are not whole.

    Attributes
    ----------
    policy
        ``complete`` refuses if a run is incomplete, ``salvage`` takes what is whole.
    batch_id
        Runs with this tag ``generation_batch_id``.
    run_ids
        These runs.
    filter
        MLflow filter string, part of the search.
    """

    policy: Policy = "complete"
    batch_id: str | None = None
    run_ids: Sequence[str] | None = None
    filter: str | None = None


def build_query(
    experiment: Mapping[str, str],
    runs: Iterable[Any],
    selection: RunSelection = RunSelection(),
) -> dict[str, Any]:
    """The runs and files of a data-generation experiment, as plain data.

    What MLflow knows decides here: a run is taken if it left an inventory of all its files,
    whatever its status says. Whether the files exist is seen where they are, by
    :func:`lanflow.lineage.locate_files`.

    Parameters
    ----------
    experiment
        ``id`` and ``name``.
    runs
        :class:`lanflow.run_search.FoundRun` of the experiment, deleted ones too.
    selection
        Which of them.

    Raises
    ------
    UserError
        If there is no run with files, a named run is missing, a run is incomplete and the policy is
        ``complete``, an inventory is impossible, or the runs are of several configurations.
    """
    runs = _select(experiment, list(runs), selection)
    taken, aside, incomplete = [], [], []
    for run in runs:
        if reason := _no_data(run):
            aside.append((run, reason))
        elif reason := _incomplete(run):
            incomplete.append((run, reason))
        else:
            taken.append(run)
    if not any(_n_files(run) for run in [*taken, *(run for run, _ in incomplete)]):
        raise UserError(
            f"experiment {experiment['name']!r} (id {experiment['id']}) has no run with files "
            f"({_count_runs(runs)})"
        )
    if incomplete and (selection.policy == "complete" or not taken):
        raise UserError(_explain_incomplete(experiment, incomplete, selection.policy))
    check_one_configuration(experiment, taken)
    return {
        "query_version": QUERY_VERSION,
        "experiment": dict(experiment),
        "policy": selection.policy,
        "selection": {
            "batch_id": selection.batch_id,
            "run_ids": None if selection.run_ids is None else sorted(set(selection.run_ids)),
            "filter": selection.filter,
        },
        "runs": [_describe_run(run) for run in taken],
        "left_out": [
            {"run_id": run.id, "run_name": run.name, "status": run.status, "reason": reason}
            for run, reason in [*aside, *incomplete]
        ],
    }


def _select(
    experiment: Mapping[str, str], runs: Sequence[Any], selection: RunSelection
) -> list[Any]:
    """The runs that are asked for."""
    batch = selection.batch_id
    if batch is not None:
        known = {run.tags["generation_batch_id"] for run in runs if _is_of_a_batch(run)}
        if batch not in known:
            raise UserError(
                f"experiment {experiment['name']!r} has no run of batch {batch}; its batches: "
                f"{first_ten(sorted(known)) or 'none'}"
            )
        runs = [run for run in runs if run.tags.get("generation_batch_id") == batch]
    if selection.run_ids is None:
        return list(runs)
    wanted = set(selection.run_ids)
    missing = sorted(wanted - {run.id for run in runs})
    if missing:
        where = f"batch {batch} of " if batch else ""
        raise UserError(f"{where}experiment {experiment['name']!r} has no run {', '.join(missing)}")
    deleted = [run.id for run in runs if run.id in wanted and run.deleted]
    if deleted and selection.policy == "complete":
        raise UserError(
            f"experiment {experiment['name']!r}: run {', '.join(deleted)} is deleted in MLflow"
        )
    return [run for run in runs if run.id in wanted]


def _is_of_a_batch(run: Any) -> bool:
    return "generation_batch_id" in run.tags


def _no_data(run: Any) -> str | None:
    """Why a run is not expected to have data, or None."""
    if run.deleted:
        return "deleted in MLflow"
    return "a dry run" if _is_dry(run) else None


def _is_dry(run: Any) -> bool:
    return bool(run.tags.get("phase") == "datagen_dry_run" or run.params.get("dry_run") == "True")


def _incomplete(run: Any) -> str | None:
    """What is missing of a run's record, or None."""
    if run.inventory is None:
        return "it left no inventory of files, so it did not end well"
    if not run.params.get("data_output_folder"):
        return "param 'data_output_folder' is missing"
    planned = run.params.get("n_files", "")
    if planned.isdecimal() and _n_files(run) < int(planned):
        return f"its inventory lists {_n_files(run)} of the {planned} files it was to make"
    return None if _n_files(run) else "its inventory lists no file"


def _n_files(run: Any) -> int:
    return len(run.inventory["files"]) if run.inventory else 0


def _count_runs(runs: Sequence[Any]) -> str:
    deleted = sum(run.deleted for run in runs)
    dry = sum(_no_data(run) is not None for run in runs) - deleted
    counts = [f"{len(runs) - dry - deleted} run(s)", f"{dry} dry run(s)"]
    return ", ".join(counts + ([f"{deleted} deleted"] if deleted else []))


def _explain_incomplete(
    experiment: Mapping[str, str], incomplete: Sequence[tuple[Any, str]], policy: Policy
) -> str:
    lines = [f"  {run.id} ({run.name}, {run.status}): {reason}" for run, reason in incomplete]
    advice = "repeat them, or delete them in MLflow"
    if policy == "complete":
        advice += f"; {TO_SALVAGE}"
    return (
        f"experiment {experiment['name']!r}: {len(incomplete)} run(s) are incomplete:\n"
        + "\n".join(lines)
        + f"\n{advice}"
    )


def _describe_run(run: Any) -> dict[str, Any]:
    return {
        "run_id": run.id,
        "run_name": run.name,
        "status": run.status,
        "data_output_folder": run.params["data_output_folder"],
        "batch_id": run.tags.get("generation_batch_id"),
        "artifact_path": _artifact_path(run),
        "files": [_describe_file(run.id, entry) for entry in run.inventory["files"]],
    }


def _artifact_path(run: Any) -> str | None:
    """Where its files are among its artifacts, if they are."""
    path: str | None = run.tags.get(FILES_TAG)
    if path is not None and not all(is_plain_name(part) for part in path.split("/")):
        raise UserError(f"run {run.id}: its tag {FILES_TAG} is {path!r}, not a folder of artifacts")
    return path


def is_plain_name(name: Any) -> bool:
    """Whether a name stays in its folder."""
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\\0")


def _describe_file(run_id: str, entry: Any) -> dict[str, Any]:
    """Name, size and digest of an inventory's entry; a name that leaves its folder is refused."""
    name = entry.get("filename") if isinstance(entry, dict) else None
    if not is_plain_name(name):
        raise UserError(f"run {run_id}: its inventory names a file {name!r}, not a plain file name")
    size = entry.get("size_bytes")
    if type(size) is not int or not 0 <= size <= _MAX_SIZE:
        raise UserError(f"run {run_id}: its inventory gives {name} the size {size!r}")
    sha256 = entry.get("sha256")
    if sha256 is not None and not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
        raise UserError(f"run {run_id}: its inventory gives {name} the sha256 {sha256!r}")
    return {"name": name, "size_bytes": size, "sha256": sha256}


def first_ten(items: Sequence[str]) -> str:
    """Up to ten items for a message, and how many more there are."""
    more = f" and {len(items) - 10} more" if len(items) > 10 else ""
    return ", ".join(items[:10]) + more
