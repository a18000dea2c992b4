"""The Hugging Face hub, and the only module that imports its library.

The token is the library's own business (``HF_TOKEN``, or ``hf auth login``): it is never an option
here, and never in a message.
"""

import contextlib
import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lanflow import __version__
from lanflow.core.errors import UserError
from lanflow.evaluation.record import Evaluation, require_passed
from lanflow.networks.network import Network
from lanflow.publish.bundle import DEFAULT_LICENCE, README, bundle_files
from lanflow.tracking.store import redact

_LOG_IN = "set HF_TOKEN, or log in with 'hf auth login'"


class HubError(UserError):
    """A hub that refuses, or does not answer."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository, by the digests that the hub lists.

    Attributes
    ----------
    git_sha1
        Of the blob in git.
    sha256
        Of the content, where the hub keeps it outside of git.
    """

    git_sha1: str
    sha256: str | None = None

    def is_same(self, content: bytes) -> bool:
        """Whether the file holds this content."""
        if self.sha256 is not None:
            return self.sha256 == hashlib.sha256(content).hexdigest()
        blob = b"blob %d\0" % len(content) + content
        return self.git_sha1 == hashlib.sha1(blob, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Listing:
    """What a repository holds at one commit."""

    commit: str
    files: Mapping[str, RemoteFile]


class Repository:
    """A repository of models on the hub (``HF_ENDPOINT``, then huggingface.co)."""

    def __init__(self, name: str) -> None:
        try:
            from huggingface_hub import HfApi
        except ImportError as e:
            raise UserError("publishing needs huggingface_hub: pip install lanflow[publish]") from e
        self.name = name
        self._api = HfApi()

    @property
    def address(self) -> str:
        """Where a person finds it."""
        return f"{redact(str(self._api.endpoint))}/{self.name}"

    def list_files(self) -> Listing:
        """The repository's files as they are now.

        Raises
        ------
        HubError
            If it is not there, may not be read, or the hub does not answer.
        """
        from huggingface_hub.hf_api import RepoFile

        with self._asking():
            commit = self._api.model_info(self.name).sha
            tree = self._api.list_repo_tree(self.name, recursive=True, revision=commit)
            files = {
                entry.path: RemoteFile(entry.blob_id, entry.lfs.sha256 if entry.lfs else None)
                for entry in tree
                if isinstance(entry, RepoFile)
            }
        return Listing(str(commit), files)

    def commit(self, files: Mapping[str, bytes], *, message: str, parent: str) -> str:
        """Add or replace files, all in one commit; its address.

        Raises
        ------
        HubError
            If there is no token, it does not suffice, the repository is not any more at ``parent``,
            or the hub does not answer.
        """
        from huggingface_hub import CommitOperationAdd

        with self._asking():
            self._require_token()
            made = self._api.create_commit(
                self.name,
                [CommitOperationAdd(name, content) for name, content in files.items()],
                commit_message=message,
                parent_commit=parent,
            )
        return str(made.commit_url)

    def _require_token(self) -> None:
        from huggingface_hub import get_token

        if get_token() is None:
            raise HubError(f"there is no token for {self.address}; {_LOG_IN}")

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Ask the hub; what it answers wrong becomes one message."""
        try:
            yield
        except UserError:
            raise
        except Exception as e:  # the library's, httpx's, OSError: by what they say of the answer
            raise HubError(self._explain(_innermost(e))) from e

    def _explain(self, error: BaseException) -> str:
        status = getattr(getattr(error, "response", None), "status_code", None)
        kind = type(error).__name__
        if kind == "RepositoryNotFoundError" or status == 404:
            return (
                f"{self.address} is not there, or this token may not see it; check the name, make "
                f"it with 'hf repos create {self.name}', or for a private one {_LOG_IN}"
            )
        if status == 401:
            return f"{self.address}: the token is not accepted; {_LOG_IN}"
        if status == 403:
            return f"{self.address}: this token may not write there; use one with write access"
        if status == 412:
            return f"{self.address} has changed in the meantime; run the same command again"
        if status is not None:
            return f"{self.address}: the hub refuses ({_reason(error)})"
        return f"{self.address}: no answer from the hub ({kind}: {_reason(error)})"


def _innermost(error: BaseException) -> BaseException:
    """What the hub answered, inside of what the library says about the file it was doing."""
    while error.__cause__ is not None and not hasattr(error, "response"):
        error = error.__cause__
    return error


def _reason(error: Any) -> str:
    return " ".join(redact(str(error)).split())


# Publishing a bundle on the Hugging Face hub: what would change, a question, one commit.


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
    network: Network,
    evaluation: Evaluation,
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
    network, evaluation
        Of one folder; the network must have passed its gates.
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
    require_passed(network, evaluation)
    files = bundle_files(network, evaluation, licence=licence, repo=repo)
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
            message=f"{network.model_name} {network.network_type.name} {network.sha256[:12]} "
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
