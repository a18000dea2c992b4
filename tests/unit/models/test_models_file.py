import hashlib
from pathlib import Path

import pytest

from lanflow.core.errors import UserError
from lanflow.models.models_file import ModelsFile, at_hand
from lanflow.models.own.model import own_models
from tests.own_models import TEXT, models_file, write_models_file


def test_reading_a_file_runs_nothing(tmp_path: Path) -> None:
    file = ModelsFile.read(write_models_file(tmp_path, "raise SystemExit('run')\n"))
    assert (file.name, file.text) == ("my_model.py", "raise SystemExit('run')\n")
    assert file.sha256 == hashlib.sha256(file.text.encode()).hexdigest()


def test_a_file_is_at_hand_once_it_has_run() -> None:
    file = models_file(TEXT + "# a copy of this test\n")
    assert at_hand(file.sha256) is None
    own_models(file)
    assert at_hand(file.sha256) == file


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "my_model.py: defines no model; expected MODEL = {...}, or MODELS = ["),
        ("MODEL = 3\n", "my_model.py: MODEL is 3; expected MODEL = {...}"),
        ("MODELS = [{}, 3]\n", "my_model.py: MODELS[1] is 3; expected MODEL = {...}"),
        ("MODEL = (\n", "my_model.py:1: SyntaxError: '(' was never closed"),
        ("\nimport not_there\n", "my_model.py:2: ModuleNotFoundError: No module named 'not_there'"),
        ("def f():\n    1 / 0\nf()\n", "my_model.py:2: ZeroDivisionError: division by zero"),
        ("def MODEL(): return 1 / 0\n", "my_model.py: MODEL: ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)\n", "my_model.py:1: SystemExit: 3"),
    ],
)
def test_a_file_that_cannot_be_used_says_why_in_one_line(text: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        own_models(models_file(text))
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be read .No such file.*expected a models file"):
        ModelsFile.read(tmp_path / "none.py")
    (tmp_path / "x.py").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not a text file"):
        ModelsFile.read(tmp_path / "x.py")


@pytest.mark.parametrize(
    ("model", "is_there"),
    [
        ("exp_ramp", True),
        ("exp_ramp_deadline", True),
        ("ramp", True),
        ("exp_ram", False),
        ("v2", False),
    ],
)
def test_a_model_is_mentioned_by_its_whole_name(model: str, is_there: bool) -> None:
    assert models_file().mentions(model) == is_there
