"""lanflow in a notebook or a script: the steps of a study as functions.

Each function does what the command of its name does, without a study, a Snakefile or MLflow, and
returns an object. Files go to the folder that is given; where none is, to a new temporary folder,
which the object names.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lanflow.core.errors import UsageError, UserError

if TYPE_CHECKING:
    import pandas as pd

    from lanflow.core.figures import Drawing
    from lanflow.data.dataset import DataSet
    from lanflow.evaluation.record import Evaluation
    from lanflow.models.sources import BestSource, Source
    from lanflow.networks.network import Network
    from lanflow.networks.types import BackendName, NetworkTypeName

PlotName = Literal["density", "sweep", "error", "calibration"]


def generate(
    model: str,
    *,
    models_file: Path | str | None = None,
    n_sets: int,
    rows_per_set: int,
    labels: "Source | Literal['auto']" = "auto",
    sampling: Literal["uniform", "sobol"] = "uniform",
    n_simulations: int = 20_000,
    delta_t: float = 0.001,
    seed: int = 1,
    n_processes: int | None = None,
    folder: Path | str | None = None,
) -> "DataSet":
    """Generate training data of a model, and pack it.

    Parameters
    ----------
    model
        In ssm-simulators' catalogue, or in ``models_file``.
    models_file
        A Python file of your own that defines models; it is run. What comes of it (data, networks)
        finds its model again as long as this process runs.
    n_sets
        Parameter vectors.
    rows_per_set
        Rows of rt, choice and label for each.
    labels
        Where labels come from: ``auto`` is the best there is for the model.
    sampling
        How parameter vectors are drawn within the model's bounds.
    n_simulations, delta_t
        Trials simulated for each vector and their time step (seconds), where labels come from
        simulations; as ssm-simulators has them.
    seed
        Decides every draw.
    n_processes
        Parameter sets simulated at a time; one for each core when left out. Of no effect on the
        data.
    folder
        Where training files, manifest and data set go.

    Returns
    -------
    DataSet
        For :func:`train`.

    Raises
    ------
    UserError
        If the model is not known, has no such labels, or the folder holds anything else.
    """
    from lanflow.core.processes import n_cores
    from lanflow.core.progress import Progress
    from lanflow.data.generation.config import config_of_keywords, read_models_file
    from lanflow.data.generation.generate import FILES_NAME, generate_chunk
    from lanflow.data.generation.plan import ChunkPlan, n_even_files
    from lanflow.data.prepare import GENERATION_NAME, own_folder

    n_files = n_even_files(n_sets)
    config = config_of_keywords(
        model,
        n_sets=n_sets // n_files,
        rows_per_set=rows_per_set,
        labels=labels,
        sampling=sampling,
        n_simulations=n_simulations,
        delta_t=delta_t,
    ).with_models_file(read_models_file(models_file))
    place = own_folder(folder)
    made = place / GENERATION_NAME
    plan = ChunkPlan(config, seed=seed, chunk=0, n_files=n_files)
    with Progress(n_sets, f"{model}: generating", "parameter set") as progress:
        generate_chunk(plan, made, n_processes=n_processes or n_cores(), on_set=progress.advance)
    return read_data(made / FILES_NAME, model=model, models_file=models_file, folder=place)


def simulate(
    model: str,
    n_trials: int,
    *,
    models_file: Path | str | None = None,
    delta_t: float = 0.001,
    seed: int = 1,
    **theta: float,
) -> "pd.DataFrame":
    """Simulate trials of a model at one parameter vector, such as one subject of an experiment.

    Parameters
    ----------
    model
        In ssm-simulators' catalogue, or in ``models_file``.
    n_trials
        Trials to simulate.
    models_file
        A Python file of your own that defines the model; it is run.
    delta_t
        Time step of the simulation, seconds.
    seed
        Decides the trials.
    **theta
        Each parameter of the model: ``v=1.0, a=1.5, z=0.5, t=0.3``.

    Returns
    -------
    pandas.DataFrame
        Columns ``rt`` (seconds) and ``response``, as HSSM takes them; both -999 for a trial without
        an answer.

    Raises
    ------
    UserError
        If the model is not known, or parameters are missing or too many.
    """
    import pandas as pd

    from lanflow.data.generation.config import read_models_file
    from lanflow.models.simulators import find_model
    from lanflow.models.simulators import simulate as run_simulator

    found = find_model(model, read_models_file(models_file))
    if theta.keys() != set(found.parameters):
        raise UserError(
            f"simulate: {model} takes {', '.join(found.parameters)}; given were "
            f"{', '.join(theta) or 'none'}"
        )
    if n_trials < 1:
        raise UserError(f"simulate: n_trials must be at least 1, got {n_trials}")
    in_order = {name: float(theta[name]) for name in found.parameters}
    rts, choices = run_simulator(found, in_order, n_trials, seed=seed, delta_t=delta_t)
    return pd.DataFrame({"rt": rts, "response": choices})


def read_data(
    source: Path | str,
    *,
    model: str | None = None,
    relabel: Literal["auto", "analytic", "solver"] | None = None,
    models_file: Path | str | None = None,
    drop_invalid: bool = False,
    folder: Path | str | None = None,
) -> "DataSet":
    """Read training data: a folder of training files, or a data set that was packed before.

    Parameters
    ----------
    source
        A folder with ``training_data_*.pickle``, of lanflow or ssm-simulators; or a data set's.
    model
        What the data must be of, if it is to be checked.
    relabel
        Compute the labels anew from the model's density.
    models_file
        A Python file of your own that defines the model; it is run.
    drop_invalid
        Leave out rows that hold a value which cannot be; else such a file is refused.
    folder
        Where manifest and data set go; of no use for a data set.

    Returns
    -------
    DataSet
        For :func:`train`.

    Raises
    ------
    UserError
        If there are no training files, or they are damaged or of another model.
    """
    from lanflow.data.dataset import RECORD_NAME, open_data_set
    from lanflow.data.generation.config import read_models_file
    from lanflow.data.prepare import own_folder, pack_folder

    source = Path(source)
    if (source / RECORD_NAME).exists():
        return open_data_set(source)
    return pack_folder(
        source,
        own_folder(folder),
        model=model,
        relabel=relabel,
        models_file=read_models_file(models_file),
        drop_invalid=drop_invalid,
    )


def train(
    data: "DataSet",
    *,
    network: "NetworkTypeName" = "lan",
    backend: "BackendName" = "jax",
    layers: Sequence[int] | None = None,
    activations: Sequence[str] | None = None,
    epochs: int | None = None,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    start_from: "Network | Path | str | None" = None,
    seed: int = 1,
    device: str = "auto",
    threads: int | None = None,
    name: str | None = None,
    folder: Path | str | None = None,
    **settings: Any,
) -> "Network":
    """Train a network on a data set.

    What is left out is as in LANfactory's default configuration, which ``jaxtrain`` and
    ``torchtrain`` use without a ``--config-path``.

    Parameters
    ----------
    data
        From :func:`generate` or :func:`read_data`.
    network
        ``lan``, ``cpn``, ``opn`` or ``gonogo``.
    backend
        ``jax`` or ``torch``.
    layers
        Units of each hidden layer.
    activations
        One for each hidden layer, ``tanh`` where left out with ``layers``.
    epochs, learning_rate, batch_size
        As their names say; rows of an update.
    start_from
        A network of the same model and type, or its folder; training goes on from its weights. Its
        layers are taken where none are given; the rest is as in the default configuration.
    seed
        Decides initial weights, split and order of rows.
    device, threads
        As ``jaxtrain --help`` has them; one thread for each core when left out.
    name
        Of the network's folder.
    folder
        Where networks go: ``folder/network/model/name``.
    **settings
        Any other key of the training YAML, in lower case: ``weight_decay=0.01``.

    Returns
    -------
    Network
        The network of the epoch with the least validation loss.

    Raises
    ------
    UserError
        If a setting is not known, or the data has no rows for such a network.
    """
    from lanflow.core.folders import given_or_temporary
    from lanflow.core.processes import n_cores
    from lanflow.networks.network import Network
    from lanflow.training.config import file_of_keywords
    from lanflow.training.prepare import TrainingOptions
    from lanflow.training.run import train as run_training

    start = start_from.own_folder if isinstance(start_from, Network) else start_from
    start = None if start is None else Path(start)
    file = file_of_keywords(
        network,
        layers=layers,
        activations=activations,
        layers_of=start,
        n_epochs=epochs,
        learning_rate=learning_rate,
        cpu_batch_size=batch_size,
        gpu_batch_size=batch_size,
        **settings,
    )
    result = run_training(
        TrainingOptions(
            backend=backend,
            networks_path_base=given_or_temporary(folder),
            settings=file,
            model=data.model,
            start_from=start,
            seed=seed,
            device=device,
            threads=threads or n_cores(),
            network_name=name or f"{network}_{backend}",
            data_set=data.folder,
        )
    )
    return Network.from_folder(Path(result["network_folder"]))


def load(
    path: Path | str,
    *,
    model: str | None = None,
    network: "NetworkTypeName" = "lan",
    card: Path | str | None = None,
    models_file: Path | str | None = None,
) -> "Network":
    """Load a network: the folder of a training, or any ONNX file.

    Parameters
    ----------
    path
        The folder or the file.
    model
        The cognitive model of an ONNX file, in ssm-simulators' catalogue.
    network
        The type of an ONNX file's network.
    card
        ``card.json`` of an ONNX file, for the bounds it was trained within.
    models_file
        A Python file of your own that defines the model; it is run.

    Raises
    ------
    UserError
        If it cannot be read, is no network of its model, or an ONNX file comes without its model.
    """
    from lanflow.data.generation.config import read_models_file
    from lanflow.networks.network import Network

    path = Path(path)
    if path.is_dir():
        return Network.from_folder(path, models_file=read_models_file(models_file))
    if model is None:
        raise UsageError(f"{path}: give model=, the model's name in ssm-simulators")
    loaded = Network.from_onnx(
        path,
        model=model,
        network_type=network,
        card_path=None if card is None else Path(card),
        models_file=read_models_file(models_file),
    )
    loaded.require_inputs()
    return loaded


def evaluate(
    net: "Network",
    *,
    reference: "BestSource | Literal['auto']" = "auto",
    n_sets: int | None = None,
    rows: int | None = None,
    n_simulated_sets: int | None = None,
    hssm_python: str | None = None,
    seed: int = 1,
) -> "Evaluation":
    """Judge a network by its gates, and score it against its model.

    What is left out is as ``lanflow evaluate`` has it. The evaluation is written into the network's
    folder, where it has one.

    Parameters
    ----------
    net
        From :func:`train` or :func:`load`.
    reference
        What is taken for the truth: ``auto`` is the best there is for the model.
    n_sets, rows
        Parameter vectors of the scores, and trials of each.
    n_simulated_sets
        Parameter vectors that the simulator is run at.
    hssm_python
        An interpreter that has HSSM, for its gate.
    seed
        Decides all draws.

    Returns
    -------
    Evaluation
        Gates, scores, verdict; ``print(result.summary())``.
    """
    import sys

    from lanflow.evaluation.evaluate import evaluate as run_evaluation
    from lanflow.evaluation.evaluate import write_evaluation
    from lanflow.evaluation.record import EvaluationSettings
    from lanflow.networks import folder as network_folder

    sizes = {"n_sets": n_sets, "rows": rows, "n_simulated_sets": n_simulated_sets}
    settings = EvaluationSettings(**{k: v for k, v in sizes.items() if v is not None})
    evaluation, scores = run_evaluation(
        net,
        wanted=reference,
        settings=settings,
        hssm_python=hssm_python or sys.executable,
        seed=seed,
    )
    if net.folder is not None:
        write_evaluation(net.folder / network_folder.EVALUATION, evaluation, scores)
    return evaluation


def plot(net: "Network", name: PlotName = "error", *, seed: int = 1) -> "Drawing":
    """Draw one figure of a network, as a matplotlib figure.

    A notebook shows it; ``savefig`` writes it.

    Parameters
    ----------
    net
        From :func:`train` or :func:`load`.
    name
        ``density``: its density beside simulated trials; ``sweep``: as one parameter sweeps its
        range; ``error``: where it is off, and by how much; ``calibration``: whether its
        probabilities mean what they say. The last two draw the scores of its evaluation, which are
        made here if there is none.
    seed
        Decides draws and simulations.

    Raises
    ------
    UserError
        If there is no such figure.
    """
    from lanflow.evaluation.evaluate import find_reference, scores_of
    from lanflow.report.figures.network import FIGURES, draw_figure

    if name not in FIGURES:
        raise UsageError(f"plot: there is no figure {name!r} (accepted: {', '.join(FIGURES)})")
    reference = find_reference(net)

    def scores() -> Any:
        assert reference is not None  # without one nothing is asked for
        return scores_of(net, reference, seed=seed)

    return draw_figure(name, net, reference, scores, seed=seed)
