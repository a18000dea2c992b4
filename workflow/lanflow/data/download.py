"""Downloads training files that runs logged as artifacts, where their folder is not here."""

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lanflow.core.errors import UserError
from lanflow.core.files import file_sha256
from lanflow.data.experiment import Query, QueryRun, is_plain_name
from lanflow.data.locate import Places

log = logging.getLogger(__name__)

AT_A_TIME = 8
_PARTIAL = ".downloading-"

# Downloads an artifact of a run (run id, path among its artifacts) into a folder; gives its path.
Fetch = Callable[[str, str, Path], Path]


@dataclass(frozen=True)
class Download:
    """A file to download.

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
        """Compare a file here with the one that was recorded; ``None`` if they agree."""
        if path.is_symlink() or not path.is_file():
            return "not a file"
        size = path.stat().st_size
        if size != self.size_bytes:
            return f"{size} bytes, recorded are {self.size_bytes}"
        if self.sha256 is not None and (found := file_sha256(path)) != self.sha256:
            return f"sha256 {found[:12]}..., recorded is {self.sha256[:12]}..."
        return None


def runs_to_download(query: Query, places: Places) -> list[QueryRun]:
    """Runs whose files are among their artifacts, and whose folder is not on this machine."""
    return [run for run in query.runs if run.artifact_path and not places.folder_of(run).is_dir()]


def plan_downloads(runs: Iterable[QueryRun], folder: Path) -> list[Download]:
    """The files of runs, each run with a folder of its own.

    Raises
    ------
    UserError
        If a name would lead out of the folder.
    """
    downloads = []
    for run in runs:
        assert run.artifact_path is not None
        run_folder = folder / run.run_id
        names = [run.run_id, *(file.name for file in run.files)]
        outside = [name for name in names if not is_plain_name(name)]
        if outside or not run_folder.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"run {run.run_id!r}: {(outside or names)[0]!r} leads out of {folder}")
        for file in run.files:
            artifact = str(PurePosixPath(run.artifact_path, file.name))
            path = run_folder / file.name
            downloads.append(Download(run.run_id, artifact, path, file.size_bytes, file.sha256))
    return downloads


def download_files(
    downloads: Sequence[Download],
    folder: Path,
    fetch: Fetch,
    *,
    on_file: Callable[[], None] = lambda: None,
) -> int:
    """Download files, several at a time; those that are here already are kept.

    A file appears under its name once it is whole and of the recorded size and sha256, so an
    interrupted download goes on with the files that are still missing.

    Parameters
    ----------
    downloads
        From :func:`plan_downloads`.
    folder
        Holds partial files meanwhile; only one process downloads into it at a time.
    fetch
        Downloads one file.
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
    with _threads() as threads:
        n_fetched = 0
        for was_fetched in threads.map(lambda each: _download(each, folder, fetch), downloads):
            n_fetched += was_fetched
            on_file()
    return n_fetched


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """Threads to download with; if one fails, downloads that have not begun are dropped."""
    threads = ThreadPoolExecutor(AT_A_TIME)
    try:
        yield threads
    finally:
        threads.shutdown(cancel_futures=True)


def _download(download: Download, folder: Path, fetch: Fetch) -> bool:
    """Download a file unless it is here; tells whether it was downloaded."""
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
