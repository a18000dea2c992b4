import math
import time
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BeforeValidator, Field

from lanflow.core.errors import UserError
from lanflow.core.settings import Settings, parse_number, parse_settings, read_yaml, suggest


class Inner(Settings):
    width: Annotated[float, BeforeValidator(parse_number), Field(allow_inf_nan=False)] = 1.0
    count: int = 1


class Outer(Settings):
    name: str
    inner: Inner | None = None
    by_name: dict[str, Inner] = Field({})


def yaml_file(folder: Path, text: str | bytes) -> Path:
    path = folder / "study.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_yaml_is_read_as_keys_and_values(tmp_path: Path) -> None:
    assert read_yaml(yaml_file(tmp_path, "a: 1\nb: [x]\n")) == {"a": 1, "b": ["x"]}


def test_an_empty_yaml_file_is_an_empty_mapping(tmp_path: Path) -> None:
    assert read_yaml(yaml_file(tmp_path, "# nothing yet\n")) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1\nb: 2", "not valid YAML"),
        ("a: 2026-13-99", "not valid YAML: month must be in 1..12"),
        ("a: !!python/object/apply:os.getcwd []", "not valid YAML"),
        ("- a\n- b", "expected keys and values, found list"),
        ("just text", "expected keys and values, found str"),
        (b"\xff\xfe\xfa", "cannot be read"),
    ],
)
def test_a_file_that_is_no_mapping_in_yaml_is_named(
    tmp_path: Path, text: str | bytes, said: str
) -> None:
    path = yaml_file(tmp_path, text)
    with pytest.raises(UserError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml: no such file$"):
        read_yaml(tmp_path / "nowhere.yaml")


def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be read \(.*directory"):
        read_yaml(tmp_path)


def test_settings_are_frozen() -> None:
    parsed = parse_settings(Outer, {"name": "x"}, "f.yaml")
    with pytest.raises(ValueError, match="frozen"):
        parsed.name = "y"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"nam": "x", "name": "x"}, "f.yaml: unknown key 'nam'; did you mean 'name'?"),
        ({"NAME": "x", "name": "x"}, "f.yaml: unknown key 'NAME'; did you mean 'name'?"),
        ({"zzz": 1, "name": "x"}, "f.yaml: unknown key 'zzz' (accepted: name, inner, by_name)"),
        (
            {"name": "x", "inner": {"widht": 1}},
            "f.yaml: unknown key 'inner.widht'; did you mean 'width'? (accepted: width, count)",
        ),
        (
            {"name": "x", "by_name": {"one": {"cuont": 1}}},
            "f.yaml: unknown key 'by_name.one.cuont'; did you mean 'count'?",
        ),
        (
            {"name": "x", "by_name": {"inner": {"cuont": 1}}},
            "'by_name.inner.cuont'; did you mean 'count'? (accepted: width, count)",
        ),
        ({}, "f.yaml: missing key 'name'"),
        ({"name": 3}, "f.yaml: name: input should be a valid string, got 3"),
        ({"name": "x", "inner": 3}, "f.yaml: inner: "),
        ({"name": "x", "inner": {"count": "many"}}, "f.yaml: inner.count: input should be a valid"),
        ({"name": "x", "inner": {"width": "wide"}}, "f.yaml: inner.width: 'wide' is not a number"),
        ({"name": "x", "inner": {"width": float("nan")}}, "f.yaml: inner.width: input should be a"),
        ({"name": "x", "inner": {"width": True}}, "f.yaml: inner.width: True is not a number"),
        ({"name": "x", 5: 1}, "f.yaml: 5: keys should be strings"),
    ],
)
def test_wrong_content_names_file_and_key_and_what_is_accepted(
    content: dict[object, object], said: str
) -> None:
    with pytest.raises(UserError) as caught:
        parse_settings(Outer, content, "f.yaml")  # type: ignore[arg-type]
    assert said in str(caught.value)


def test_each_mistake_has_a_line_of_its_own() -> None:
    with pytest.raises(UserError) as caught:
        parse_settings(Outer, {"naem": "x", "inner": {"count": "many"}}, "f.yaml")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all(line.startswith("f.yaml: ") for line in lines)


def test_the_file_of_each_key_may_be_looked_up() -> None:
    with pytest.raises(UserError) as caught:
        parse_settings(Outer, {"name": 1, "inner": 2}, lambda location: f"{location[0]}.yaml")
    assert "name.yaml: name: " in str(caught.value)
    assert "inner.yaml: inner: " in str(caught.value)


def test_nothing_is_suggested_where_nothing_is_accepted() -> None:
    assert suggest("x", []) == ""


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("np.log(1e-7)", math.log(1e-7)),
        ("numpy.log(1e-7)", math.log(1e-7)),
        ("math.log10(0.01)", -2.0),
        ("log2(8)", 3.0),
        ("sqrt(16) + exp(0)", 5.0),
        ("1e-3", 1e-3),
        (" 0.5 ", 0.5),
        ("1000", 1000.0),
        ("-(2 * 3) / 4 - +1", -2.5),
        ("10 ** -3", 1e-3),
    ],
)
def test_numbers_written_as_text_are_understood(text: str, number: float) -> None:
    assert parse_number(text) == pytest.approx(number, rel=1e-15)


@settings(deadline=None, max_examples=50)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_float_survives_being_written_as_text(number: float) -> None:
    assert parse_number(repr(number)) == number


@pytest.mark.parametrize("value", [3, 2.5, None, ["x"]])
def test_what_is_not_text_is_left_to_pydantic(value: object) -> None:
    assert parse_number(value) is value


@pytest.mark.parametrize(
    "text",
    [
        "10000 // can be list",
        "10 // 3",
        "",
        "one",
        "np",
        "np.random.rand(3)",
        "np.log",
        "np.log()",
        "np.log(1, 2)",
        "np.log(x=1)",
        "np.log('1')",
        "os.log(1)",
        "np.log(0)",
        "1 / 0",
        "10.0 ** 400",
        "(-1) ** 0.5",
        "True",
        "1j",
        "[1][0]",
        "1 if 1 else 2",
        "(lambda: 1)()",
        "x := 1",
        "1\n2",
        "1\x002",
        "(" * 150 + "1" + ")" * 40,
        "1+" * 150 + "1",
        True,
    ],
)
def test_other_text_is_refused_with_what_is_accepted(text: object) -> None:
    with pytest.raises(ValueError, match=r"accepted are numbers and expressions such as np\.log"):
        parse_number(text)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('touch {path}')",
        "__import__('pathlib').Path('{path}').touch()",
        "open('{path}', 'w')",
        "eval(\"open('{path}', 'w')\")",
        "np.log(open('{path}', 'w').fileno())",
        "log(__import__('os').mkdir('{path}'))",
        "().__class__.__base__.__subclasses__()",
        "np.f2py.os.system('touch {path}')",
    ],
)
def test_an_expression_that_calls_anything_else_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expression: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="is not a number"):
        parse_number(expression.format(path="ran"))
    assert list(tmp_path.iterdir()) == []


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (bomb(12), "its aliases stand for more than 100,000 values"),
        ("a: " + "[" * 900 + "]" * 900, "line 1 is nested more than 50 levels deep"),
        ("a: " + "{b: " * 5000 + "1" + "}" * 5000, "line 1 is nested more than 50 levels deep"),
        ("a: &a [*a]", "line 1 holds itself by an alias"),
        ("a: " + "9" * 10_000, "not valid YAML: Exceeds the limit"),
        ("a: 1\nb: 2\na: 3\n", "key 'a' stands twice, in lines 1 and 3; leave one of them out"),
        ("x:\n  k: 1\n  k: 1\n", "key 'k' stands twice, in lines 2 and 3"),
        ("a: " + "x" * 2**20, "bytes are too many for a file of settings"),
        (
            "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 3000)),
            "aliases",
        ),
    ],
    ids=["bomb", "brackets", "braces", "itself", "digits", "twice", "inner", "large", "chain"],
)
def test_yaml_that_no_person_writes_is_refused_at_once_in_a_short_line(
    tmp_path: Path, text: str, message: str
) -> None:
    begun = time.process_time()
    with pytest.raises(UserError) as caught:
        read_yaml(yaml_file(tmp_path, text))
    assert message in str(caught.value)
    assert len(str(caught.value).removeprefix(str(tmp_path))) < 600
    assert "\n" not in str(caught.value)
    assert time.process_time() - begun < 5  # a hang, not a measurement


def test_aliases_that_people_use_are_read(tmp_path: Path) -> None:
    text = "base: &base {x: 1}\none: *base\ntwo: {<<: *base, y: 2}\n"
    assert read_yaml(yaml_file(tmp_path, text)) == {
        "base": {"x": 1},
        "one": {"x": 1},
        "two": {"x": 1, "y": 2},
    }
