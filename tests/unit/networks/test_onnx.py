from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from lanflow.networks.graph import check_contract
from lanflow.networks.onnx import check_equal, export_onnx, run_onnx, with_choice_input
from lanflow.networks.runtime import rows_of_choices
from lanflow.networks.types import (
    NETWORK_TYPES,
    Activation,
    Architecture,
    ContractError,
    NetworkTypeName,
)
from lanflow.training.job import initial_weights
from tests.conftest import BACKENDS, make_backend, training_config

ACTIVATIONS: tuple[tuple[Activation, ...], ...] = (
    ("tanh", "tanh"),
    ("relu", "relu"),
    ("sigmoid", "sigmoid"),
    ("sigmoid", "tanh"),
    ("relu", "sigmoid"),
    ("tanh", "sigmoid"),
    (),
)


def architecture_of(
    network_type: NetworkTypeName, activations: tuple[Activation, ...]
) -> Architecture:
    return Architecture(network_type, 5, (*(12 for _ in activations), 1), activations)


def some_weights(architecture: Architecture) -> dict[str, np.ndarray]:
    """As after some training: biases are not zero, outputs reach far."""
    rng = np.random.default_rng(4)
    return {
        name: (2 * array + rng.normal(size=array.shape) / 2).astype(np.float32)
        for name, array in initial_weights(architecture, seed=3).items()
    }


def features() -> np.ndarray:
    return np.random.default_rng(5).normal(scale=2, size=(50, 5)).astype(np.float32)


def run_with_onnxruntime(content: bytes, rows: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return np.concatenate([session.run(None, {given.name: row[None]})[0] for row in rows])


@pytest.mark.parametrize("activations", ACTIVATIONS, ids=lambda names: "-".join(names) or "none")
@pytest.mark.parametrize("network_type", NETWORK_TYPES)
def test_the_exported_network_equals_the_evaluation_head(
    network_type: NetworkTypeName, activations: tuple[Activation, ...]
) -> None:
    architecture = architecture_of(network_type, activations)
    weights = some_weights(architecture)
    content = export_onnx(architecture, weights)
    for backend_name in BACKENDS:
        backend = make_backend(backend_name)
        config = training_config(
            NETWORK_TYPE=network_type,
            LAYER_SIZES=[list(architecture.layer_sizes)],
            ACTIVATIONS=[list(activations)],
        )
        backend.start(architecture, config, weights)
        expected = backend.predict(features())
        assert expected.std() > 0.05
        for run in (run_onnx, run_with_onnxruntime):
            np.testing.assert_allclose(run(content, features()), expected, rtol=1e-5, atol=1e-5)
        assert check_equal(content, features(), expected) <= 1e-5


@pytest.mark.parametrize("network_type", ["cpn", "opn", "gonogo"])
def test_a_log_probability_stays_finite_far_into_the_tails(network_type: NetworkTypeName) -> None:
    architecture = Architecture(network_type, 1, (1,), ())
    weights = {"layers_0/kernel": np.ones((1, 1)), "layers_0/bias": np.zeros(1)}
    logits = np.array([[-85.0], [-20.0], [0.0], [20.0], [85.0]], dtype=np.float32)
    expected = -np.logaddexp(0, -logits.astype(float))
    content = export_onnx(architecture, weights)
    for run in (run_onnx, run_with_onnxruntime):
        np.testing.assert_allclose(run(content, logits), expected, rtol=1e-5, atol=1e-5)


def test_the_bytes_depend_on_the_weights_alone() -> None:
    architecture = architecture_of("lan", ("tanh", "relu"))
    weights = some_weights(architecture)
    content = export_onnx(architecture, weights)
    assert export_onnx(architecture, dict(reversed(weights.items()))) == content
    doubles = {name: array.astype(float) for name, array in weights.items()}
    assert export_onnx(architecture, doubles) == content
    weights["layers_1/bias"] = weights["layers_1/bias"] + np.float32(1e-6)
    assert export_onnx(architecture, weights) != content


@pytest.mark.parametrize("network_type", NETWORK_TYPES)
def test_input_and_output_hold_one_trial_of_known_size(network_type: NetworkTypeName) -> None:
    model = onnx.load_from_string(
        export_onnx(
            architecture_of(network_type, ("sigmoid",)),
            some_weights(architecture_of(network_type, ("sigmoid",))),
        )
    )
    shapes = [
        [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    ]
    assert shapes == [[1, 5], [1, 1]]
    # What HSSM 0.3.0 interprets in both of its backends: no Sigmoid, no Identity.
    assert {node.op_type for node in model.graph.node} <= {
        "Add",
        "Constant",
        "Exp",
        "Gemm",
        "Log",
        "Neg",
        "Tanh",
    }


def model_with(change: Callable[[onnx.ModelProto], Any]) -> bytes:
    """A sound network after a change."""
    architecture = architecture_of("lan", ("tanh",))
    model = onnx.load_from_string(export_onnx(architecture, some_weights(architecture)))
    change(model)
    return bytes(model.SerializeToString())


def dimension(model: onnx.ModelProto, kind: str, index: int) -> Any:
    (value,) = getattr(model.graph, kind)
    return value.type.tensor_type.shape.dim[index]


def name_the_rows(model: onnx.ModelProto) -> None:
    for kind in ("input", "output"):
        dimension(model, kind, 0).dim_param = "batch"


def ask_for_two_rows(model: onnx.ModelProto) -> None:
    for kind in ("input", "output"):
        dimension(model, kind, 0).dim_value = 2


def leave_the_columns_open(model: onnx.ModelProto) -> None:
    dimension(model, "input", 1).Clear()


def drop_the_rows(model: onnx.ModelProto) -> None:
    squeezed = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1])
    model.graph.output[0].CopyFrom(squeezed)


def add_an_output(model: onnx.ModelProto) -> None:
    value = helper.make_tensor_value_info("layers_0.output", TensorProto.FLOAT, [1, 12])
    model.graph.output.append(value)


def add_an_input(model: onnx.ModelProto) -> None:
    value = helper.make_tensor_value_info("more", TensorProto.FLOAT, [1, 1])
    model.graph.input.append(value)


def use_softplus(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "Tanh").op_type = "Softplus"


def use_sigmoid(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "Tanh").op_type = "Sigmoid"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (name_the_rows, r"input has shape \[0, 5\] \(0 stands for a symbolic dimension\)"),
        (leave_the_columns_open, r"input has shape \[1, 0\]"),
        (ask_for_two_rows, r"input has shape \[2, 5\]"),
        (drop_the_rows, r"output has shape \[1\]"),
        (add_an_output, "one input and one output, this one has 1 and 2"),
        (add_an_input, "one input and one output, this one has 2 and 1"),
        (use_softplus, "operators Softplus are not interpreted by HSSM"),
        (use_sigmoid, "operators Sigmoid are not interpreted by HSSM"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_breaks_the_single_trial_contract_is_refused(
    change: Callable[[onnx.ModelProto], Any], message: str
) -> None:
    with pytest.raises(ContractError, match=message):
        check_contract(model_with(change))


def test_initializers_that_are_listed_as_inputs_do_not_count_as_inputs() -> None:
    """As older exporters write them."""

    def list_initializers(model: onnx.ModelProto) -> None:
        for array in model.graph.initializer:
            value = helper.make_tensor_value_info(array.name, array.data_type, array.dims)
            model.graph.input.append(value)

    check_contract(model_with(list_initializers))


def test_bytes_that_are_no_network_are_refused() -> None:
    with pytest.raises(ContractError, match="not an ONNX model"):
        check_contract(b"not a network")


def test_numbers_in_other_files_are_not_read() -> None:
    def point_elsewhere(model: onnx.ModelProto) -> None:
        array = model.graph.initializer[0]
        array.ClearField("raw_data")
        array.data_location = onnx.TensorProto.EXTERNAL
        entry = array.external_data.add()
        entry.key, entry.value = "location", "../../etc/passwd"

    with pytest.raises(ContractError, match="external data"):
        check_contract(model_with(point_elsewhere))

    def point_elsewhere_in_a_node(model: onnx.ModelProto) -> None:
        tensor = TensorProto(name="far", data_type=TensorProto.FLOAT, dims=[1])
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="/etc/hostname")
        model.graph.node.insert(0, helper.make_node("Constant", [], ["far"], value=tensor))

    with pytest.raises(ContractError, match="external data"):
        check_contract(model_with(point_elsewhere_in_a_node))


def test_an_opset_of_the_future_is_named() -> None:
    def of_the_future(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = 9999

    with pytest.raises(ContractError, match=r"opset 9999, and onnx .* knows them up to"):
        check_contract(model_with(of_the_future))


def test_an_operator_of_another_domain_is_not_that_of_onnx() -> None:
    def of_another_domain(model: onnx.ModelProto) -> None:
        model.graph.node[0].domain = "com.example"
        model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))

    with pytest.raises(ContractError, match=r"operators com.example.Gemm"):
        check_contract(model_with(of_another_domain))


def test_a_graph_that_makes_no_sense_is_refused() -> None:
    def rename_an_output(model: onnx.ModelProto) -> None:
        model.graph.node[0].output[0] = "nowhere"

    with pytest.raises(ContractError, match="not an ONNX model"):
        check_contract(model_with(rename_an_output))


def test_a_network_that_computes_something_else_is_refused() -> None:
    architecture = architecture_of("lan", ("tanh",))
    weights = some_weights(architecture)
    content = export_onnx(architecture, weights)
    rows = features()
    expected = run_onnx(content, rows)
    assert check_equal(content, rows, expected) == 0

    def shift_the_output(model: onnx.ModelProto) -> None:
        (bias,) = (x for x in model.graph.initializer if x.name == "layers_1.bias")
        bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + 0.01, bias.name))

    with pytest.raises(ContractError, match="differs from the trained one by"):
        check_equal(model_with(shift_the_output), rows, expected)
    with pytest.raises(ContractError, match="differs from the trained one by nan"):
        check_equal(content, rows, np.full_like(expected, np.nan))


def choice_network(
    activation: Activation, *, can_omit: bool
) -> tuple[Architecture, dict[str, np.ndarray]]:
    shape = Architecture("cpn", 5, (12, 4), (activation,), (0, 1, 2, 3), can_omit)
    return shape, some_weights(shape)


@pytest.mark.parametrize("can_omit", [False, True])
@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid"])
def test_a_network_of_many_choices_takes_the_choice_and_its_probabilities_sum_to_one(
    activation: Activation, can_omit: bool
) -> None:
    shape, weights = choice_network(activation, can_omit=can_omit)
    content = export_onnx(shape, weights)
    rows = rows_of_choices(features(), shape.choices)
    for backend_name in BACKENDS:
        backend = make_backend(backend_name)
        config = training_config(NETWORK_TYPE="cpn", LAYER_SIZES=[[12, 4]], ACTIVATIONS=[["tanh"]])
        backend.start(shape, config, weights)
        expected = backend.predict(features())
        sums = np.exp(expected.astype(float)).sum(axis=1)
        assert (sums < 0.999).any() if can_omit else np.allclose(sums, 1, atol=1e-5)
        for run in (run_onnx, run_with_onnxruntime):
            given = run(content, rows).reshape(-1, 4)
            np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(np.exp(given.astype(float)).sum(axis=1), sums, atol=1e-5)
    other = run_with_onnxruntime(content, np.append(features()[0], np.float32(7))[None])
    assert np.exp(other) == 0  # of a choice that there is not


def test_codes_of_choices_that_float32_cannot_tell_apart_are_refused() -> None:
    shape, weights = choice_network("tanh", can_omit=False)
    with pytest.raises(ContractError, match="codes more than 16 apart"):
        export_onnx(replace(shape, choices=(0, 1, 2, 30)), weights)


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid"])
@pytest.mark.parametrize("of_highest", [True, False])
def test_a_network_of_two_choices_takes_the_choice_without_training(
    activation: Activation, of_highest: bool
) -> None:
    shape = architecture_of("cpn", (activation,))
    content = export_onnx(shape, some_weights(shape))
    made = with_choice_input(content, (-1, 1), of_highest=of_highest)
    check_contract(made)
    given = run_with_onnxruntime(made, rows_of_choices(features(), (-1, 1))).reshape(-1, 2)
    own = run_with_onnxruntime(content, features())[:, 0]
    np.testing.assert_allclose(given[:, int(of_highest)], own, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.exp(given.astype(float)).sum(axis=1), 1, atol=1e-6)


def test_only_a_network_of_one_logit_is_made_to_take_the_choice() -> None:
    shape = architecture_of("lan", ("tanh",))
    with pytest.raises(ContractError, match="ends in the log-sigmoid of one logit"):
        with_choice_input(export_onnx(shape, some_weights(shape)), (-1, 1))
