"""A finished study compared with what it should hold: nothing missing, nothing of an older study.

A net under Snakemake's own bookkeeping, which has passed jobs over before (its issue 4166). Nothing
here asks when a file was written; each is compared by its content with what it was made from.
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
    """What of a study is missing or was made of something else.

    Parameters
    ----------
    study
        With ``results`` where they are.
    generations
        Model -> its data-generation settings, of models that are simulated here.
    trainings
        All of the study.

    Returns
    -------
    list of str
        A line for each file; empty if the study is whole.
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
    """Refuse to call a study finished that is not; as :func:`find_faults`.

    Raises
    ------
    UserError
        With a line for each file that is missing or was made of something else.
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


def _read(path: Path) -> dict[str, Any] | None:
    """A JSON record; None if it is missing or no record."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _differences(path: Path, expected: Mapping[str, Any]) -> Iterator[str]:
    """Lines about a record that is missing or says something else."""
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
