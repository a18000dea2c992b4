"""The data-generation YAML, and study files: every key with values of every wrong kind."""

import copy
from typing import Any

from tests.bad_input.case import Case, dumped, generate
from tests.bad_input.cases_training import WRONG

GENERATION_YAML: dict[str, Any] = {
    "MODEL": "ddm",
    "GENERATOR_APPROACH": "lan",
    "PIPELINE": {"N_PARAMETER_SETS": 2, "N_SUBRUNS": 1},
    "SIMULATOR": {"N_SAMPLES": 20, "DELTA_T": 0.01},
    "TRAINING": {"N_SAMPLES_PER_PARAM": 10},
    "ESTIMATOR": {"TYPE": "auto"},
}
_PATHS = (
    "MODEL",
    "GENERATOR_APPROACH",
    "PIPELINE",
    "PIPELINE.N_PARAMETER_SETS",
    "PIPELINE.PARAMETER_SAMPLING",
    "SIMULATOR.DELTA_T",
    "ESTIMATOR.TYPE",
)
# Values that are refused of a key that another of its kind stands for.
_MORE = [
    ("PIPELINE.N_SUBRUNS", 0),
    ("PIPELINE.N_SUBRUNS", "many"),
    ("SIMULATOR.N_SAMPLES", 10**12),
    ("SIMULATOR.N_SAMPLES", "many"),
    ("SIMULATOR.DELTA_T", 1e-300),
    ("SIMULATOR.DELTA_T", 1e10),
    ("SIMULATOR.DELTA_T", 0),
    ("TRAINING.N_SAMPLES_PER_PARAM", 10**12),
    ("TRAINING.N_SAMPLES_PER_PARAM", 1.5),
    ("TRAINING.N_SAMPLES", 5),
    ("ESTIMATOR.TYP", "kde"),
]


def with_key(path: str, value: Any) -> str:
    """The YAML with one key changed."""
    content = copy.deepcopy(GENERATION_YAML)
    *sections, last = path.split(".")
    node = content
    for section in sections:
        node = node[section]
    node[last] = value
    return dumped(content)


def _yaml(name: str, expected: str, text: str) -> Case:
    return generate(name, expected, "--config-path", "g.yaml", files={"g.yaml": text})


CASES: list[Case] = [
    *(
        _yaml(f"{path}: {kind}", path.split(".")[-1], with_key(path, value))
        for path in _PATHS
        for kind, value in WRONG.items()
        if (path, kind) not in {("MODEL", "a text"), ("SIMULATOR.DELTA_T", "a boolean")}
    ),
    *(
        _yaml(f"{path}: {value}", path.split(".")[-1], with_key(path, value))
        for path, value in _MORE
    ),
    _yaml("an unknown model", "'abc'|abc", with_key("MODEL", "abc")),
    _yaml("a model with a slash", r"MODEL: '\.\./x'", with_key("MODEL", "../x")),
    _yaml(
        "no section SIMULATOR",
        "missing key 'SIMULATOR'",
        dumped(GENERATION_YAML, SIMULATOR=KeyError),
    ),
    _yaml("a key with a slip", "PIPLINE.*PIPELINE", dumped(GENERATION_YAML, PIPLINE={})),
    _yaml("a key twice", "'MODEL' stands twice", dumped(GENERATION_YAML) + "MODEL: angle\n"),
    _yaml(
        "no exact likelihood",
        "lca_no_bias_3.*analytic|analytic.*lca_no_bias_3",
        dumped(GENERATION_YAML, MODEL="lca_no_bias_3", ESTIMATOR={"TYPE": "analytic"}),
    ),
    _yaml(
        "a file of 10**9 sets",
        "GiB of memory.*N_PARAMETER_SETS",
        with_key("PIPELINE.N_PARAMETER_SETS", 10**9),
    ),
    _yaml(
        "10**9 rows of a set",
        "GiB of memory.*N_SAMPLES_PER_PARAM",
        with_key("TRAINING.N_SAMPLES_PER_PARAM", 10**9),
    ),
]
