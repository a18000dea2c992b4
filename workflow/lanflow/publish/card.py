"""The ``README.md`` of a network that is handed on: metadata for the Hugging Face hub, and text."""

from collections.abc import Iterable
from typing import Any

from lanflow.core.errors import UserError
from lanflow.evaluation.record import Evaluation, Gate, describe_gate
from lanflow.networks.card import Card
from lanflow.networks.network import Network

# HSSM 0.3.0 looks for a network under the model's name and one of these endings
# (hssm/defaults.py, missing_data_networks_suffix; modelconfig/*_config.py for the plain name).
_FILE_SUFFIX = {"lan": "", "cpn": "_cpn", "opn": "_opn", "gonogo": "_gonogo"}

_TITLES = {
    "lan": "likelihood approximation network",
    "cpn": "choice probability network",
    "opn": "omission probability network",
    "gonogo": "go/no-go network",
}
_MEASURES = {
    "mean_abs_error": "mean absolute error",
    "median_abs_error": "median absolute error",
    "p99_abs_error": "99th percentile of the absolute error",
    "mean_difference": "mean difference, network less reference",
}


def onnx_name(network: Network) -> str:
    """The name under which HSSM looks for a network: ``ddm.onnx``, ``ddm_opn.onnx``."""
    return f"{_hssm_model(network)}{_FILE_SUFFIX[network.network_type.name]}.onnx"


def _hssm_model(network: Network) -> str:
    """HSSM's name of the model: a deadline is none of its parameters, but a column of the data."""
    if network.network_type.name == "lan":
        return network.model_name
    return network.model_name.removesuffix("_deadline")


def write_readme(
    network: Network, evaluation: Evaluation, *, licence: str, repo: str | None = None
) -> str:
    """A ``README.md`` with the hub's metadata in front.

    Parameters
    ----------
    network, evaluation
        Of one folder.
    licence
        The hub's identifier of a licence, such as ``mit``.
    repo
        ``ORG/NAME`` on the hub, if it is known where the network goes.

    Returns
    -------
    str
        The same text for the same network, at any time.
    """
    import yaml

    front = yaml.safe_dump(
        _metadata(network, evaluation, licence), sort_keys=False, default_flow_style=None, width=100
    )
    text = describe_network(network, evaluation, repo=repo)
    return f"---\n{front}---\n\n{text}\n## Licence\n\n{licence}\n"


def _metadata(network: Network, evaluation: Evaluation, licence: str) -> dict[str, Any]:
    """Keys of the hub (model-index too), and under ``lanflow`` what a program wants to know."""
    card = network.own_card
    metadata = {
        "license": licence,
        "library_name": "onnx",
        "tags": [
            *("hssm", "lanflow", "sequential-sampling-model", "simulation-based-inference"),
            *(_TITLES[network.network_type.name].replace(" ", "-").replace("/", "-"),),
            *(network.network_type.name, network.model_name),
        ],
        "lanflow": {
            "model": network.model_name,
            "network_type": network.network_type.name,
            "inputs": list(card.inputs),
            "parameters": list(card.parameters),
            "bounds": card.bounds.to_json(),
            "verdict": evaluation.verdict,
            "data_digest": card.data_digest,
            "onnx_sha256": network.sha256,
        },
    }
    results = _model_index(network, evaluation)
    return metadata | ({"model-index": results} if results else {})


def _model_index(network: Network, evaluation: Evaluation) -> list[dict[str, Any]]:
    metrics = [
        {"type": key, "value": value, "name": f"{_MEASURES[key]} ({_unit(evaluation)})"}
        for key, value in _scores(evaluation).items()
    ]
    if not metrics:
        return []
    reference = evaluation.reference
    data_set = {
        "type": "simulated",
        "name": f"{network.model_name} at random parameters within the bounds ({reference.source})",
    }
    task = {"type": "tabular-regression", "name": network.own_card.output}
    result = {"task": task, "dataset": data_set, "metrics": metrics}
    return [{"name": f"{network.model_name} {network.network_type.name}", "results": [result]}]


def _scores(evaluation: Evaluation) -> dict[str, float]:
    scores = evaluation.scores
    values = {} if scores is None else {key: getattr(scores, key) for key in _MEASURES}
    return {key: value for key, value in values.items() if value is not None}


def _unit(evaluation: Evaluation) -> str:
    scores = evaluation.scores
    return "" if scores is None else scores.unit


def describe_network(network: Network, evaluation: Evaluation, *, repo: str | None = None) -> str:
    """What a user of the network must know, as Markdown.

    Parameters
    ----------
    network, evaluation
        Of one folder.
    repo
        ``ORG/NAME`` on the hub, if it is known where the network goes.
    """
    card, kind = network.own_card, network.network_type.name
    parts = [
        f"# {network.model_name}: {_TITLES[kind]}",
        _verdict(evaluation),
        f"A network for the model `{network.model_name}`, type `{kind}`. It gives the "
        f"{card.output}, one row at a time: input of shape (1, {len(card.inputs)}), output "
        f"of shape ({', '.join(map(str, card.output_shape))}).",
        f"## Inputs, in this order\n\n{_inputs(card)}",
        "Outside these bounds the network was not trained, and returns plausible nonsense.",
        f"## Use in HSSM\n\n{_use(network, repo)}",
        f"## How good it is\n\n{_quality(evaluation)}",
        f"## What it was trained on\n\n{_training(card)}",
    ]
    return "\n\n".join(parts) + "\n"


def _verdict(evaluation: Evaluation) -> str:
    if evaluation.verdict == "passed":
        return "This network passed its gates (below)."
    failed = ", ".join(describe_gate(gate) for gate in evaluation.failed_gates)
    return f"**This network did not pass its gates: {failed}.**"


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table in Markdown; a bar inside a cell is escaped."""
    names = list(head)
    lines = [names, ["---"] * len(names), *rows]
    cells = ([str(cell).replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _inputs(card: Card) -> str:
    rows = []
    for place, name in enumerate(card.inputs, start=1):
        low, high = card.bounds.get(name, ("", ""))
        rows.append([place, f"`{name}`", low, high, card.units.get(name, "")])
    return table(["", "input", "trained from", "to", "unit"], rows)


def _use(network: Network, repo: str | None) -> str:
    name = onnx_name(network)
    path = [f'path = "{name}"  # where this file is']
    if repo is not None:
        path = [
            "from huggingface_hub import hf_hub_download",
            f'path = hf_hub_download("{repo}", "{name}")',
        ]
    if network.network_type.name == "gonogo":
        text = "HSSM 0.3.0 does not use go/no-go networks yet. The network itself:"
        return f"{text}\n\n{_code(['import onnxruntime', *path, '', *_RUN_ALONE])}"
    lines = ["import hssm", *path, "", "model = hssm.HSSM(", *_arguments(network), ")"]
    return f"{_code(lines)}\n\n{_about_use(network)}"


_RUN_ALONE = [
    "session = onnxruntime.InferenceSession(path)",
    'output = session.run(None, {"input": row})[0]  # row: float32, in the order above',
]


def _arguments(network: Network) -> list[str]:
    """What HSSM is told, line by line."""
    first = f'    data, model="{_hssm_model(network)}", loglik_kind="approx_differentiable",'
    if network.network_type.name == "lan":
        told = [f'        "{key}": {value!r},' for key, value in _told(network).items()]
        return [first, "    loglik=path,", "    model_config={", *told, "    },"]
    deadline = ", deadline=True" if network.network_type.name == "opn" else ""
    return [first, f"    missing_data=True{deadline}, loglik_missing_data=path,"]


def _told(network: Network) -> dict[str, Any]:
    """The trained box, and what HSSM must be told of a model that it does not know by its name."""
    bounds = dict(network.own_card.bounds)
    try:
        choices = network.model.choices
    except (ImportError, UserError):  # packed where there is no simulator, or of another's model
        return {"bounds": bounds}
    parameters = list(network.own_card.parameters)
    return {"list_params": parameters, "choices": choices, "bounds": bounds, "backend": "jax"}


def _about_use(network: Network) -> str:
    if network.network_type.name == "lan":
        return "A name that is no file here would be taken from HSSM's own repository instead."
    text = (
        "It scores trials without an rt (-999 in the data); `loglik` names the network of the "
        "others, HSSM's own where left out."
    )
    if network.network_type.name == "opn" and network.own_card.parameters[-1] != "deadline":
        text += (
            " HSSM 0.3.0 gives an omission network the parameters and the deadline, but this one "
            f"takes no deadline: train one of the model `{network.model_name}_deadline`."
        )
    return text


def _code(lines: Iterable[str]) -> str:
    return "```python\n" + "\n".join(lines) + "\n```"


def _quality(evaluation: Evaluation) -> str:
    gates = [[gate.name, gate.verdict, gate.reason, _measured(gate)] for gate in evaluation.gates]
    parts = []
    if evaluation.scores is not None:
        scores = [[_MEASURES[key], f"{value:.4g}"] for key, value in _scores(evaluation).items()]
        parts += [
            f"Against {evaluation.reference.description} ({evaluation.reference.source}), on "
            f"{evaluation.scores.n_rows:,} rows of {evaluation.scores.n_sets:,} random parameter "
            "vectors within the bounds:",
            table(["measure", _unit(evaluation)], scores),
        ]
    return "\n\n".join([*parts, table(["gate", "verdict", "why", "measured"], gates)])


def _measured(gate: Gate) -> str:
    """The numbers of a gate that have a limit, and the limits."""
    numbers = [(name, gate.numbers.get(name), limit) for name, limit in gate.limits.items()]
    return ", ".join(
        f"{name} {value:.4g} (limit {limit:.4g})"
        for name, value, limit in numbers
        if value is not None and limit is not None
    )


def _training(card: Card) -> str:
    facts = {
        "data digest": f"`{card.data_digest}`",
        "parameter sets": f"{card.n_parameter_sets:,}",
        "rows": f"{card.n_rows:,}",
        "layers": f"{card.layer_sizes}, {', '.join(card.activations)}",
        "weights": f"{card.n_weights:,}",
        "backend": card.backend,
        "loss": f"{card.loss}; validation {card.best_val_loss:.5g} after epoch "
        f"{card.best_epoch + 1} of {card.n_epochs}",
        "seed": card.seed,
        "run": f"`{card.run_uuid}`",
        "made with": f"lanflow {card.lanflow_version}",
    }
    return table(["", ""], facts.items())
