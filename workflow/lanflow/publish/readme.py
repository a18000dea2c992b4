"""The ``README.md`` of a network that is handed on: metadata for the Hugging Face hub, and text."""

from lanflow.core.tables import markdown_table
from lanflow.core.templates import Templates
from lanflow.evaluation.record import MEASURES, SCORE_KEYS, Evaluation, Gate, describe_gate
from lanflow.networks.card import Card
from lanflow.networks.hssm import hssm_code, hssm_model
from lanflow.networks.network import Network
from lanflow.networks.types import ContractError

# HSSM 0.3.0 looks for a network under the model's name and one of these endings
# (hssm/defaults.py, missing_data_networks_suffix; modelconfig/*_config.py for the plain name).
_FILE_SUFFIX = {"lan": "", "cpn": "_cpn", "opn": "_opn", "gonogo": "_gonogo"}

_TITLES = {
    "lan": "likelihood approximation network",
    "cpn": "choice probability network",
    "opn": "omission probability network",
    "gonogo": "go/no-go network",
}
_TEMPLATES = Templates("lanflow.publish")


def onnx_name(network: Network) -> str:
    """The name under which HSSM looks for a network: ``ddm.onnx``, ``ddm_opn.onnx``."""
    if network.takes_choice:  # HSSM would give it no choice
        return of_choice_name(network)
    return f"{hssm_model(network)}{_FILE_SUFFIX[network.network_type.name]}.onnx"


def of_choice_name(network: Network) -> str:
    """The name of a cpn that takes the choice: ``ddm_cpn_of_choice.onnx``."""
    return f"{hssm_model(network)}_cpn_of_choice.onnx"


def of_choice(network: Network) -> bytes | None:
    """The network ``[parameters, choice] -> log P(choice)`` of a cpn of two choices.

    None where there is none: of other networks, and of a model with a deadline, where what is not
    the higher choice may be no choice at all.
    """
    card = network.own_card
    is_of_two = card.network_type == "cpn" and not card.takes_choice
    if not is_of_two or card.choices is None or len(card.choices) != 2:
        return None
    if "deadline" in card.parameters:
        return None
    from lanflow.networks.onnx import with_choice_input

    try:
        return with_choice_input(network.onnx, card.choices)
    except ContractError:  # an ONNX file that is no chain of layers
        return None


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


def _metadata(network: Network, evaluation: Evaluation, licence: str) -> dict[str, object]:
    """The hub's keys (model-index too), and under ``lanflow`` what a program needs to know."""
    card = network.own_card
    metadata: dict[str, object] = {
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


def _model_index(network: Network, evaluation: Evaluation) -> list[dict[str, object]]:
    """The scores as the hub's results of a model; empty without scores."""
    metrics = [
        {"type": key, "value": value, "name": f"{MEASURES[key]} ({_unit(evaluation)})"}
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
    """The scores that are finite."""
    scores = evaluation.scores
    values = {} if scores is None else {key: getattr(scores, key) for key in SCORE_KEYS}
    return {key: value for key, value in values.items() if value is not None}


def _unit(evaluation: Evaluation) -> str:
    return "" if evaluation.scores is None else evaluation.scores.unit


def describe_network(network: Network, evaluation: Evaluation, *, repo: str | None = None) -> str:
    """Write the README of a network as Markdown.

    Parameters
    ----------
    network, evaluation
        Of one folder.
    repo
        ``ORG/NAME`` on the hub, if it is known where the network goes.
    """
    card, kind = network.own_card, network.network_type.name
    content = {
        "network": network,
        "evaluation": evaluation,
        "card": card,
        "type": kind,
        "title": _TITLES[kind],
        "failed": ", ".join(describe_gate(gate) for gate in evaluation.failed_gates),
        "inputs": _input_table(card),
        "repo": repo,
        "file": onnx_name(network),
        "of_choice": None if of_choice(network) is None else of_choice_name(network),
        "hssm_code": hssm_code(network),
        "scores": "" if evaluation.scores is None else _score_table(evaluation),
        "gates": _gate_table(evaluation),
        "models_file": network.models_file_record,
        "training": _training_table(card),
    }
    return _TEMPLATES.render("network.md", content)


def _input_table(card: Card) -> str:
    rows = []
    for place, name in enumerate(card.inputs, start=1):
        low, high = card.bounds.get(name, ("", ""))
        unit = card.units.get(name, "")
        if name == "choice" and card.choices is not None:
            unit = f"one of {', '.join(map(str, card.choices))}"
        rows.append([place, f"`{name}`", low, high, unit])
    return markdown_table(["", "input", "trained from", "to", "unit"], rows)


def _score_table(evaluation: Evaluation) -> str:
    rows = [(MEASURES[key], f"{value:.4g}") for key, value in _scores(evaluation).items()]
    return markdown_table(["measure", _unit(evaluation)], rows)


def _gate_table(evaluation: Evaluation) -> str:
    rows = [(gate.name, gate.verdict, gate.reason, _measured(gate)) for gate in evaluation.gates]
    return markdown_table(["gate", "verdict", "why", "measured"], rows)


def _measured(gate: Gate) -> str:
    """The numbers of a gate that have a limit, with the limits."""
    numbers = [(name, gate.numbers.get(name), limit) for name, limit in gate.limits.items()]
    return ", ".join(
        f"{name} {value:.4g} (limit {limit:.4g})"
        for name, value, limit in numbers
        if value is not None and limit is not None
    )


def _training_table(card: Card) -> str:
    facts = {
        "data digest": f"`{card.data_digest}`",
        "parameter sets": f"{card.n_parameter_sets:,}",
        "rows": f"{card.n_rows:,}",
        "layers": f"{card.layer_sizes}, {', '.join(card.activations)}",
        "weights": f"{card.n_weights:,}",
        "backend": card.backend,
        "loss": f"{card.loss}; validation {card.best_val_loss:.5g} after epoch "
        f"{card.best_epoch} of {card.n_epochs}",
        "seed": card.seed,
        "run": f"`{card.run_uuid}`",
        "made with": f"lanflow {card.lanflow_version}",
    }
    return markdown_table(["", ""], facts.items())
