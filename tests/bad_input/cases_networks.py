"""Networks: folders that lack something or hold somebody's own, ONNX files of every wrong kind."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.bad_input.case import NETWORK, Case, Content, lanflow

_WEIGHTS = numpy_helper.from_array(np.zeros((6, 1), "f4"), "W")
_BIAS = numpy_helper.from_array(np.zeros(1, "f4"), "B")
_GEMM = helper.make_node("Gemm", ["x", "W", "B"], ["y"])


def _model(
    *, weights: TensorProto = _WEIGHTS, node: Any = _GEMM, opset: int = 17, ir: int = 8
) -> bytes:
    """A linear network of six inputs, of which one thing may be wrong."""
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 6))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 1))],
        [weights, _BIAS],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    return bytes(model.SerializeToString())


def _external(location: str) -> bytes:
    weights = TensorProto(
        name="W", data_type=TensorProto.FLOAT, dims=[6, 1], data_location=TensorProto.EXTERNAL
    )
    for key, value in (("location", location), ("offset", "0"), ("length", "24")):
        weights.external_data.append(onnx.StringStringEntryProto(key=key, value=value))
    return _model(weights=weights)


_ONNX: list[tuple[str, str, bytes]] = [
    ("garbage", r"x\.onnx: not an ONNX model", b"garbage"),
    ("nothing", r"x\.onnx: not an ONNX model", b""),
    ("a cut model", r"x\.onnx: not an ONNX model", _model()[:-20]),
    ("numbers elsewhere", r"x\.onnx: .*external data", _external("../../../../etc/hostname")),
    ("numbers in an absolute file", r"x\.onnx: .*external data", _external("/etc/passwd")),
    ("numbers beside it", r"x\.onnx: .*external data", _external("w.bin")),
    ("an opset of the future", r"x\.onnx: .*opset 9999", _model(opset=9999)),
    ("a version of the future", r"x\.onnx: ", _model(ir=99)),
    (
        "weights of an exabyte",
        r"x\.onnx: not an ONNX model",
        _model(weights=TensorProto(name="W", data_type=TensorProto.FLOAT, dims=[2**40, 2**20])),
    ),
    (
        "fewer numbers than it says",
        r"x\.onnx: not an ONNX model",
        _model(
            weights=TensorProto(name="W", data_type=TensorProto.FLOAT, dims=[6, 1], raw_data=b"\0")
        ),
    ),
]


def _onnx(name: str, expected: str, *words: str, **keys: Any) -> Case:
    return lanflow(name, expected, "evaluate", "--onnx", *words, **keys)


def _card(**changes: Any) -> Content:
    def write(path: Path, base: Path) -> None:
        content = json.loads((base / "network" / "card.json").read_text())
        path.write_text(json.dumps({**content, **changes}))

    return write


_CARDS: list[tuple[str, str, Content]] = [
    ("cut", r"card\.json: damaged", "{"),
    ("of nothing", r"card\.json: is not a network's card", "{}"),
    ("a list", r"card\.json: expected keys", "[]"),
    ("of a model with a path", r"card\.json: model", _card(model="../x")),
    ("of an unknown type", r"card\.json: network_type", _card(network_type="rnn")),
    ("of an unknown backend", r"card\.json: backend", _card(backend="tensorflow")),
    ("with bounds upside down", r"card\.json: bounds", _card(bounds={"v": [3, -3]})),
    ("with bounds of texts", r"card\.json: bounds", _card(bounds={"v": "x"})),
    ("with a text as seed", r"card\.json: seed", _card(seed="one")),
]


def _huge_layers() -> dict[str, Any]:
    sizes, names = [10**12, 1], ["tanh", "linear"]
    return {"layer_sizes": sizes, "activations": names, "train_output_type": "logprob"}


CASES: list[Case] = [
    *(
        _onnx(
            f"an ONNX file of {name}",
            expected,
            "x.onnx",
            "--model",
            "ddm",
            "--output",
            "e.json",
            files={"x.onnx": content},
        )
        for name, expected, content in _ONNX
    ),
    _onnx("an ONNX file that is missing", "none.onnx", "none.onnx", "--model", "ddm"),
    _onnx("an ONNX file that is a folder", ": cannot be read", ".", "--model", "ddm"),
    _onnx("an ONNX file without its model", "--model", f"{NETWORK}/model.onnx"),
    _onnx("an ONNX file of no model", "nope", f"{NETWORK}/model.onnx", "--model", "nope"),
    _onnx(
        "an ONNX file of no type",
        "--network-type",
        f"{NETWORK}/model.onnx",
        "--model",
        "ddm",
        "--network-type",
        "rnn",
    ),
    _onnx(
        "a card that is missing",
        "none.json",
        f"{NETWORK}/model.onnx",
        "--model",
        "ddm",
        "--card",
        "none.json",
    ),
    _onnx(
        "a card without bounds",
        "lacks bounds",
        f"{NETWORK}/model.onnx",
        "--model",
        "ddm",
        "--card",
        "c.json",
        files={"c.json": "{}"},
    ),
    *(
        lanflow(f"a card {name}", expected, "evaluate", "net", files={"net/card.json": content})
        for name, expected, content in _CARDS
    ),
    *(
        lanflow(f"{words[0]} of a folder without a network", "none", *words)
        for words in [
            ("evaluate", "none"),
            ("plot", "none"),
            ("recover", "none", "--output", "r.json"),
            ("bundle", "none", "--output", "b"),
            ("register", "none"),
            ("publish", "none", "--repo", "a/b"),
        ]
    ),
    lanflow(
        "bundle of a network that nobody evaluated",
        "evaluat",
        "bundle",
        "net",
        "--output",
        "b",
        files={"net/card.json": _card(), "net/model.onnx": _model()},
    ),
    *(
        lanflow(
            f"an evaluation {name}",
            expected,
            "check-gates",
            "e.json",
            "--output",
            "g.json",
            files={"e.json": content},
        )
        for name, expected, content in [
            ("cut", r"e\.json: damaged", "{"),
            ("of nothing", r"e\.json", "{}"),
            ("of a list", r"e\.json", "[1]"),
            ("of version 99", r"e\.json.*99", '{"evaluation_version": 99}'),
        ]
    ),
    *(
        lanflow(
            f"a network of LANfactory's whose configuration is {name}",
            expected,
            "convert",
            "w.jax",
            "--network-config",
            "c.pickle",
            "--model",
            "ddm",
            "--output",
            "n",
            files={"w.jax": b"\x81\xa6params\x80", "c.pickle": content},
        )
        for name, expected, content in [
            ("cut", r"c\.pickle: not a readable pickle of a network's", b"\x80\x04}"),
            ("a list", r"c\.pickle: is no network's configuration", pickle.dumps([])),
            ("of nothing", r"c\.pickle: layer_sizes", pickle.dumps({})),
            ("of huge layers", r"its layers are", pickle.dumps(_huge_layers())),
        ]
    ),
]
