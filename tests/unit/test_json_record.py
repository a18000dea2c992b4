from pathlib import Path

import pytest

from lanflow.errors import UserError
from lanflow.json_record import read_record


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read (No such file or directory)"),
        ("{", "damaged, not valid JSON"),
        (b"\xff\xfe", "damaged, not valid JSON"),
        ("[]", "expected keys and values, found list"),
        ("{}", "record_version is None, this lanflow reads 1"),
        ('{"record_version": 2}', "record_version is 2, this lanflow reads 1"),
    ],
)
def test_a_record_that_cannot_be_used_is_named(
    tmp_path: Path, content: str | bytes | None, said: str
) -> None:
    path = tmp_path / "record.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        read_record(path, "record_version", 1)
    assert str(caught.value).startswith(f"{path}: {said}")


def test_a_record_of_the_right_version_is_read(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('{"record_version": 1, "x": [1]}')
    assert read_record(tmp_path / "r.json", "record_version", 1)["x"] == [1]
