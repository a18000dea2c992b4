"""Where the files of a query, or of a folder, are on this machine."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from lanflow.core.errors import UserError
from lanflow.core.files import file_sha256
from lanflow.data.experiment import TO_SALVAGE, first_ten, is_plain_name


@dataclass(frozen=True)
class Places:
    """Where recorded folders are on this machine.

    Attributes
    ----------
    folder
        Every file is in this folder, whatever was recorded (validation mode).
    root
        Relative recorded folders are resolved against it; the working directory when left out.
    path_map
        Recorded prefix -> prefix here; the longest that fits is used.
    use_extra_files
        Take files of ``folder`` that no run tracks too.
    downloaded
        Run id -> folder that its files were downloaded to.
    """

    folder: Path | None = None
    root: Path | None = None
    path_map: Mapping[str, str] = field(default_factory=dict)
    use_extra_files: bool = False
    downloaded: Mapping[str, Path] = field(default_factory=dict)

    def folder_of(self, run: Mapping[str, Any]) -> Path:
        """Folder on this machine of a run's files."""
        return self.downloaded.get(run["run_id"]) or self.locate(run["data_output_folder"])

    def locate(self, recorded_folder: str) -> Path:
        """Folder on this machine of a recorded one."""
        if self.folder is not None:
            return self.folder
        for prefix in sorted(self.path_map, key=len, reverse=True):
            inside = PurePosixPath(recorded_folder)
            if inside.is_relative_to(prefix):
                return Path(self.path_map[prefix], inside.relative_to(prefix))
        return (self.root or Path.cwd()) / recorded_folder


@dataclass(frozen=True)
class LocatedFiles:
    """Files found here, and what was left out because it is not whole.

    Attributes
    ----------
    files
        name, size_bytes, sha256 (None where not recorded), path, run_id.
    left_out
        run_id, run_name, reason, files (names).
    """

    files: list[dict[str, Any]]
    left_out: list[dict[str, Any]]


_Wrong = Literal["folder", "link", "missing", "size"]


@dataclass(frozen=True)
class _Claim:
    """A file that a run recorded, and what is wrong with what is here; nothing if whole."""

    run: Mapping[str, Any]
    file: Mapping[str, Any]
    path: Path
    wrong: _Wrong | None


def locate_files(query: Mapping[str, Any], places: Places) -> LocatedFiles:
    """Find every tracked file here, with its recorded size.

    A file that two runs claim (workers that shared a folder) counts once, with the record of the
    run that saw it whole: the other may have listed the folder while the file was being written.

    Raises
    ------
    UserError
        Listing folders that are not visible here, files that are missing, or of another size; with
        the policy ``salvage`` only if no file is whole.
    """
    if places.folder is not None and not places.folder.is_dir():
        raise UserError(f"folder {places.folder} does not exist")
    claims = [claim for run in query["runs"] for claim in _find_files(run, places.folder_of(run))]
    found: dict[Path, dict[str, Any]] = {}
    for claim in claims:
        if claim.wrong is None:
            entry = {**claim.file, "path": str(claim.path), "run_id": claim.run["run_id"]}
            found.setdefault(claim.path.resolve(), entry)
    lost = [claim for claim in claims if claim.wrong and claim.path.resolve() not in found]
    if lost and (query["policy"] == "complete" or not found):
        n_tracked = len({claim.path for claim in claims})
        raise UserError(_explain_lost(query, lost, n_tracked, places))
    files = sorted(found.values(), key=lambda file: (file["name"], file["path"]))
    return LocatedFiles(files, _leave_out(lost))


def _find_files(run: Mapping[str, Any], folder: Path) -> Iterator[_Claim]:
    is_here = folder.is_dir()
    for file in run["files"]:
        path = folder / file["name"]
        wrong: _Wrong | None = None
        if not is_here:
            wrong = "folder"
        elif path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            wrong = "link"
        elif not path.is_file():
            wrong = "missing"
        elif path.stat().st_size != file["size_bytes"]:
            wrong = "size"
        yield _Claim(run, file, path, wrong)


_REASONS = {
    "folder": "its folder is not visible here",
    "link": "a link out of its folder",
    "missing": "missing here",
    "size": "not of the recorded size",
}


def _leave_out(lost: Sequence[_Claim]) -> list[dict[str, Any]]:
    """One entry for each run and reason."""
    entries: dict[tuple[str, str], dict[str, Any]] = {}
    for claim in lost:
        assert claim.wrong is not None
        run, reason = claim.run, _REASONS[claim.wrong]
        entry = {"run_id": run["run_id"], "run_name": run["run_name"], "reason": reason}
        listed = entries.setdefault((run["run_id"], reason), {**entry, "files": []})
        listed["files"].append(claim.file["name"])
    return list(entries.values())


def _explain_lost(
    query: Mapping[str, Any], lost: Sequence[_Claim], n_tracked: int, places: Places
) -> str:
    """The first kind of trouble: a folder that is not seen makes the rest of no interest."""
    name = query["experiment"]["name"]
    advice = f"\n{TO_SALVAGE}" if query["policy"] == "complete" else ""
    if absent := {c.run["run_id"]: c for c in lost if c.wrong == "folder"}:
        lines = [
            f"  run {c.run['run_id']} ({c.run['run_name']}): recorded "
            f"{c.run['data_output_folder']}, looked for {c.path.parent}"
            for c in absent.values()
        ]
        return (
            f"experiment {name!r}: the folders of {len(absent)} run(s) are not visible here:\n"
            + "\n".join(lines)
            + "\nset 'root' (--root) to the folder the generation was started in, if the recorded "
            "folder is relative, or 'path_map' (--path-map RECORDED=HERE) if it lies elsewhere on "
            f"this machine{_offer_download(absent.values())}{advice}"
        )
    if links := sorted({c.path for c in lost if c.wrong == "link"}):
        shown = first_ten([f"{path} -> {path.resolve()}" for path in links])
        return (
            f"experiment {name!r}: {len(links)} tracked file(s) are links out of their folder, "
            f"which are not followed: {shown}\ngive the folder that the files are in, or copy them"
            f"{advice}"
        )
    if missing := [c for c in lost if c.wrong == "missing"]:
        paths = sorted({c.path for c in missing})
        names = [path.name if places.folder is not None else str(path) for path in paths]
        where = f" from {places.folder}" if places.folder is not None else ""
        return (
            f"experiment {name!r} tracks {n_tracked} file(s), {len(paths)} missing{where}: "
            f"{first_ten(names)}\n{_count_by_run(missing)}{advice}"
        )
    sizes = {
        c.path: f"{c.path} has {c.path.stat().st_size} bytes, recorded are {c.file['size_bytes']}"
        for c in lost
    }
    return (
        f"{len(sizes)} tracked file(s) changed: {first_ten(list(sizes.values()))}\n"
        f"{_count_by_run(lost)}{advice}"
    )


def _offer_download(claims: Iterable[_Claim]) -> str:
    n_runs = sum(bool(claim.run.get("artifact_path")) for claim in claims)
    return f"; {n_runs} of them logged their files: --download DIR fetches those" if n_runs else ""


def _count_by_run(claims: Sequence[_Claim]) -> str:
    runs = {claim.run["run_id"]: claim.run for claim in claims}
    counts = Counter(claim.run["run_id"] for claim in claims)
    return "\n".join(
        f"  run {run_id} ({run['run_name']}): {counts[run_id]} of its {len(run['files'])} file(s)"
        for run_id, run in runs.items()
    )


def list_folder(folder: Path) -> list[dict[str, Any]]:
    """The training files of a folder, without lineage (traditional mode).

    Raises
    ------
    UserError
        If the folder does not exist or holds no ``.pickle`` file.
    """
    if not folder.is_dir():
        raise UserError(f"training data folder {folder} does not exist")
    paths = sorted(path for path in folder.glob("*.pickle") if path.is_file())
    if not paths:
        raise UserError(f"training data folder {folder} holds no .pickle file")
    return [
        {
            "name": p.name,
            "size_bytes": p.stat().st_size,
            "sha256": None,
            "path": str(p),
            "run_id": None,
        }
        for p in paths
    ]


def extra_files(files: Sequence[Mapping[str, Any]], folder: Path | None) -> list[str]:
    """Names of training files in the folder that no run tracks."""
    if folder is None:
        return []
    known = {file["name"] for file in files}
    return sorted(path.name for path in folder.glob("*.pickle") if path.name not in known)


# Training files that runs logged as artifacts, brought to this machine.


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
