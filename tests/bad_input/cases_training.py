"""The training YAML: every key with values of every wrong kind, and texts that are no YAML."""

import math
from typing import Any

from tests.bad_input.case import Case, dumped, train, train_yaml
from tests.conftest import TRAINING_YAML

WRONG: dict[str, Any] = {
    "a text": "abc",
    "negative": -1,
    "huge": 10**30,
    "nan": math.nan,
    "inf": math.inf,
    "a list": [1],
    "a mapping": {"a": 1},
    "null": None,
    "a boolean": True,
    "empty": "",
}
# Which of them are right for a key; a bound of labels or a rate may be as large as one likes.
ACCEPTED = {
    "SHUFFLE": {"a boolean"},
    "MODEL": {"null"},
    "LABELS_LOWER_BOUND": {"negative", "null", "huge"},
    "LR_SCHEDULER": {"null", "empty"},
    "WEIGHT_DECAY": {"huge"},
    "LEARNING_RATE": {"huge"},
    "LR_SCHEDULER_PARAMS": set(),
}
# Of keys alike one has all the values, the others have two each.
_FEW = {"GPU_BATCH_SIZE", "N_TRAINING_FILES", "OPTIMIZER_", "ACTIVATIONS", "WEIGHT_DECAY"}
_OPTIONAL = {"MODEL", "LR_SCHEDULER_PARAMS"}

_BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(12)
)
_GOOD = dumped(TRAINING_YAML)


def _expected(key: str, kind: str) -> str:
    if key == "MODEL" and kind == "a text":
        return "'ddm'.*'abc'"
    if key == "LR_SCHEDULER_PARAMS" and kind == "a mapping":
        return rf"t\.yaml: unknown key '{key}\.a'"
    if key == "LAYER_SIZES" and kind == "a list":  # that of one network, as files of 2023 have it
        return "network 0 has 1 layers in LAYER_SIZES"
    return rf"t\.yaml: {key}"


def _wrong_values() -> list[Case]:
    cases = []
    for key in TRAINING_YAML:
        kinds = ["huge", "a list"] if key in _FEW else list(WRONG)
        cases += [
            train_yaml(
                f"{key}: {kind}", _expected(key, kind), dumped(TRAINING_YAML, **{key: WRONG[kind]})
            )
            for kind in kinds
            if kind not in ACCEPTED.get(key, set())
        ]
        if key not in _OPTIONAL:
            text = dumped(TRAINING_YAML, **{key: KeyError})
            cases.append(train_yaml(f"{key} is missing", rf"t\.yaml: missing key '{key}'", text))
    return cases


def _texts() -> list[tuple[str, str, str | bytes]]:
    """Name, what the message says, text of the file."""
    return [
        ("a key with a slip", "LERNING_RATE.*'LEARNING_RATE'", _GOOD + "LERNING_RATE: 1\n"),
        ("aliases that expand", r"t\.yaml: its aliases", _GOOD + _BOMB),
        (
            "an alias of itself",
            "itself",
            dumped(TRAINING_YAML, LAYER_SIZES=KeyError) + "LAYER_SIZES: &a [*a]\n",
        ),
        ("thousands of brackets", "nested", f"{_GOOD}X: {'[' * 5000}{']' * 5000}\n"),
        ("a key twice", "'N_EPOCHS' stands twice", _GOOD + "N_EPOCHS: 5000\n"),
        (
            "a number of 10,000 digits",
            r"t\.yaml: ",
            dumped(TRAINING_YAML, N_EPOCHS=KeyError) + f"N_EPOCHS: {'9' * 10000}\n",
        ),
        (
            "a date",
            r"t\.yaml: N_EPOCHS",
            dumped(TRAINING_YAML, N_EPOCHS=KeyError) + "N_EPOCHS: 2020-01-01\n",
        ),
        ("tabs", r"t\.yaml: not valid YAML", "\tN_EPOCHS: 1\n" + _GOOD),
        ("UTF-16", r"t\.yaml: cannot be read", _GOOD.encode("utf-16")),
        ("a NUL", r"t\.yaml: not valid YAML", _GOOD + "\0"),
        ("bytes of no text", r"t\.yaml: cannot be read", _GOOD.encode() + b"X: \xff\n"),
        ("an empty file", r"t\.yaml: missing key", ""),
        ("a list", r"t\.yaml: expected keys and values", "- 1\n"),
        ("two documents", r"t\.yaml: not valid YAML", f"{_GOOD}---\n{_GOOD}"),
        (
            "Python's tags",
            r"t\.yaml: not valid YAML",
            _GOOD + "X: !!python/object/apply:os.abort []\n",
        ),
        ("a number as a key", r"t\.yaml: 1: keys should be strings", _GOOD + "1: 2\n"),
        ("null as a key", r"t\.yaml: ", _GOOD + "? \n: 2\n"),
        ("a list as a key", r"t\.yaml: not valid YAML", _GOOD + "? [1, 2]\n: 2\n"),
        ("two megabytes", r"t\.yaml: .* bytes are too many", _GOOD + "#" * 2**21),
        *(
            (
                f"a rate of {text[:20]}",
                r"t\.yaml: LEARNING_RATE",
                dumped(TRAINING_YAML, LEARNING_RATE=text),
            )
            for text in (
                "__import__('os').abort()",
                "9**9**9",
                "np.log(-1)",
                "1/0",
                "(" * 199,
                "-" * 300 + "1",
                "1\0",
            )
        ),
        *(
            (
                f"LR_SCHEDULER_PARAMS {key}",
                rf"t\.yaml: .*{key}",
                dumped(TRAINING_YAML, LR_SCHEDULER_PARAMS={key: value}),
            )
            for key, value in {
                "factor": -1,
                "patience": 10**30,
                "threshold": "x",
                "min_lr": math.nan,
                "verbose": "maybe",
                "nope": 1,
                "warmup_epochs": -2,
            }.items()
        ),
        *(
            (
                f"HUBER_DELTA {value}",
                r"t\.yaml: HUBER_DELTA",
                dumped(TRAINING_YAML, HUBER_DELTA=value),
            )
            for value in (0, -1, "x", [1], math.inf)
        ),
        (
            "HUBER_DELTA of a network without it",
            "HUBER_DELTA is 0.1, but the loss of cpn networks has no such place",
            dumped(TRAINING_YAML, NETWORK_TYPE="cpn", HUBER_DELTA=0.1),
        ),
        (
            "more activations than layers",
            "ACTIVATIONS|activations",
            dumped(TRAINING_YAML, ACTIVATIONS=[["tanh"] * 9]),
        ),
        ("a layer of no units", r"LAYER_SIZES", dumped(TRAINING_YAML, LAYER_SIZES=[[0, 16, 1]])),
        (
            "a layer of 10**10 units",
            r"LAYER_SIZES",
            dumped(TRAINING_YAML, LAYER_SIZES=[[10**10, 16, 1]]),
        ),
        ("two outputs", "LAYER_SIZES.*2 unit", dumped(TRAINING_YAML, LAYER_SIZES=[[16, 16, 2]])),
        (
            "layers of 10**9 units",
            "weights.* GiB of memory.*LAYER_SIZES",
            dumped(TRAINING_YAML, LAYER_SIZES=[[10**9, 10**9, 1]]),
        ),
    ]


CASES: list[Case] = [
    *_wrong_values(),
    *(train_yaml(name, expected, text) for name, expected, text in _texts()),
    train("an empty device as YAML", "/dev/null: missing key", "--config-path", "/dev/null"),
]
