"""Checking again that a manifest's files are what was frozen."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lanflow.errors import UserError
from lanflow.manifest import content_digest, file_sha256

_MAX_LISTED = 100


def verify_manifest(
    manifest: Mapping[str, Any], *, on_file: Callable[[], None] = lambda: None
) -> None:
    """Check the digest of a manifest and every file: that it exists, its size, its sha256.

    Parameters
    ----------
    manifest
        As :func:`lanflow.manifest.build_manifest` made it.
    on_file
        Called after each file.

    Raises
    ------
    UserError
        Listing all that differs.
    """
    found: list[str] = []
    if manifest["digest"] != content_digest(manifest):
        found.append("the digest is not that of the files, so the manifest itself was changed")
    for file in manifest["files"]:
        if difference := _difference(file):
            found.append(difference)
        on_file()
    if found:
        raise UserError(_explain(found, len(manifest["files"])))


def _difference(file: Mapping[str, Any]) -> str | None:
    path = Path(file["path"])
    try:
        size = path.stat().st_size
        if not path.is_file():
            return f"{path}: not a file"
        if size != file["size_bytes"]:
            return f"{path}: {size} bytes, frozen are {file['size_bytes']}"
        sha256 = file_sha256(path)
    except FileNotFoundError:
        return f"{path}: missing"
    except OSError as e:
        return f"{path}: cannot be read ({e.strerror})"
    except UserError as e:
        return str(e)
    if sha256 != file["sha256"]:
        return f"{path}: sha256 {sha256[:12]}..., frozen is {file['sha256'][:12]}..."
    return None


def _explain(found: Sequence[str], n_files: int) -> str:
    lines = "\n".join(f"  {line}" for line in found[:_MAX_LISTED])
    more = f"\n  and {len(found) - _MAX_LISTED} more" if len(found) > _MAX_LISTED else ""
    return f"{len(found)} difference(s) to the manifest of {n_files} file(s):\n{lines}{more}"
