"""Publishing a bundle on the Hugging Face hub: what would change, a question, one commit."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lanflow import __version__
from lanflow.bundle import DEFAULT_LICENCE, README, bundle_files
from lanflow.errors import UserError
from lanflow.evaluated_network import EvaluatedNetwork
from lanflow.hub import Listing, Repository


@dataclass(frozen=True)
class Plan:
    """What an upload would do to a repository, file by file.

    Attributes
    ----------
    new, changed, same
        Paths.
    kept
        Paths that differ and are left as they are.
    """

    new: list[str]
    changed: list[str]
    same: list[str]
    kept: list[str]


def plan_upload(files: Mapping[str, bytes], listing: Listing, *, keep_readme: bool = False) -> Plan:
    """Compare a bundle with a repository, by content."""
    plan = Plan([], [], [], [])
    for path, content in sorted(files.items()):
        there = listing.files.get(path)
        if there is None:
            plan.new.append(path)
        elif there.is_same(content):
            plan.same.append(path)
        elif keep_readme and path == README:
            plan.kept.append(path)
        else:
            plan.changed.append(path)
    return plan


def describe_plan(plan: Plan, address: str) -> str:
    """A plan for a person to read."""
    words = {"new": plan.new, "changed": plan.changed, "same": plan.same, "kept": plan.kept}
    lines = [f"  {word:<8} {path}" for word, paths in words.items() for path in paths]
    return "\n".join([address, *lines]) + "\n"


def publish(
    network: EvaluatedNetwork,
    repo: str,
    *,
    licence: str = DEFAULT_LICENCE,
    dry_run: bool = False,
    overwrite: bool = False,
    keep_readme: bool = False,
    confirm: Callable[[str], bool] | None = None,
) -> dict[str, Any]:
    """Upload a network's bundle, in one commit, after showing what would change.

    Parameters
    ----------
    network
        It must have passed its gates.
    repo
        ``ORG/NAME``.
    licence
        The hub's identifier of a licence.
    dry_run
        Show, and upload nothing.
    overwrite
        Files that are there may change.
    keep_readme
        Leave the repository's own card at its root as it is.
    confirm
        Asks a person; None where there is nobody to ask.

    Returns
    -------
    dict
        The plan, and the commit, None if there was nothing to upload.

    Raises
    ------
    NotPassedError
        If the network did not pass.
    HubError
        If the hub refuses or does not answer.
    UserError
        If files would change and nobody said that they may.
    """
    network.require_passed()
    files = bundle_files(network, licence=licence, repo=repo)
    repository = Repository(repo)
    listing = repository.list_files()
    plan = plan_upload(files, listing, keep_readme=keep_readme)
    sys.stderr.write(describe_plan(plan, repository.address))
    commit = None
    to_upload = sorted(plan.new + plan.changed)
    if to_upload and not dry_run:
        if plan.changed and not overwrite:
            _require_consent(plan, repository.address, confirm)
        commit = repository.commit(
            {path: files[path] for path in to_upload},
            message=f"{network.model} {network.network_type} {network.onnx_sha256[:12]} "
            f"(lanflow {__version__})",
            parent=listing.commit,
        )
    return {
        "repository": repository.address,
        "new": plan.new,
        "changed": plan.changed,
        "same": plan.same,
        "kept": plan.kept,
        "commit": commit,
    }


def _require_consent(plan: Plan, address: str, confirm: Callable[[str], bool] | None) -> None:
    n = len(plan.changed)
    if confirm is not None and confirm(f"change {n} file(s) of {address}?"):
        return
    raise UserError(
        f"{n} file(s) of {address} would change: {', '.join(plan.changed)}; nothing was uploaded. "
        "Say --overwrite if they may"
    )
