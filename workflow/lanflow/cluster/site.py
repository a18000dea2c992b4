"""The site file of a machine or cluster (account, partitions, store), and its use by a profile.

A profile in the repository holds nothing of a site. Beside it lies a site file, which git ignores
and ``lanflow site`` writes. The profile calls :func:`enter_profile` when Snakemake reads it.

Snakemake tells a profile neither its own folder nor the working directory of its jobs, and paths in
a profile are relative to the folder in which the command was typed. So :func:`find_profile` finds
both from Snakemake's own command line, as Snakemake finds them.
"""

import os
import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from lanflow.core.errors import UserError
from lanflow.core.settings import Settings, parse_settings, read_yaml
from lanflow.tracking.store import ARTIFACT_VARIABLE, URI_VARIABLE, redact, resolve_store

SITE_NAME = "site.yaml"

# Profiles with a site file are recognised by their call of this function.
_CALL = "enter_profile"

_HEADER = """\
# What is this site's own, written by `lanflow site`; edit it as you like. Git ignores it.
# A password does not belong here: put it into the environment (MLFLOW_TRACKING_PASSWORD).
"""


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


class Site(Settings):
    """The content of a site file."""

    account: str | None = Field(None, description="that jobs are charged to")
    status_command: Literal["sacct", "squeue"] | None = Field(
        None, description="what tells the status of jobs: sacct where there is accounting"
    )
    environment: dict[str, str] = Field(
        {}, description="variables of every job, unless they are set already"
    )
    partitions: dict[str, dict[str, Any]] = Field(
        {}, description="name of a partition: its limits, as the Slurm executor plugin has them"
    )


def enter_profile(
    place: ProfilePlace,
    environment: MutableMapping[str, str] = os.environ,
    **variables: str,
) -> Site:
    """Set a profile's environment variables for Snakemake and its jobs, and read its site file.

    A variable that is set already keeps its value; else the site file's value is used, else the
    profile's. Variables are used because a ``--config`` on the command line would replace a
    profile's whole list of ``config`` entries. ``tracking`` in the study has precedence over them.

    Parameters
    ----------
    place
        The profile, as :func:`find_profile` finds it.
    environment
        The mapping in which variables are set.
    **variables
        The profile's variables. Relative paths are resolved in the working directory of the jobs.

    Returns
    -------
    Site
        The site file; empty if there is none, which is reported on standard error.

    Raises
    ------
    UserError
        If the site file is wrong; names the file and the key.
    """
    path = place.site_path
    if path.exists():
        site = parse_settings(Site, read_yaml(path), str(path))
    else:
        site = Site()
        _report_missing_site(place.folder)
    for given in (site.environment, variables):
        _set_absent(environment, given, place.directory)
    return site


@cache  # Snakemake reads a profile more than once
def _report_missing_site(profile: Path) -> None:
    """Say on standard error, once, that there is no site file."""
    sys.stderr.write(
        f"no site file: {profile / SITE_NAME} is not there, so jobs name no account and know no "
        f"partitions; 'lanflow site --profile {profile}' writes it\n"
    )


def _set_absent(
    environment: MutableMapping[str, str], given: Mapping[str, str], directory: Path
) -> None:
    """Set variables that are not set; an artifact location only together with its store."""
    store = resolve_store(
        folder=directory,
        uri=given.get(URI_VARIABLE),
        artifact_location=given.get(ARTIFACT_VARIABLE),
        environment={},
    )
    absolute = {URI_VARIABLE: store.uri, ARTIFACT_VARIABLE: store.artifact_location}
    # An empty variable counts as not set.
    has_store = bool(environment.get(URI_VARIABLE)) and URI_VARIABLE in given
    for name, value in given.items():
        if environment.get(name) or (name == ARTIFACT_VARIABLE and has_store):
            continue
        environment[name] = absolute.get(name) or value


def write_site(profile: Path, site: Site, *, overwrite: bool = False) -> tuple[Path, Path]:
    """Write a site file beside a profile, and link the profile into the working directory.

    Snakemake looks for ``--profile NAME`` in the working directory first.

    Returns
    -------
    tuple of Path
        The site file, and the link in the working directory.

    Raises
    ------
    UserError
        If there is no such profile, the file exists already, a variable holds a password, or
        another file has the link's name.
    """
    import yaml

    from lanflow.core.files import write_text

    path, link = profile / SITE_NAME, Path(profile.name)
    if not (profile / "config.yaml").exists():
        raise UserError(f"{profile}: no profile (no config.yaml in it)")
    if path.exists() and not overwrite:
        raise UserError(f"{path} is there already; give --overwrite to write over it")
    for name, value in site.environment.items():
        if redact(value) != value:
            raise UserError(
                f"{name}: {redact(value)} holds a password, which belongs into no file; set the "
                "variable in your shell instead"
            )
    content = site.model_dump(mode="json", exclude_defaults=True)
    write_text(path, _HEADER + yaml.safe_dump(content, sort_keys=False))
    if profile.resolve() != link.absolute():
        if os.path.lexists(link) and link.resolve() != profile.resolve():
            raise UserError(f"{link} is there and is not {profile}, so --profile {link} is not it")
        link.unlink(missing_ok=True)
        link.symlink_to(profile)
    return path, link
