import errno
import fcntl
import json
import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanflow.core.errors import UserError
from lanflow.core.files import (
    create_once,
    explain_os_error,
    name_in_errors,
    read_record,
    remove_leftovers,
    replace_folder,
    write_bytes,
    write_json,
    write_text,
)

OWN = ("file", "old", "new")


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_bytes(path, b"content")
    assert path.read_bytes() == b"content"


def test_an_existing_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old and longer")
    write_text(path, "new é")
    assert path.read_bytes() == "new é".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_that_opened_the_old_file_keeps_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    with path.open() as reader:
        write_text(path, "new")
        assert reader.read() == "old"


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(TypeError):
        write_bytes(path, "text is not bytes")  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_target_that_cannot_be_replaced_leaves_no_temporary_file(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(OSError, match="folder"):
        write_text(folder, "content")
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o007, 0o660, 0o770)]
)
def test_files_and_folders_have_the_permissions_that_the_umask_says(
    tmp_path: Path, umask: int, file: int, folder: int
) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "file", "content")
        with replace_folder(tmp_path / "folder", OWN, what="this test"):
            pass
    finally:
        os.umask(before)
    assert permissions(tmp_path / "file") == file
    assert permissions(tmp_path / "folder") == folder


def test_two_writers_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "a" * 10_000)
    with ThreadPoolExecutor(2) as pool:
        writers = [
            pool.submit(write_text, path, letter * 10_000) for _ in range(50) for letter in "ab"
        ]
        seen = {path.read_text()}
        while not all(writer.done() for writer in writers):
            seen.add(path.read_text())
    assert seen <= {"a" * 10_000, "b" * 10_000}
    assert list(tmp_path.iterdir()) == [path]


def leave(path: Path, content: str = "half") -> Path:
    """A temporary file for a path, as a process leaves it that is killed."""
    left = path.with_name(f".{path.name}.{'0123456789abcdef'}")
    left.write_text(content)
    return left


def test_what_a_killed_process_left_of_a_file_is_removed_by_the_next_to_write_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "file"
    leave(path)
    others = [leave(tmp_path / "another"), tmp_path / ".file.0123", tmp_path / ".file.orig"]
    for other in others:
        other.write_text("of another")
    write_text(path, "new")
    assert sorted(tmp_path.iterdir()) == sorted([path, *others])


def test_a_temporary_file_that_a_process_still_writes_is_left(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with leave(path).open() as in_use:
        fcntl.flock(in_use, fcntl.LOCK_EX)
        write_text(path, "new")
        assert len(list(tmp_path.iterdir())) == 2
    remove_leftovers(tmp_path, ["file"])
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_whose_temporary_file_was_taken_for_a_leftover_writes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    opened, removed = Path.open, []

    def open_and_lose(self: Path, *arguments: Any, **keys: Any) -> Any:
        file = opened(self, *arguments, **keys)
        if not removed:
            removed.append(self)
            remove_leftovers(tmp_path, ["file"])
        return file

    monkeypatch.setattr(Path, "open", open_and_lose)
    write_text(path, "new")
    assert path.read_bytes() == b"new"
    assert len(removed) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_copies_of_a_folder_that_killed_processes_left_are_removed(tmp_path: Path) -> None:
    for place in (tmp_path / "folder", tmp_path / "other"):
        left = place.with_name(f".{place.name}.0123456789abcdef")
        left.mkdir()
        (left / "file").write_text("half")
    with replace_folder(tmp_path / "folder", OWN, what="this test") as fresh:
        remove_leftovers(tmp_path, ["folder"])  # another process does not take it away
        (fresh / "file").write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.0123456789abcdef", "folder"]


def test_a_hidden_copy_of_a_database_is_removed_when_the_database_is_opened(
    tmp_path: Path,
) -> None:
    path = tmp_path / "file.db"
    path.write_text("whole")
    journal = leave(path).with_name(".file.db.0123456789abcdef-journal")
    journal.write_text("half")
    create_once(path, lambda fresh: pytest.fail("it is there"))
    assert list(tmp_path.iterdir()) == [path]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(deadline=None, max_examples=50)
@given(JSON)
def test_json_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, content: object
) -> None:
    path = tmp_path_factory.mktemp("json") / "file.json"
    write_json(path, content)
    text = path.read_text(encoding="utf-8")
    assert json.loads(text) == content
    assert text.endswith("\n")


def test_content_that_json_cannot_hold_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}


def test_a_folder_appears_whole_at_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "folder"
    with replace_folder(folder, OWN, what="this test") as fresh:
        (fresh / "file").write_text("content")
        assert not folder.exists()
        assert fresh.parent == folder.parent
    assert (folder / "file").read_text() == "content"
    assert list(folder.parent.iterdir()) == [folder]


def test_a_new_folder_takes_the_whole_place_of_the_old(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for name in ("old", "new"):
        with replace_folder(folder, OWN, what="this test") as fresh:
            (fresh / name).touch()
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_folder_that_could_not_be_filled_leaves_the_old_one(
    tmp_path: Path, error: type[BaseException]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "old").touch()

    def fill() -> None:
        with replace_folder(folder, OWN, what="this test") as fresh:
            (fresh / "new").touch()
            raise error

    with pytest.raises(error):
        fill()
    assert [path.name for path in folder.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [folder]


def test_the_old_folder_comes_back_if_the_new_one_cannot_take_its_place(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "old").touch()
    with pytest.raises(FileNotFoundError), replace_folder(folder, OWN, what="this test") as fresh:
        fresh.rmdir()
    assert [path.name for path in folder.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_file_that_came_into_the_old_folder_meanwhile_is_not_lost(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with (
        pytest.raises(UserError, match=r"not of this test \(thesis.txt\)"),
        replace_folder(folder, OWN, what="this test"),
    ):
        (folder / "thesis.txt").touch()
    assert list(tmp_path.rglob("*")) == [folder, folder / "thesis.txt"]


def test_a_link_to_a_folder_stays_one(tmp_path: Path) -> None:
    large, link = tmp_path / "large disk" / "folder", tmp_path / "link"
    large.mkdir(parents=True)
    (large / "old").touch()
    link.symlink_to(large)
    with replace_folder(link, OWN, what="this test") as fresh:
        (fresh / "new").touch()
    assert link.readlink() == large
    assert [path.name for path in large.iterdir()] == ["new"]
    assert sorted(tmp_path.iterdir()) == [large.parent, link]


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


def test_a_file_that_cannot_be_written_is_named_as_a_person_knows_it(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    for path in (tmp_path / "taken" / "x.json", Path("/proc/x.json"), tmp_path / ("n" * 300)):
        with pytest.raises(OSError) as caught:
            write_text(path, "content")
        message = explain_os_error(caught.value)
        assert message.startswith((str(path), str(path.parent))), message
        assert "\n" not in message
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_where_there_is_no_room_the_message_says_how_much_there_is() -> None:
    with pytest.raises(OSError) as caught, name_in_errors(Path("/dev/full")):
        Path("/dev/full").write_text("x")
    message = explain_os_error(caught.value)
    told = r"/dev/full: No space left on device; [\d,.]+ MiB are free on the disk of /dev"
    assert re.match(told, message)


def test_errors_in_what_is_being_filled_name_what_it_becomes(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError) as caught,
        replace_folder(tmp_path / "d", ["*"], what="a test") as fresh,
    ):
        (fresh / "missing" / "x").write_text("")
    assert caught.value.filename == str(tmp_path / "d" / "missing" / "x")
    assert list(tmp_path.iterdir()) == []


def test_names_that_cannot_be_shown_are_escaped() -> None:
    error = PermissionError(errno.EACCES, "Permission denied", "/x\n\udcff")
    assert explain_os_error(error).startswith(r"'/x\n\udcff': Permission denied; name another")
