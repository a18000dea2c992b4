"""The folder of the profile that Snakemake reads, and the working directory of its jobs.

Snakemake tells a profile neither, and paths in a profile are relative to the folder in which the
command was typed. So both are found from Snakemake's own command line, as Snakemake finds them.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SITE_NAME = "site.yaml"

# Profiles with a site file are recognised by their call of this function of lanflow.cluster.site.
_CALL = "enter_profile"


@dataclass(frozen=True)
class ProfilePlace:
    """A profile's folder, and the working directory of jobs; both absolute."""

    folder: Path
    directory: Path

    @property
    def site_path(self) -> Path:
        """The path of the profile's site file, which need not exist."""
        return self.folder / SITE_NAME


def find_profile(arguments: Sequence[str] | None = None) -> ProfilePlace:
    """Find the profile that is being read among those on Snakemake's command line.

    Parameters
    ----------
    arguments
        Snakemake's command line; that of this process when left out.
    """
    from snakemake.cli import get_argument_parser, get_profile_dir

    given, _ = get_argument_parser().parse_known_args(arguments or sys.argv[1:])
    names = [*(given.profile or []), *_workflow_profiles(given.workflow_profile, given.snakefile)]
    found = filter(None, (get_profile_dir(str(name)) for name in names))
    folders = [folder for folder, config in found if _CALL in Path(config).read_text("utf-8")]
    # The last of several profiles wins, as it does for every key.
    folder = folders[-1] if folders else Path()
    return ProfilePlace(Path.cwd() / folder, Path.cwd() / (given.directory or ""))


def _workflow_profiles(name: str | None, snakefile: str | None) -> Iterator[Path]:
    """Find the folder of ``--workflow-profile``: here, in profiles/, or beside the Snakefile."""
    from snakemake.api import resolve_snakefile

    if name == "none":
        return
    below = Path("profiles", name or "default")
    path = resolve_snakefile(snakefile, allow_missing=True)
    beside = [path.parent / below] if isinstance(path, Path) else []
    candidates = [Path(name or "default"), below, *beside]
    yield from [candidate for candidate in candidates if candidate.exists()][:1]
