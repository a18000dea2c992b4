"""Code for a person to paste that uses a network in HSSM."""

from lanflow.core.errors import UserError
from lanflow.models.models_file import base_name
from lanflow.networks.network import Network


def hssm_model(network: Network) -> str:
    """HSSM's name of the model, whose deadline is a column of the data and no parameter."""
    if network.network_type.name == "lan":
        return network.model_name
    return base_name(network.model_name)


def hssm_code(network: Network) -> str:
    """The call that makes HSSM's model with a network; empty for one that HSSM does not use.

    HSSM 0.3 to 0.5 do not use go/no-go networks yet, and give a network of trials without an rt the
    parameters alone. The code has the data as ``data`` and the path of the ONNX file as ``path``.
    """
    kind = network.network_type.name
    if kind == "gonogo" or network.takes_choice:
        return ""
    head = f'data, model="{hssm_model(network)}", loglik_kind="approx_differentiable",'
    if kind == "lan":
        config = "".join(f'        "{key}": {value},\n' for key, value in _config(network).items())
        body = f"    loglik=path,\n    model_config={{\n{config}    }},"
    else:
        deadline = ", deadline=True" if kind == "opn" else ""
        body = f"    missing_data=True{deadline}, loglik_missing_data=path,"
    return f"model = hssm.HSSM(\n    {head}\n{body}\n)"


def _config(network: Network) -> dict[str, str]:
    """HSSM's ``model_config`` as code: the bounds, and what a model that HSSM does not know needs.

    The choices are left out where there is no simulator, or where it does not know the model.
    """
    card = network.own_card
    bounds: dict[str, object] = {"bounds": dict(card.bounds)}
    try:
        choices = network.known_model.choices
    except (ImportError, UserError):
        config = bounds
    else:
        parameters = list(card.parameters)
        config = {"list_params": parameters, "choices": choices, **bounds, "backend": "jax"}
    return {key: repr(value) for key, value in config.items()}
