"""Places of the training files of a query, or of a folder, on this machine.

Files are found in the folders that their runs recorded, or where these lie here.
"""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field

from lanflow.core.errors import UserError
from lanflow.core.settings import Settings
from lanflow.data.experiment import (
    TO_SALVAGE,
    GenerationRun,
    Query,
    QueryFile,
    QueryRun,
    first_ten,
)

log = logging.getLogger(__name__)

# ssm-simulators' own folder of files is five below the one it is given.
_MOST_DEPTH, _MOST_FOLDERS = 6, 5000


@dataclass(frozen=True)
class Places:
    """Map of recorded folders to folders of this machine.

    Attributes
    ----------
    folder
        Every file is in this folder, whatever was recorded (validation mode).
    root
        Relative recorded folders are resolved against it; the working directory when left out.
    path_map
        Recorded prefix -> prefix here; the longest that fits is used.
    use_extra_files
        Take files of ``folder`` that no run tracks, too.
    downloaded
        Run id -> folder that its files were downloaded to.
    """

    folder: Path | None = None
    root: Path | None = None
    path_map: Mapping[str, str] = field(default_factory=dict)
    use_extra_files: bool = False
    downloaded: Mapping[str, Path] = field(default_factory=dict)

    def folder_of(self, run: GenerationRun) -> Path:
        """Folder on this machine of a run's files."""
        return self.downloaded.get(run.run_id) or self.locate(run.data_output_folder)

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
class LocatedFile:
    """A training file on this machine; ``sha256`` and ``run_id`` where a run recorded them."""

    name: str
    path: Path
    size_bytes: int
    sha256: str | None = None
    run_id: str | None = None


class LeftOut(Settings):
    """A run, or files of one, that is not part of the data set."""

    run_id: str = Field(description="MLflow's id of the run")
    run_name: str = Field(description="its name")
    reason: str = Field(description="why it was left out")
    files: list[str] = Field(description="which of its files; empty: all of the run")


@dataclass(frozen=True)
class LocatedFiles:
    """The training files that were found, and those that were not.

    Attributes
    ----------
    files
        In the order of the rows of the data set.
    extra
        Names of files in the folder that no run tracks.
    left_out
        Tracked files that are not whole here.
    """

    files: list[LocatedFile]
    extra: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def locate_files(query: Query | None, places: Places) -> LocatedFiles:
    """Find every tracked file here, with its recorded size; without a query, all of a folder.

    A file that two runs list (workers that shared a folder) counts once, with the record of the
    run that saw it whole: the other may have listed the folder while the file was being written.

    Raises
    ------
    UserError
        Listing folders that are not visible here, files that are missing, or of another size; with
        the policy ``salvage`` only if no file is whole. Without a query, if the folder is missing
        or empty.
    """
    if places.folder is not None and places.folder.is_dir():
        places = replace(places, folder=_folder_of_files(places.folder))
    folder = places.folder
    if query is None:
        assert folder is not None
        return LocatedFiles(_list_folder(folder))
    if folder is not None and not folder.is_dir():
        raise UserError(f"folder {folder} does not exist")
    tracked = [file for run in query.runs for file in _find_files(run, places.folder_of(run))]
    found: dict[Path, LocatedFile] = {}
    for file in tracked:
        if file.fault is None:
            found.setdefault(file.path.resolve(), file.located())
    lost = [file for file in tracked if file.fault and file.path.resolve() not in found]
    if lost and (query.policy == "complete" or not found):
        n_tracked = len({file.path for file in tracked})
        raise UserError(_explain_lost(query, lost, n_tracked, places))
    files = sorted(found.values(), key=lambda file: (file.name, str(file.path)))
    extra: list[str] = []
    if folder is not None:
        in_folder = {path.name for path in folder.glob("*.pickle")}
        extra = sorted(in_folder - {file.recorded.name for file in tracked})
        if extra and places.use_extra_files:
            files += [file for file in _list_folder(folder) if file.name in extra]
    return LocatedFiles(files, extra, _leave_out(lost))


def _folder_of_files(folder: Path) -> Path:
    """The folder itself, or the one below it that holds training files.

    ``generate`` and ``lanflow generate`` put their files some folders below the one they are given.

    Raises
    ------
    UserError
        Naming the folders below that hold files, if there are several.
    """
    if any(folder.glob("*.pickle")):
        return folder
    below = sorted(_folders_with_files(folder))
    if len(below) > 1:
        raise UserError(
            f"training data folder {folder} holds no .pickle file itself, but {len(below)} folders "
            f"in it do; give one of them: {first_ten([str(path) for path in below])}"
        )
    if not below:
        return folder
    log.info("%s: its training files are in %s", folder, below[0])
    return below[0]


def _folders_with_files(folder: Path) -> Iterator[Path]:
    """Folders below that hold ``training_data*.pickle``, among the first few thousand."""
    for number, (place, inner, names) in enumerate(os.walk(folder)):
        depth = len(Path(place).relative_to(folder).parts)
        is_deep = depth == _MOST_DEPTH or number > _MOST_FOLDERS
        # Hidden and partial ones are being written.
        seen = [name for name in inner if name[0] != "." and not name.endswith(".partial")]
        inner[:] = [] if is_deep else seen
        if any(fnmatch(name, "training_data*.pickle") for name in names):
            yield Path(place)


def _list_folder(folder: Path) -> list[LocatedFile]:
    """The training files of a folder, by name."""
    if not folder.is_dir():
        raise UserError(f"training data folder {folder} does not exist")
    paths = sorted(path for path in folder.glob("*.pickle") if path.is_file())
    if not paths:
        raise UserError(f"training data folder {folder} holds no .pickle file")
    return [LocatedFile(path.name, path, path.stat().st_size) for path in paths]


_Fault = Literal["folder", "link", "missing", "size"]

_REASONS: dict[_Fault, str] = {
    "folder": "its folder is not visible here",
    "link": "a link out of its folder",
    "missing": "missing here",
    "size": "not of the recorded size",
}


@dataclass(frozen=True)
class _TrackedFile:
    """A file that a run recorded, where it should be, and what is wrong there; None if whole."""

    run: QueryRun
    recorded: QueryFile
    path: Path
    fault: _Fault | None

    def located(self) -> LocatedFile:
        size_bytes, sha256 = self.recorded.size_bytes, self.recorded.sha256
        return LocatedFile(self.recorded.name, self.path, size_bytes, sha256, self.run.run_id)


def _find_files(run: QueryRun, folder: Path) -> Iterator[_TrackedFile]:
    is_here = folder.is_dir()
    for file in run.files:
        path = folder / file.name
        fault = _find_fault(folder, path, file.size_bytes) if is_here else "folder"
        yield _TrackedFile(run, file, path, fault)


def _find_fault(folder: Path, path: Path, size_bytes: int) -> _Fault | None:
    if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
        return "link"
    if not path.is_file():
        return "missing"
    return None if path.stat().st_size == size_bytes else "size"


def _leave_out(lost: Sequence[_TrackedFile]) -> list[LeftOut]:
    """One entry for each run and reason."""
    names: dict[tuple[str, str, str], list[str]] = {}
    for file in lost:
        assert file.fault is not None
        key = file.run.run_id, file.run.run_name, _REASONS[file.fault]
        names.setdefault(key, []).append(file.recorded.name)
    return [
        LeftOut(run_id=run_id, run_name=run_name, reason=reason, files=files)
        for (run_id, run_name, reason), files in names.items()
    ]


def _explain_lost(
    query: Query, lost: Sequence[_TrackedFile], n_tracked: int, places: Places
) -> str:
    """The message about the first kind of fault: behind an unseen folder, others are unknown."""
    name = query.experiment.name
    advice = f"\n{TO_SALVAGE}" if query.policy == "complete" else ""
    if unseen := {file.run.run_id: file for file in lost if file.fault == "folder"}:
        return _explain_unseen(name, list(unseen.values())) + advice
    if links := sorted({file.path for file in lost if file.fault == "link"}):
        shown = first_ten([f"{path} -> {path.resolve()}" for path in links])
        return (
            f"experiment {name!r}: {len(links)} tracked file(s) are links out of their folder, "
            f"which are not followed: {shown}\ngive the folder that the files are in, or copy them"
            f"{advice}"
        )
    if missing := [file for file in lost if file.fault == "missing"]:
        paths = sorted({file.path for file in missing})
        names = [path.name if places.folder is not None else str(path) for path in paths]
        where = f" from {places.folder}" if places.folder is not None else ""
        return (
            f"experiment {name!r} tracks {n_tracked} file(s), {len(paths)} missing{where}: "
            f"{first_ten(names)}\n{_count_by_run(missing)}{advice}"
        )
    sizes = {
        file.path: f"{file.path} has {file.path.stat().st_size} bytes, recorded are "
        f"{file.recorded.size_bytes}"
        for file in lost
    }
    return (
        f"{len(sizes)} tracked file(s) changed: {first_ten(list(sizes.values()))}\n"
        f"{_count_by_run(lost)}{advice}"
    )


def _explain_unseen(name: str, files: Sequence[_TrackedFile]) -> str:
    """The message about folders that are not visible here; one file of each run."""
    lines = "".join(
        f"\n  run {file.run.run_id} ({file.run.run_name}): recorded "
        f"{file.run.data_output_folder}, looked for {file.path.parent}"
        for file in files
    )
    n_logged = sum(bool(file.run.artifact_path) for file in files)
    download = f"; {n_logged} of them logged their files: --download DIR fetches those"
    return (
        f"experiment {name!r}: the folders of {len(files)} run(s) are not visible here:{lines}"
        "\nset 'root' (--root) to the folder the generation was started in, if the recorded "
        "folder is relative, or 'path_map' (--path-map RECORDED=HERE) if it lies elsewhere on "
        f"this machine{download if n_logged else ''}"
    )


def _count_by_run(lost: Sequence[_TrackedFile]) -> str:
    runs = {file.run.run_id: file.run for file in lost}
    counts = Counter(file.run.run_id for file in lost)
    return "\n".join(
        f"  run {run_id} ({run.run_name}): {counts[run_id]} of its {len(run.files)} file(s)"
        for run_id, run in runs.items()
    )
