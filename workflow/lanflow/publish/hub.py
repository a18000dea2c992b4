"""Publishing a bundle on the Hugging Face hub: show what would change, ask, upload in one commit.

No other module imports the hub's library. The library finds the token itself (``HF_TOKEN``, or
``hf auth login``): the token is no option here and stands in no message.
"""

import contextlib
import hashlib
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lanflow import __version__
from lanflow.core.errors import UserError
from lanflow.core.names import DEFAULT_LICENCE
from lanflow.evaluation.record import Evaluation, require_passed
from lanflow.networks.network import Network
from lanflow.publish.bundle import README, bundle_files
from lanflow.publish.lanfactory import MANIFEST, add_to_manifest
from lanflow.publish.readme import onnx_name
from lanflow.tracking.store import redact

log = logging.getLogger(__name__)

_LOG_IN = "set HF_TOKEN, or log in with 'hf auth login'"


class HubError(UserError):
    """The hub refuses, or does not answer."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository, known by the digests that the hub lists.

    Attributes
    ----------
    git_sha1
        Digest of the blob in git.
    sha256
        Digest of the content, where the hub keeps it outside of git.
    """

    git_sha1: str
    sha256: str | None = None

    def is_same(self, content: bytes) -> bool:
        """Tell whether the file holds this content."""
        if self.sha256 is not None:
            return self.sha256 == hashlib.sha256(content).hexdigest()
        blob = b"blob %d\0" % len(content) + content
        return self.git_sha1 == hashlib.sha1(blob, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Listing:
    """Files of a repository at one commit."""

    commit: str
    files: Mapping[str, RemoteFile]


class Repository:
    """A repository of models on the hub: that of ``HF_ENDPOINT`` or else huggingface.co."""

    def __init__(self, name: str) -> None:
        try:
            from huggingface_hub import HfApi
        except ImportError as e:
            raise UserError("publishing needs huggingface_hub: pip install lanflow[publish]") from e
        self.name = name
        self._api = HfApi()

    @property
    def address(self) -> str:
        """Its address for a person."""
        return f"{redact(str(self._api.endpoint))}/{self.name}"

    def list_files(self) -> Listing:
        """The repository's files as they are now.

        Raises
        ------
        HubError
            If the repository is not there or may not be read, or the hub does not answer.
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

    def read(self, name: str, commit: str) -> bytes:
        """The content of a file at a commit.

        Raises
        ------
        HubError
            If it cannot be had.
        """
        with self._asking(), tempfile.TemporaryDirectory() as folder:
            path = self._api.hf_hub_download(
                self.name, name, revision=commit, cache_dir=folder, etag_timeout=60
            )
            return Path(path).read_bytes()

    def commit(self, files: Mapping[str, bytes], *, message: str, parent: str) -> str:
        """Add or replace files in one commit, and return its address.

        Raises
        ------
        HubError
            If there is no token or it does not suffice, if ``parent`` is no longer the repository's
            latest commit, or if the hub does not answer.
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
        """Turn whatever error the library raises in the body into one :class:`HubError`."""
        try:
            yield
        except UserError:
            raise
        except Exception as e:  # the library's, httpx's or OSError
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
    """The first error that holds the hub's answer; the library wraps it in others."""
    while error.__cause__ is not None and not hasattr(error, "response"):
        error = error.__cause__
    return error


def _reason(error: Any) -> str:
    return " ".join(redact(str(error)).split())


@dataclass(frozen=True)
class Plan:
    """Plan of an upload: what it would do to each file of a repository.

    Attributes
    ----------
    new, changed, same
        Paths of files.
    kept
        Paths of files that differ and stay as they are.
    added_to
        Paths of files that keep what others wrote, and get an entry more.
    """

    new: list[str]
    changed: list[str]
    same: list[str]
    kept: list[str]
    added_to: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Upload:
    """Result of an upload: the repository's address, the plan, the commit's address."""

    repository: str
    plan: Plan
    commit: str | None


def plan_upload(files: Mapping[str, bytes], listing: Listing, *, keep_readme: bool = False) -> Plan:
    """Compare the contents of a bundle with those of a repository."""
    plan = Plan([], [], [], [])
    for path, content in sorted(files.items()):
        there = listing.files.get(path)
        if there is None:
            plan.new.append(path)
        elif there.is_same(content):
            plan.same.append(path)
        elif keep_readme and path == README:
            plan.kept.append(path)
        elif path == MANIFEST:
            plan.added_to.append(path)
        else:
            plan.changed.append(path)
    return plan


def describe_plan(plan: Plan, address: str) -> str:
    """A plan for a person to read."""
    words = {"new": plan.new, "changed": plan.changed, "same": plan.same, "kept": plan.kept}
    words["added to"] = plan.added_to
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
) -> Upload:
    """Show what would change, then upload a network's bundle in one commit.

    Parameters
    ----------
    network, evaluation
        Of one folder; the network must have passed its gates.
    repo
        ``ORG/NAME``.
    licence
        The hub's identifier of a licence.
    dry_run
        Only show; where the hub does not say what is there, all files as new ones.
    overwrite
        Change files without a question.
    keep_readme
        Leave the README at the repository's root as it is.
    confirm
        Asks a person a question; None where there is nobody to ask.

    Raises
    ------
    NotPassedError
        If the network did not pass.
    HubError
        If the hub refuses or does not answer; of no effect on a dry run, which warns.
    UserError
        If files would change, and neither ``overwrite`` nor a person allows it.
    """
    require_passed(network, evaluation)
    files = bundle_files(network, evaluation, licence=licence, repo=repo)
    repository = Repository(repo)
    listing = _list_or_warn(repository) if dry_run else repository.list_files()
    if MANIFEST in listing.files:
        files[MANIFEST] = _joined_manifest(repository, listing, network, files)
    plan = plan_upload(files, listing, keep_readme=keep_readme)
    sys.stderr.write(describe_plan(plan, repository.address))
    commit = None
    to_upload = sorted(plan.new + plan.changed + plan.added_to)
    if to_upload and not dry_run:
        if plan.changed and not overwrite:
            _require_consent(plan, repository.address, confirm)
        commit = repository.commit(
            {path: files[path] for path in to_upload},
            message=f"{network.model_name} {network.network_type.name} {network.sha256[:12]} "
            f"(lanflow {__version__})",
            parent=listing.commit,
        )
    return Upload(repository.address, plan, commit)


def _joined_manifest(
    repository: Repository, listing: Listing, network: Network, files: Mapping[str, bytes]
) -> bytes:
    """The repository's list of networks with this one in it, whoever wrote the others."""
    place = f"{network.network_type.name}/{network.model_name}/"
    return add_to_manifest(
        repository.read(MANIFEST, listing.commit),
        network,
        root_name=onnx_name(network),
        names=[name.removeprefix(place) for name in files if name.startswith(place)],
        where=repository.address,
    )


def _list_or_warn(repository: Repository) -> Listing:
    """List what a repository holds; nothing, with a warning, where the hub does not say."""
    try:
        return repository.list_files()
    except HubError as e:
        log.warning("not compared with the repository: %s", e)
        return Listing("", {})


def _require_consent(plan: Plan, address: str, confirm: Callable[[str], bool] | None) -> None:
    n = len(plan.changed)
    if confirm is not None and confirm(f"change {n} file(s) of {address}?"):
        return
    raise UserError(
        f"{n} file(s) of {address} would change: {', '.join(plan.changed)}; nothing was uploaded. "
        "Say --overwrite if they may"
    )
