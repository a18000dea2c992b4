"""Commands that hand a network on: ``lanflow register``, ``bundle`` and ``publish``."""

import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from lanflow.cli.command import Argument, Option, Outcome
from lanflow.cli.options import (
    Folder,
    ModelsFileOption,
    NetworkFolder,
    OutputFile,
    StoreOptions,
    Text,
)
from lanflow.core.names import DEFAULT_LICENCE, parse_licence

_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def _repo(text: str) -> str:
    if not _REPO.fullmatch(text):
        raise ValueError(f"{text!r} is not ORG/NAME")
    return text


Licence = Annotated[
    str, Option(parse=parse_licence, metavar="ID"), "of the network, as the hub writes it"
]
OwnFolder = Annotated[NetworkFolder, "a network's folder"]


def register(
    *,
    networks: Annotated[tuple[Path, ...], Argument(metavar="NETWORK_DIR"), "folders of networks"],
    models: ModelsFileOption,
    study: Annotated[
        Text | None,
        Option(metavar="NAME"),
        "the best of these networks gets the alias NAME-best",
    ] = None,
    skip_failed: Annotated[
        bool, "leave out networks that did not pass, instead of refusing all"
    ] = False,
    output: Annotated[OutputFile | None, "record of what was done, JSON"] = None,
    store: StoreOptions,
) -> Outcome:
    """Put networks into MLflow's model registry."""
    from lanflow.core.files import write_json
    from lanflow.core.tables import count_of
    from lanflow.publish.register import register_networks

    registration = register_networks(
        store.resolve(), networks, study=study, skip_failed=skip_failed, models_file=models.read()
    )
    record = asdict(registration)
    if output is not None:
        write_json(output, record)
    lines = [f"registered: {one.name}, version {one.version}" for one in registration.registered]
    if registration.not_registered:
        lines.append(f"{count_of(len(registration.not_registered), 'network')} left out")
    return Outcome(record, "\n".join(lines))


def bundle(
    *,
    network: OwnFolder,
    models: ModelsFileOption,
    output: Annotated[Folder, "folder of the bundle's own"],
    archive: Annotated[bool, "write DIR.tar.gz, too; same network, same bytes"] = False,
    licence: Licence = DEFAULT_LICENCE,
) -> Outcome:
    """Pack a network with all that belongs to it."""
    from lanflow.core.tables import count_of
    from lanflow.evaluation.record import read_own_evaluation
    from lanflow.networks.network import Network
    from lanflow.publish.bundle import (
        archive_bundle,
        bundle_files,
        require_own_archive,
        write_bundle,
    )

    loaded = Network.from_folder(network, models_file=models.read())
    evaluation = read_own_evaluation(loaded)
    files = bundle_files(loaded, evaluation, licence=licence)
    folder = output.absolute()
    packed = folder.with_name(f"{folder.name}.tar.gz") if archive else None
    if packed is not None:
        require_own_archive(files, packed)
    write_bundle(files, folder)
    if packed is not None:
        archive_bundle(files, packed)
    content = {
        "bundle": str(output),
        "archive": None if packed is None else str(packed),
        "verdict": evaluation.verdict,
        "files": sorted(files),
    }
    also = "" if packed is None else f", and {packed.name}"
    return Outcome(
        content, f"{loaded.title}: packed into {output} ({count_of(len(files), 'file')}{also})"
    )


def publish(
    *,
    network: OwnFolder,
    models: ModelsFileOption,
    repo: Annotated[str, Option(parse=_repo, metavar="ORG/NAME"), "repository on the hub"],
    dry_run: Annotated[bool, "show what would change, upload nothing"] = False,
    overwrite: Annotated[bool, "files that are there may change, without a question"] = False,
    keep_readme: Annotated[
        bool, "leave the repository's README.md as it is, where it holds several networks"
    ] = False,
    licence: Licence = DEFAULT_LICENCE,
) -> Outcome:
    """Upload a network to the Hugging Face hub."""
    from lanflow.evaluation.record import read_own_evaluation
    from lanflow.networks.network import Network
    from lanflow.publish.hub import publish

    loaded = Network.from_folder(network, models_file=models.read())
    upload = publish(
        loaded,
        read_own_evaluation(loaded),
        repo,
        licence=licence,
        dry_run=dry_run,
        overwrite=overwrite,
        keep_readme=keep_readme,
        confirm=_ask if sys.stdin.isatty() else None,
    )
    plan = asdict(upload.plan)
    counts = ", ".join(f"{len(paths)} {name}" for name, paths in plan.items() if paths)
    done = "dry run: nothing uploaded" if dry_run else upload.commit or "nothing to upload"
    return Outcome(
        {"repository": upload.repository, **plan, "commit": upload.commit},
        f"{upload.repository}: files {counts}\n{done}",
    )


def _ask(question: str) -> bool:
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
