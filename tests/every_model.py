"""Takes a model of ssm-simulators through all that lanflow does, at the smallest size.

Simulate, pack and audit; train, evaluate, draw and bundle networks of it; report on them. What
comes of it is an :class:`Outcome`: everything, or the one message that says why not. Anything but
such a message is an error of ours, and ends it.
"""

import importlib.util
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from lanflow.core.errors import UserError
from lanflow.core.figures import Drawing
from lanflow.core.files import write_bytes, write_json
from lanflow.core.settings import Settings, parse_settings
from lanflow.data.audit.measure import audit_data_set
from lanflow.data.generation.config import GenerationConfig
from lanflow.data.generation.generate import FILES_NAME, generate_chunk
from lanflow.data.generation.plan import ChunkPlan
from lanflow.data.locate import Places
from lanflow.data.packing import materialise
from lanflow.data.prepare import PackedData, freeze
from lanflow.evaluation import evaluate as evaluation
from lanflow.evaluation import gates_likelihood
from lanflow.evaluation import reference as truth
from lanflow.evaluation.evaluate import evaluate, find_reference, scores_of, write_evaluation
from lanflow.evaluation.record import Evaluation, EvaluationSettings
from lanflow.models.simulators import covariates_remark, find_model, has_times
from lanflow.models.sources import best_source
from lanflow.networks import folder as network_folder
from lanflow.networks.network import Network
from lanflow.networks.types import BackendName, NetworkTypeName
from lanflow.publish.bundle import bundle_files
from lanflow.report.figures import densities, sweeps
from lanflow.report.figures.network import FIGURES, draw_figure
from lanflow.report.figures.records import draw_audit
from lanflow.report.leaderboard import build_leaderboard, leaderboard_csv
from lanflow.report.page import write_report
from lanflow.training.config import TrainingFile
from lanflow.training.prepare import TrainingOptions
from lanflow.training.run import train
from tests.conftest import TRAINING_YAML

GENERATION = {
    "PIPELINE": {"N_PARAMETER_SETS": 6},
    "SIMULATOR": {"N_SAMPLES": 100, "DELTA_T": 0.01},
    "TRAINING": {"N_SAMPLES_PER_PARAM": 20},
}
# Trials of a simulation, vectors of a sweep, times of its picture: the least that shows all.
N_TRIALS, N_SWEPT, N_TIMES = 400, 3, 11
# Torch starts an epoch sooner; the newest Pythons are tested without it.
BACKEND: BackendName = "torch" if importlib.util.find_spec("torch") else "jax"
# The figures of an opn and of a gonogo are those of a cpn, and a deadline changes little in them.
DRAWN = ("lan", "cpn")
DRAWN_WITH_DEADLINE = ("density",)


class Outcome(Settings):
    """What came of a model: a line of the page "Every model"."""

    model: str
    labels: str
    networks: dict[str, str]
    remark: str = ""

    @property
    def kind(self) -> Literal["whole", "told", "impossible"]:
        """Whether all worked, some was refused with a message, or the model cannot be simulated."""
        if not self.networks:
            return "impossible"
        is_whole = not self.remark and not any(self.networks.values())
        return "whole" if is_whole else "told"


def look_at_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make figures and references from few simulations and vectors, and small pictures."""
    monkeypatch.setattr(Drawing, "png", _small_png)
    monkeypatch.setattr(evaluation, "_N_PARITY_ROWS", 50)
    monkeypatch.setattr(truth, "N_SIMULATIONS", N_TRIALS)
    monkeypatch.setattr(gates_likelihood, "N_TRIALS", N_TRIALS)
    monkeypatch.setattr(sweeps, "_N_TIMES", N_TIMES)
    monkeypatch.setattr(sweeps, "_N_SIMULATED", N_SWEPT)
    monkeypatch.setattr(densities, "_N_PANELS", 2)
    simulate, sweep = truth.simulate, sweeps.sweep

    def simulate_few(model: Any, theta: Any, n_trials: int, **options: Any) -> Any:
        return simulate(model, theta, min(n_trials, N_TRIALS), **options)

    def sweep_few(network: Network, name: str, n: int = N_SWEPT) -> Any:
        return sweep(network, name, min(n, N_SWEPT))

    monkeypatch.setattr(truth, "simulate", simulate_few)
    monkeypatch.setattr(sweeps, "sweep", sweep_few)


def _small_png(drawing: Drawing) -> bytes:
    """The picture of a figure, drawn once: neatly laid out it is drawn four times."""
    drawing.set_layout_engine("none")
    drawing.set_dpi(30)
    canvas, buffer = FigureCanvasAgg(drawing), io.BytesIO()
    canvas.print_png(buffer)
    return buffer.getvalue()


def network_types(name: str) -> list[NetworkTypeName]:
    """The types of network that are made of a model's data."""
    types: list[NetworkTypeName] = ["lan"] if has_times(find_model(name)) else []
    return [*types, "cpn", "opn", "gonogo"] if name.endswith("_deadline") else [*types, "cpn"]


def take_through(name: str, folder: Path) -> Outcome:
    """Take a model through everything, in an empty folder."""
    labels = best_source(find_model(name))
    try:
        data = _simulated(name, folder / "data" / name)
    except UserError as e:
        return Outcome(model=name, labels=labels, networks={}, remark=str(e))
    networks, whole = {}, []
    for kind in network_types(name):
        try:
            made = _Made.of(data, kind, folder / "networks")
        except UserError as e:
            networks[kind] = str(e)
            continue
        structure = made.evaluation.gates[0]
        networks[kind] = "" if structure.verdict == "passed" else structure.reason
        whole.append(made)
    try:
        _report(whole, folder)
    except UserError as e:
        return Outcome(model=name, labels=labels, networks=networks, remark=str(e))
    remark = covariates_remark(find_model(name)) or ""
    return Outcome(model=name, labels=labels, networks=networks, remark=remark)


def _simulated(name: str, folder: Path) -> PackedData:
    """Simulated, packed and audited data of a model, as a study has them."""
    config = parse_settings(GenerationConfig, {**GENERATION, "MODEL": name}, "generation.yaml")
    generate_chunk(ChunkPlan(config, 1, 0, 1), folder / "chunk", n_processes=1)
    places = Places(folder=folder / "chunk" / FILES_NAME)
    manifest = freeze(query=None, places=places, model=name)
    data = PackedData(materialise(manifest, folder / "data_set"), manifest)
    audit = audit_data_set(data.data_set, manifest).model_dump(mode="json")
    write_json(folder / "manifest.json", manifest.model_dump(mode="json"))
    write_json(folder / "audit.json", audit)
    write_bytes(folder / "audit.png", draw_audit(audit).png())
    return data


@dataclass(frozen=True)
class _Made:
    """A network that was trained, evaluated, drawn and bundled."""

    network: Network
    evaluation: Evaluation

    @classmethod
    def of(cls, data: PackedData, kind: NetworkTypeName, base: Path) -> "_Made":
        network = _trained(data, kind, base)
        few = EvaluationSettings(n_sets=2, rows=5, n_simulated_sets=1)
        found, scores = evaluate(network, settings=few, hssm_python="/no/python")
        write_evaluation(network.own_folder / network_folder.EVALUATION, found, scores)
        if scores is not None and kind in DRAWN:
            _draw(network)
        assert "README.md" in bundle_files(network, found)
        return cls(network, found)


def _trained(data: PackedData, kind: NetworkTypeName, base: Path) -> Network:
    """A network of one hidden layer, trained for an epoch."""
    data_set = data.data_set
    keys = {
        "MODEL": data_set.model,
        "NETWORK_TYPE": kind,
        "N_EPOCHS": 1,
        "LAYER_SIZES": [[8, data_set.shapes[kind][2]]],
        "ACTIVATIONS": [["tanh"]],
    }
    result = train(
        TrainingOptions(
            backend=BACKEND,
            networks_path_base=base,
            settings=parse_settings(TrainingFile, TRAINING_YAML | keys, "training.yaml"),
            data_set=data_set.folder,
            network_name=f"net_{BACKEND}",
            device="cpu",
        )
    )
    return Network.from_folder(Path(result["network_folder"]))


def _draw(network: Network) -> None:
    reference = find_reference(network)
    assert reference is not None
    for figure in DRAWN_WITH_DEADLINE if network.model.has_deadline else FIGURES:
        picture = draw_figure(
            figure, network, reference, lambda: scores_of(network, reference, seed=1), seed=1
        )
        write_bytes(network.own_folder / network_folder.PLOTS[figure], picture.png())


def _report(made: list[_Made], folder: Path) -> None:
    """The leaderboard and the report of a study of these networks."""
    folders = [one.network.own_folder for one in made]
    rows = build_leaderboard(
        [one.network for one in made],
        [one.evaluation for one in made],
        [network_folder.read_history(each / network_folder.HISTORY) for each in folders],
    )
    leaderboard = folder / "leaderboard.csv"
    leaderboard.write_text(leaderboard_csv(rows))
    write_report(
        {"study": "every", "results": str(folder)},
        report_path=folder / "report.html",
        leaderboard_path=leaderboard,
        network_folders=folders,
        data_folders=list((folder / "data").iterdir()),
    )


def collect(outcomes: Path, record: Path) -> None:
    """Write what came of all models, from the files of each, for the page "Every model"."""
    found = [Outcome.model_validate_json(path.read_text()) for path in outcomes.glob("*.json")]
    content = {
        outcome.model: {"kind": outcome.kind, **outcome.model_dump(mode="json", exclude={"model"})}
        for outcome in sorted(found, key=lambda outcome: outcome.model)
    }
    write_json(record, content)


if __name__ == "__main__":
    collect(Path(sys.argv[1]), Path(sys.argv[2]))
