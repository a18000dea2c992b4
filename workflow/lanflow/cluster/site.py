"""What a machine or cluster has of its own: account, partitions, the store; and the profile's part.

A profile of the repository holds nothing of a site. Beside it lies a site file that git ignores;
``lanflow site`` writes it. The profile calls :func:`enter_profile` when Snakemake reads it.
"""

import os
import sys
from collections.abc import Mapping, MutableMapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from lanflow.cluster.profile import SITE_NAME, ProfilePlace
from lanflow.core.errors import UserError
from lanflow.core.settings import Settings, parse_settings, read_yaml
from lanflow.tracking.store import ARTIFACT_VARIABLE, URI_VARIABLE, redact, resolve_store

_HEADER = """\
# What is this site's own, written by `lanflow site`; edit it as you like. Git ignores it.
# A password does not belong here: put it into the environment (MLFLOW_TRACKING_PASSWORD).
"""


class Site(Settings):
    """A site file."""

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
    """Set the variables of a profile for Snakemake and all its jobs, and give its site file.

    A variable that is set already stays as it is; then comes the site file's value, then the
    profile's own. A profile's list of ``config`` entries would be lost with the first ``--config``
    on the command line; a variable is not, and ``tracking`` in the study still wins over it.

    Parameters
    ----------
    place
        Of the profile, as :func:`~lanflow.cluster.profile.find_profile` finds it.
    environment
        Where variables are set.
    **variables
        The profile's own. Relative paths are of the working directory, which jobs share.

    Returns
    -------
    Site
        Empty where there is no site file, which is said on standard error.

    Raises
    ------
    UserError
        Naming the site file and the key.
    """
    path = place.site_path
    if path.exists():
        site = parse_settings(Site, read_yaml(path), str(path))
    else:
        site = Site()
        _tell_of_no_site(place.folder)
    for given in (site.environment, variables):
        _set_absent(environment, given, place.directory)
    return site


@cache  # Snakemake reads a profile more than once
def _tell_of_no_site(profile: Path) -> None:
    sys.stderr.write(
        f"no site file: {profile / SITE_NAME} is not there, so jobs name no account and know no "
        f"partitions; 'lanflow site --profile {profile}' writes it\n"
    )


def _set_absent(
    environment: MutableMapping[str, str], given: Mapping[str, str], directory: Path
) -> None:
    """Set what is not set; an artifact location goes with the store it was given for."""
    store = resolve_store(
        folder=directory,
        uri=given.get(URI_VARIABLE),
        artifact_location=given.get(ARTIFACT_VARIABLE),
        environment={},
    )
    absolute = {URI_VARIABLE: store.uri, ARTIFACT_VARIABLE: store.artifact_location}
    # An empty variable counts as not set, as everywhere.
    has_store = bool(environment.get(URI_VARIABLE)) and URI_VARIABLE in given
    for name, value in given.items():
        if environment.get(name) or (name == ARTIFACT_VARIABLE and has_store):
            continue
        environment[name] = absolute.get(name) or value


def write_site(profile: Path, site: Site, *, overwrite: bool = False) -> tuple[Path, Path]:
    """Write a site file beside a profile, and a link so that ``--profile NAME`` finds it.

    Snakemake looks for a profile in the working directory first, by its name alone.

    Returns
    -------
    tuple of Path
        The site file, and the link in the working directory.

    Raises
    ------
    UserError
        If there is no such profile, the file is there already, a variable holds a password, or
        something else has the link's name.
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
