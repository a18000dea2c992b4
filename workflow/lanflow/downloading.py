"""Training files that runs logged as artifacts, brought to this machine."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lanflow.errors import UserError
from lanflow.lineage import Places
from lanflow.manifest import file_sha256
from lanflow.run_query import is_plain_name

AT_A_TIME = 8
_PARTIAL = ".downloading-"

# Downloads an artifact of a run (its path there) into a folder; where it is now.
Fetch = Callable[[str, str, Path], Path]


@dataclass(frozen=True)
class Download:
    """A file to have here.

    Attributes
    ----------
    run_id, artifact
        Where it comes from: a run, and the path among its artifacts.
    path
        Where it goes.
    size_bytes, sha256
        What it must be; the digest is ``None`` where the run recorded none.
    """

    run_id: str
    artifact: str
    path: Path
    size_bytes: int
    sha256: str | None

    def difference(self, path: Path) -> str | None:
        """What is wrong with a file for this one; ``None`` if it is the file."""
        if path.is_symlink() or not path.is_file():
            return "not a file"
        size = path.stat().st_size
        if size != self.size_bytes:
            return f"{size} bytes, recorded are {self.size_bytes}"
        if self.sha256 is not None and (found := file_sha256(path)) != self.sha256:
            return f"sha256 {found[:12]}..., recorded is {self.sha256[:12]}..."
        return None


def runs_to_download(query: Mapping[str, Any], places: Places) -> list[Mapping[str, Any]]:
    """Runs whose files are among their artifacts, and whose folder is not on this machine."""
    return [
        run
        for run in query["runs"]
        if run.get("artifact_path") and not places.folder_of(run).is_dir()
    ]


def plan_downloads(runs: Sequence[Mapping[str, Any]], folder: Path) -> list[Download]:
    """The files of runs, each run with a folder of its own.

    Raises
    ------
    UserError
        If a name would lead out of the folder.
    """
    downloads = []
    for run in runs:
        run_folder = folder / run["run_id"]
        names = [run["run_id"], *(file["name"] for file in run["files"])]
        outside = [name for name in names if not is_plain_name(name)]
        if outside or not run_folder.resolve().is_relative_to(folder.resolve()):
            raise UserError(
                f"run {run['run_id']!r}: {(outside or names)[0]!r} leads out of {folder}"
            )
        for file in run["files"]:
            artifact = str(PurePosixPath(run["artifact_path"], file["name"]))
            path = run_folder / file["name"]
            downloads.append(
                Download(run["run_id"], artifact, path, file["size_bytes"], file["sha256"])
            )
    return downloads


def download_files(
    downloads: Sequence[Download],
    folder: Path,
    fetch: Fetch,
    *,
    on_file: Callable[[], None] = lambda: None,
) -> int:
    """Have files here; those that are here already are kept.

    A file appears under its name once it is whole and of the recorded size and sha256, so what an
    interrupted download leaves is gone on with.

    Parameters
    ----------
    downloads
        From :func:`plan_downloads`.
    folder
        Of one process at a time.
    fetch
        Downloads one.
    on_file
        Called after each file.

    Returns
    -------
    int
        How many were downloaded.

    Raises
    ------
    UserError
        If one is not what was recorded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{_PARTIAL}*"):
        shutil.rmtree(left)
    with _pool() as pool:
        n_fetched = 0
        for was_fetched in pool.map(lambda download: _have(download, folder, fetch), downloads):
            n_fetched += was_fetched
            on_file()
    return n_fetched


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    """Threads; what has not begun when something fails is not begun."""
    pool = ThreadPoolExecutor(AT_A_TIME)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _have(download: Download, folder: Path, fetch: Fetch) -> bool:
    if download.difference(download.path) is None:
        return False
    with tempfile.TemporaryDirectory(prefix=_PARTIAL, dir=folder) as partial:
        fetched = fetch(download.run_id, download.artifact, Path(partial))
        if difference := download.difference(fetched):
            raise UserError(
                f"run {download.run_id}: its artifact {download.artifact} is not the file that "
                f"was generated ({difference})"
            )
        download.path.parent.mkdir(exist_ok=True)
        fetched.replace(download.path)
    return True
