"""A bundle: the files of a network where HSSM's and LANfactory's downloads look for them.

HSSM takes ``{model}.onnx`` from the root of a repository on the Hugging Face hub
(``hssm/distribution_utils/onnx_utils/model.py``; ``{model}_cpn.onnx`` and so on for trials without
an rt), LANfactory everything below ``{network_type}/{model}/`` (``lanfactory/hf``), and since 0.9
lists a repository's networks in ``manifest.json``.
"""

import gzip
import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lanflow.core.errors import UserError
from lanflow.core.files import replace_folder, write_bytes
from lanflow.core.names import DEFAULT_LICENCE
from lanflow.evaluation.record import Evaluation
from lanflow.networks import folder as network_folder
from lanflow.networks.card import FOLDER_HINT
from lanflow.networks.folder import read_part
from lanflow.networks.network import Network
from lanflow.publish.lanfactory import MANIFEST, REPORT, add_to_manifest, validation_report
from lanflow.publish.readme import of_choice, of_choice_name, onnx_name, write_readme

README = "README.md"

_NEEDED = (network_folder.CONFIG, network_folder.LINEAGE)
_WHERE_THERE = (network_folder.HISTORY, network_folder.CURVE)
# Keys of folders on the machine that trained the network; a bundle leaves them out.
_FOLDER_KEYS = {"training_data_folder", "data_output_folder"}


def bundle_files(
    network: Network,
    evaluation: Evaluation,
    *,
    licence: str = DEFAULT_LICENCE,
    repo: str | None = None,
) -> dict[str, bytes]:
    """The files of a bundle.

    Parameters
    ----------
    network, evaluation
        Of one folder. The network need not have passed; the README says whether it did.
    licence
        The hub's identifier of a licence.
    repo
        ``ORG/NAME`` on the hub, if it is known where the bundle goes.

    Returns
    -------
    dict
        Content by path in the bundle. The same network gives the same bytes.

    Raises
    ------
    UserError
        If a file of the network's folder is missing.
    """
    folder = network.own_folder
    readme = write_readme(network, evaluation, licence=licence, repo=repo).encode()
    own = {
        README: readme,
        network_folder.ONNX: network.onnx,
        network_folder.CARD: read_part(folder / network_folder.CARD, FOLDER_HINT),
        network_folder.EVALUATION: _json(evaluation.model_dump(mode="json")),
        REPORT: validation_report(network, evaluation),
    }
    for name in (*_NEEDED, *_WHERE_THERE):
        path = folder / name
        if name in _NEEDED and not path.exists():
            raise UserError(f"{folder}: has no {name}; train it again")
        if path.exists():
            own[name] = path.read_bytes()
    if network.models_file_record is not None:
        own[network_folder.MODELS_FILE] = network.models_file_record.text.encode()
    own[network_folder.LINEAGE] = _without_folders(
        own[network_folder.LINEAGE], network_folder.LINEAGE
    )
    place = f"{network.network_type.name}/{network.model_name}"
    files = {onnx_name(network): network.onnx, README: readme}
    files[MANIFEST] = add_to_manifest(
        None, network, root_name=onnx_name(network), names=own, where="the bundle"
    )
    with_choice = of_choice(network)
    if with_choice is not None:
        files[of_choice_name(network)] = with_choice
    return files | {f"{place}/{name}": content for name, content in sorted(own.items())}


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _without_folders(content: bytes, name: str) -> bytes:
    try:
        return _json(_drop_folders(json.loads(content)))
    except ValueError as e:
        raise UserError(f"{name}: not valid JSON ({e})") from e


def _drop_folders(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _drop_folders(v) for key, v in value.items() if key not in _FOLDER_KEYS}
    return [_drop_folders(item) for item in value] if isinstance(value, list) else value


def write_bundle(files: Mapping[str, bytes], folder: Path) -> None:
    """Write a bundle's folder in one step; an earlier bundle is replaced.

    Raises
    ------
    UserError
        If the folder holds anything else, of which nothing is touched.
    """
    with replace_folder(folder, files.keys(), what="this bundle") as fresh:
        for name, content in files.items():
            write_bytes(fresh / name, content)


def require_own_archive(files: Mapping[str, bytes], path: Path) -> None:
    """Refuse to write a bundle's ``.tar.gz`` over anything but an earlier archive of it.

    Raises
    ------
    UserError
        If there is something else at ``path``.
    """
    if not os.path.lexists(path):
        return
    top = _top(path)
    try:
        with tarfile.open(path) as archive:
            is_own = set(archive.getnames()) <= {f"{top}/{name}" for name in files}
    except (OSError, EOFError, tarfile.TarError):
        is_own = False
    if not is_own:
        raise UserError(f"{path}: is there and is not an archive of this bundle; move it elsewhere")


def _top(archive: Path) -> str:
    """The folder that an archive unpacks to."""
    return archive.name.removesuffix(".tar.gz")


def archive_bundle(files: Mapping[str, bytes], path: Path) -> None:
    """Write a bundle as ``.tar.gz`` in one step; the same files give the same bytes.

    Raises
    ------
    UserError
        As :func:`require_own_archive`.
    """
    require_own_archive(files, path)
    top = _top(path)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(f"{top}/{name}")  # no owner, and the time is 0
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    write_bytes(path, gzip.compress(buffer.getvalue(), mtime=0))
