"""Commands that hand a network on: ``lanflow register``, ``bundle`` and ``publish``."""

import argparse
import logging
import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lanflow.cli.options import add_models_file, add_store, models_file_of, output_file
from lanflow.tracking.store import resolve_store

log = logging.getLogger(__name__)

_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]*")


def add_publishing(commands: Any, add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands; ``add`` makes one (``commands``, name, help, function)."""
    _add_register(add(commands, "register", "put networks into MLflow's model registry", _register))
    _add_bundle(add(commands, "bundle", "pack a network with all that belongs to it", _bundle))
    _add_publish(add(commands, "publish", "upload a network to the Hugging Face hub", _publish))


def _repo(text: str) -> str:
    if not _REPO.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not ORG/NAME")
    return text


def _licence(text: str) -> str:
    if not _LICENCE.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an identifier of a licence such as mit, bsd-3-clause or cc-by-4.0"
        )
    return text


def _add_network(command: argparse.ArgumentParser) -> None:
    command.add_argument("network", type=Path, metavar="NETWORK_DIR", help="a network's folder")
    add_models_file(command)


def _add_licence(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--licence",
        type=_licence,
        default="mit",
        metavar="ID",
        help="of the network, as the hub writes it",
    )


def _add_register(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "networks", type=Path, nargs="+", metavar="NETWORK_DIR", help="folders of networks"
    )
    add_models_file(command)
    command.add_argument(
        "--study", metavar="NAME", help="the best of these networks gets the alias NAME-best"
    )
    command.add_argument(
        "--skip-failed",
        action="store_true",
        help="leave out networks that did not pass, instead of refusing all",
    )
    command.add_argument(
        "--output", type=output_file, metavar="FILE", help="record of what was done, JSON"
    )
    add_store(command)


def _register(parsed: argparse.Namespace) -> dict[str, Any]:
    from lanflow.core.files import write_json
    from lanflow.publish.register import register_networks

    store = resolve_store(
        uri=parsed.mlflow_tracking_uri, artifact_location=parsed.mlflow_artifact_location
    )
    registration = register_networks(
        store,
        parsed.networks,
        study=parsed.study,
        skip_failed=parsed.skip_failed,
        models_file=models_file_of(parsed),
    )
    record = asdict(registration)
    if parsed.output is not None:
        write_json(parsed.output, record)
    return record


def _add_bundle(command: argparse.ArgumentParser) -> None:
    _add_network(command)
    command.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder of the bundle's own"
    )
    command.add_argument(
        "--archive", action="store_true", help="write DIR.tar.gz, too; same network, same bytes"
    )
    _add_licence(command)


def _bundle(parsed: argparse.Namespace) -> dict[str, Any]:
    from lanflow.core.tables import count_of
    from lanflow.evaluation.record import read_own_evaluation
    from lanflow.networks.network import Network
    from lanflow.publish.bundle import (
        archive_bundle,
        bundle_files,
        require_own_archive,
        write_bundle,
    )

    network = Network.from_folder(parsed.network, models_file=models_file_of(parsed))
    evaluation = read_own_evaluation(network)
    files = bundle_files(network, evaluation, licence=parsed.licence)
    folder = parsed.output.absolute()
    archive = folder.with_name(f"{folder.name}.tar.gz") if parsed.archive else None
    if archive is not None:
        require_own_archive(files, archive)
    write_bundle(files, folder)
    if archive is not None:
        archive_bundle(files, archive)
    log.info(
        "%s: packed into %s (%s%s)",
        network.title,
        parsed.output,
        count_of(len(files), "file"),
        "" if archive is None else f", and {archive.name}",
    )
    return {
        "bundle": str(parsed.output),
        "archive": None if archive is None else str(archive),
        "verdict": evaluation.verdict,
        "files": sorted(files),
    }


def _add_publish(command: argparse.ArgumentParser) -> None:
    _add_network(command)
    command.add_argument(
        "--repo", type=_repo, required=True, metavar="ORG/NAME", help="repository on the hub"
    )
    command.add_argument(
        "--dry-run", action="store_true", help="show what would change, upload nothing"
    )
    command.add_argument(
        "--overwrite",
        action="store_true",
        help="files that are there may change, without a question",
    )
    command.add_argument(
        "--keep-readme",
        action="store_true",
        help="leave the repository's README.md as it is, where it holds several networks",
    )
    _add_licence(command)


def _publish(parsed: argparse.Namespace) -> dict[str, Any]:
    from lanflow.evaluation.record import read_own_evaluation
    from lanflow.networks.network import Network
    from lanflow.publish.hub import publish

    network = Network.from_folder(parsed.network, models_file=models_file_of(parsed))
    upload = publish(
        network,
        read_own_evaluation(network),
        parsed.repo,
        licence=parsed.licence,
        dry_run=parsed.dry_run,
        overwrite=parsed.overwrite,
        keep_readme=parsed.keep_readme,
        confirm=_ask if sys.stdin.isatty() else None,
    )
    return {"repository": upload.repository, **asdict(upload.plan), "commit": upload.commit}


def _ask(question: str) -> bool:
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
