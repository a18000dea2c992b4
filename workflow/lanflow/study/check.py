"""Check of a finished study: no file is missing, none is of an older configuration.

This backs up Snakemake's own bookkeeping, which has skipped jobs before (its issue 4166). Files are
compared by content with what they were made from, never by time.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lanflow.core.errors import UserError
from lanflow.data.generation.config import GenerationConfig
from lanflow.networks import folder as network_folder
from lanflow.study.config import ModelConfig, StudyConfig
from lanflow.study.trainings import Training


def find_faults(
    study: StudyConfig,
    generations: Mapping[str, GenerationConfig],
    trainings: Iterable[Training],
) -> list[str]:
    """List the files of a study that are missing or were made from something else.

    Parameters
    ----------
    study
        The study; its ``results`` are relative to the working directory.
    generations
        Model -> its data-generation settings, for models that are simulated here.
    trainings
        All trainings of the study.

    Returns
    -------
    list of str
        One line for each file; empty if the study is complete.
    """
    results = Path(study.results)
    faults: list[str] = []
    for model, config in study.models.items():
        faults += _faults_of_data(results / model, config, generations.get(model), study.seed)
    for training in trainings:
        faults += _faults_of_network(results, training)
    made = ["leaderboard.csv", "report.html", "study.yaml"]
    made += ["gates.json"] * study.require_gates + ["registered.json"] * study.register_networks
    faults += [f"{results / name} is missing" for name in made if not (results / name).exists()]
    return faults


def check_study(
    study: StudyConfig,
    generations: Mapping[str, GenerationConfig],
    trainings: Iterable[Training],
) -> None:
    """Raise if a study is not complete; parameters as for :func:`find_faults`.

    Raises
    ------
    UserError
        With one line for each file that is missing or was made from something else.
    """
    if faults := find_faults(study, generations, trainings):
        raise UserError(_describe(faults))


def _describe(faults: list[str]) -> str:
    lines = "".join(f"\n  {fault}" for fault in faults[:20])
    rest = f"\n  and {len(faults) - 20} more" if len(faults) > 20 else ""
    return (
        f"the study ended, but {len(faults)} of its files are missing or of an older study:"
        f"{lines}{rest}\nRun the same command again. If that does not help, this is a fault of "
        "lanflow: remove the files named above and run it once more"
    )


def _read(path: Path) -> dict[str, object] | None:
    """Read a JSON file of keys and values; None if it is missing or damaged."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _differences(path: Path, expected: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each key whose value in a JSON file is not the expected one."""
    content = _read(path)
    if content is None:
        yield f"{path} is missing or damaged"
        return
    for key, value in expected.items():
        found = content.get(key)
        if isinstance(value, dict) and isinstance(found, dict):
            found = {inner: found.get(inner) for inner in value}
        if found != value:
            yield f"{path}: {key} is {found!r}, not {value!r}"


def _faults_of_data(
    folder: Path, config: ModelConfig, generation: GenerationConfig | None, seed: int
) -> Iterator[str]:
    """Yield the faults of a model's data: chunks of simulations, manifest, data set, audit."""
    generate = config.data.generate
    if generate is not None and generation is not None:
        for chunk in range(generate.chunks):
            batch_id = generation.batch_id(seed)
            expected = {"batch_id": batch_id, "n_files": generate.files_per_chunk}
            yield from _differences(folder / f"generation/chunk_{chunk}/chunk.json", expected)
    manifest = _read(folder / "manifest.json")
    if manifest is None:
        yield f"{folder / 'manifest.json'} is missing or damaged"
        return
    for name in ("data_set/data_set.json", "audit.json"):
        yield from _differences(folder / name, {"digest": manifest.get("digest")})


def _faults_of_network(results: Path, training: Training) -> Iterator[str]:
    """Yield the faults of a network's folder."""
    folder = results / "networks" / training.config.network_type / training.model / training.key
    names = (*network_folder.TRAINED, *network_folder.PLOTS.values())
    missing = [name for name in names if not (folder / name).exists()]
    yield from (f"{folder / name} is missing" for name in missing)
    yield from _differences(folder / network_folder.CONFIG, training.config.deciding_settings())
    manifest = _read(results / training.model / "manifest.json") or {}
    yield from _differences(folder / network_folder.CARD, {"data_digest": manifest.get("digest")})
    if network_folder.ONNX not in missing:
        onnx_sha256 = hashlib.sha256((folder / network_folder.ONNX).read_bytes()).hexdigest()
        yield from _differences(folder / network_folder.EVALUATION, {"onnx_sha256": onnx_sha256})
