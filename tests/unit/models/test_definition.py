from typing import Any

import pytest

from lanflow.models.definition import Definition, ModelsFileRecord, choices_of, define
from lanflow.models.simulators import find_model


def definition_of(**config: Any) -> Definition:
    return define(config, lambda value: value if isinstance(value, str) else None)


ANGLE = {
    "boundary_name": "angle",
    "boundary": "ssms.basic_simulators.boundary_functions.angle",
    "simulator": "cssm.ddm_flexbound",  # as ssm-simulators 0.8 calls it
    "choices": [-1, 1],
}


@pytest.mark.parametrize(
    ("changed", "differences"),
    [
        ({}, []),
        ({"boundary_name": None, "boundary": None, "simulator": None, "choices": None}, []),
        ({"boundary_name": "mine"}, ["boundary 'mine' instead of 'angle'"]),
        ({"boundary": "me.angle"}, ["boundary 'angle' of its own instead of 'angle'"]),
        (
            {"boundary": "cloudpickle.cloudpickle._make_function", "boundary_name": None},
            ["boundary a function of its own instead of 'angle'"],
        ),
        ({"drift_name": "gamma_drift"}, ["drift 'gamma_drift' instead of None"]),
        ({"simulator": "cssm.levy"}, ["simulator 'levy' instead of 'ddm_flexbound'"]),
        ({"choices": [0, 1]}, ["choices [0, 1] instead of [-1, 1]"]),
    ],
)
def test_a_definition_differs_where_it_says_so(
    changed: dict[str, Any], differences: list[str]
) -> None:
    found = definition_of(**{**ANGLE, **changed}).differences(find_model("angle").definition)
    assert found == differences


@pytest.mark.parametrize(
    ("config", "choices"),
    [
        ({"choices": [1.0, -1.0]}, [-1, 1]),
        ({"nchoices": 3}, [0, 1, 2]),
        ({}, None),
        ({"choices": "ab"}, None),
        ({"choices": [0.5]}, None),
        ({"choices": [float("nan")]}, None),
        ({"choices": [["x"]]}, None),
        ({"nchoices": 10**9}, None),
    ],
)
def test_choices_are_whole_numbers(config: dict[str, Any], choices: list[int] | None) -> None:
    assert choices_of(config) == choices


def test_a_record_whose_text_was_changed_is_refused() -> None:
    with pytest.raises(ValueError, match="the sha256 is not that of the text"):
        ModelsFileRecord(name="m.py", sha256="0" * 64, text="x = 1\n")
