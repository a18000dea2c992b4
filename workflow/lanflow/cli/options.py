"""Options that several commands have, each declared once, and how words become their values.

A function makes a value from a word, or says in a ValueError why it is none; the command's message
puts the option's name before the reason.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from lanflow.cli.command import Argument, Option, OptionGroup
from lanflow.core.errors import UsageError, short
from lanflow.core.names import LARGEST_COUNT, LARGEST_SEED, check_name, check_title

if TYPE_CHECKING:
    from lanflow.data.locate import Places
    from lanflow.models.models_file import ModelsFile
    from lanflow.tracking.store import SendMode, Store

# Threads or processes: as many as large machines have cores. Thousands would find no memory, and
# libraries end the process where they cannot start one.
_MOST_AT_A_TIME = 1024
# MLflow retries a server that does not answer for four minutes; a check can fail sooner.
_RETRIES = ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")


def whole_number(text: str) -> int:
    """Parse a non-negative whole number."""
    return _parse_whole(text, "a non-negative whole number", 0, LARGEST_COUNT)


def count(text: str) -> int:
    """Parse a positive whole number."""
    return _parse_whole(text, "a positive whole number", 1, LARGEST_COUNT)


def seed(text: str) -> int:
    """Parse a seed."""
    return _parse_whole(text, "a non-negative whole number", 0, LARGEST_SEED)


def at_a_time(text: str) -> int:
    """Parse a number of threads or processes."""
    from lanflow.core.processes import n_cores

    return _parse_whole(text, "a positive whole number", 1, max(_MOST_AT_A_TIME, n_cores()))


def _parse_whole(text: str, what: str, least: int, most: int) -> int:
    is_short = text.isdecimal() and len(text) <= len(str(LARGEST_SEED))
    if not (is_short and least <= int(text) <= most):
        raise ValueError(f"{short(text)} is not {what} of at most {most:,}")
    return int(text)


def share(text: str) -> float:
    """Parse a number from 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not 0 <= number <= 1:
        raise ValueError(f"{short(text)} is not a number from 0 to 1")
    return number


def plain_name(text: str) -> str:
    """Parse a name that becomes part of a path."""
    return check_name(text)


def title(text: str) -> str:
    """Parse the name of a run or an experiment in MLflow."""
    return check_title(text)


def output_file(text: str) -> Path:
    """Parse the path of a file to write: a place that takes none is told at once."""
    path = Path(text)
    try:
        if path.is_dir():
            raise ValueError(f"{short(text)} is a folder; name a file")
        folder = next(place for place in path.absolute().parents if place.exists())
        if not folder.is_dir():
            raise ValueError(f"{folder}: is a file; name a folder")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ValueError(f"{folder}: Permission denied")
    except OSError as e:
        from lanflow.core.files import explain_os_error

        raise ValueError(explain_os_error(e)) from e
    return path


File = Annotated[Path, Option(metavar="FILE")]
Folder = Annotated[Path, Option(metavar="DIR")]
OutputFile = Annotated[Path, Option(parse=output_file, metavar="FILE")]
Number = Annotated[int, Option(parse=whole_number, metavar="N")]
Count = Annotated[int, Option(parse=count, metavar="N")]
Seed = Annotated[int, Option(parse=seed, metavar="N")]
Share = Annotated[float, Option(parse=share, metavar="SHARE")]
Name = Annotated[str, Option(parse=plain_name, metavar="NAME")]
Title = Annotated[str, Option(parse=title, metavar="NAME")]
AtATime = Annotated[int, Option(parse=at_a_time, metavar="N", default_in_words="all cores")]
Text = Annotated[str, Option(metavar="TEXT")]
Id = Annotated[str, Option(metavar="ID")]

Experiments = Annotated[tuple[str, ...], Argument(parse=title, metavar="EXPERIMENT")]
NetworkFolder = Annotated[Path, Argument(metavar="NETWORK_DIR")]


class StoreOptions(OptionGroup):
    """The MLflow store."""

    panel = "MLflow"

    mlflow_tracking_uri: Annotated[
        str | None,
        Option(metavar="URI"),
        "MLflow's store of runs, a file or a server (MLFLOW_TRACKING_URI, then sqlite:///mlflow.db)",
    ] = None
    mlflow_artifact_location: Annotated[
        str | None,
        Option(metavar="DIR"),
        "artifacts of experiments made here (MLFLOW_ARTIFACT_LOCATION, then MLflow's own)",
    ] = None

    def resolve(self) -> "Store":
        """Return the store that the options, else the environment, name."""
        from lanflow.tracking.store import resolve_store

        return resolve_store(
            uri=self.mlflow_tracking_uri, artifact_location=self.mlflow_artifact_location
        )


class SendOption(OptionGroup):
    """The time at which a run is sent to the store."""

    panel = "MLflow"

    mlflow_send: Annotated[
        Literal["now", "try", "later"] | None,
        "now: the store must be there at the start; try: if not, the run is kept beside the "
        "results for 'lanflow sync'; later: it is kept there, the store is not asked "
        "(LANFLOW_MLFLOW_SEND, then now)",
    ] = None

    def resolve(self) -> "SendMode":
        """Return the mode that the option, else the environment, names."""
        from lanflow.tracking.store import resolve_send_mode

        return resolve_send_mode(self.mlflow_send)


class PlaceOptions(OptionGroup):
    """The places of files that an experiment recorded."""

    root: Annotated[
        Folder | None,
        "base of relative recorded folders; the working directory when left out",
    ] = None
    path_map: Annotated[
        tuple[str, ...],
        Option(metavar="RECORDED=HERE"),
        "a recorded folder prefix and where it is on this machine; may be repeated",
    ] = ()
    use_extra_files: Annotated[
        bool, "train on files of the folder that the experiment does not track, too"
    ] = False

    @property
    def mapping(self) -> dict[str, str]:
        """Recorded prefix -> folder here.

        Raises
        ------
        UsageError
            If an entry has no ``=``.
        """
        return parse_path_map(self.path_map)

    def places(self, folder: Path | None) -> "Places":
        """Return the places to look for training files, with a folder that is named beside."""
        from lanflow.data.locate import Places

        return Places(
            folder=folder,
            root=self.root,
            path_map=self.mapping,
            use_extra_files=self.use_extra_files,
        )


DropInvalidOption = Annotated[
    bool,
    "leave out rows that hold a value which cannot be (NaN, a probability of 2), and count them; "
    "else such a file is refused",
]


class ModelsFileOption(OptionGroup):
    """A file that defines models."""

    models_file: Annotated[
        File | None, "Python file of your own that defines models; it is run"
    ] = None

    def read(self) -> "ModelsFile | None":
        """Return the file's content; None if no file is named.

        Raises
        ------
        UserError
            If it cannot be read.
        """
        if self.models_file is None:
            return None
        from lanflow.models.models_file import ModelsFile

        return ModelsFile.read(self.models_file)


def limit_mlflow_retries() -> None:
    """Let checks of a server that does not answer fail soon, unless the user set the variable."""
    os.environ.setdefault(*_RETRIES)


def parse_path_map(entries: tuple[str, ...]) -> dict[str, str]:
    """Parse ``RECORDED=HERE`` entries into a mapping.

    Raises
    ------
    UsageError
        If an entry has no ``=``.
    """
    mapping = {}
    for entry in entries:
        recorded, equals, here = entry.partition("=")
        if not (recorded and equals and here):
            raise UsageError(f"--path-map {entry!r}: expected RECORDED=HERE")
        mapping[recorded] = here
    return mapping
