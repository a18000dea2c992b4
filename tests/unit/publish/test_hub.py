import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lanflow.core.errors import UserError
from lanflow.publish.hub import HubError, RemoteFile, Repository
from tests.hub import READER, WRITER, Hub

REPO = "lab/networks"

# The library's own, of its call to httpx.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def test_files_are_listed_with_what_tells_their_content(
    hub: Hub, token: Callable[..., None]
) -> None:
    hub.files |= {"README.md": b"# ddm", "lan/ddm/model.onnx": b"large"}
    listing = Repository(REPO).list_files()
    assert listing.commit == hub.head
    assert set(listing.files) == {"README.md", "lan/ddm/model.onnx"}
    for path, content in hub.files.items():
        assert listing.files[path].is_same(content)
        assert not listing.files[path].is_same(content + b"!")
    assert listing.files["README.md"].sha256 is None
    assert listing.files["lan/ddm/model.onnx"].sha256 is not None


def test_gits_digest_of_a_file() -> None:
    # printf 'hello\n' | git hash-object --stdin
    assert RemoteFile("ce013625030ba8dba906f756967f9e9ca394464a").is_same(b"hello\n")


def test_files_are_added_and_replaced_in_one_commit(hub: Hub, token: Callable[..., None]) -> None:
    token(WRITER)
    hub.files |= {"README.md": b"old", "other.txt": b"stays"}
    files = {"README.md": b"---\nlicense: mit\n---\nnew", "ddm.onnx": b"x", "lan/ddm/a.onnx": b"x"}
    repository = Repository(REPO)
    address = repository.commit(files, message="ddm", parent=repository.list_files().commit)
    assert hub.files == {**files, "other.txt": b"stays"}
    assert hub.commits == [{"summary": "ddm", "paths": sorted(files)}]
    assert address == f"{hub.url}/{REPO}/commit/{hub.head}"


def test_without_a_token_nothing_is_sent(hub: Hub, token: Callable[..., None]) -> None:
    with pytest.raises(HubError, match=r"there is no token for http.*set HF_TOKEN, or log in"):
        Repository(REPO).commit({"a": b""}, message="m", parent=hub.head)
    assert hub.asked == []


def test_a_login_of_the_library_counts(
    hub: Hub, token: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(WRITER)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    Repository(REPO).commit({"a": b"b"}, message="m", parent=hub.head)
    assert hub.files == {"a": b"b"}
    assert hub.tokens == {WRITER}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (READER, "this token may not write there"),
        ("hf_expired000000000", "the token is not accepted; set HF_TOKEN"),
    ],
)
def test_a_token_that_does_not_suffice_is_named_but_not_shown(
    hub: Hub, token: Callable[..., None], given: str, message: str
) -> None:
    token(given)
    with pytest.raises(HubError, match=message) as error:
        Repository(REPO).commit({"a": b""}, message="m", parent=hub.head)
    assert given not in str(error.value)
    assert hub.commits == []


def test_a_repository_that_is_not_there_is_named(hub: Hub, token: Callable[..., None]) -> None:
    with pytest.raises(HubError, match=r"lab/none is not there.*hf repos create lab/none"):
        Repository("lab/none").list_files()
    hub.is_private = True
    with pytest.raises(HubError, match=r"lab/networks is not there, or this token may not see it"):
        Repository(REPO).list_files()
    token(READER)
    assert Repository(REPO).list_files().files == {}


def test_a_repository_that_changed_in_the_meantime_is_left_as_it_is(
    hub: Hub, token: Callable[..., None]
) -> None:
    token(WRITER)
    hub.before_commit = lambda: hub.files.update({"a": b"of somebody else"})
    with pytest.raises(HubError, match="has changed in the meantime; run the same command again"):
        Repository(REPO).commit({"a": b"mine"}, message="m", parent=hub.head)
    assert hub.files == {"a": b"of somebody else"}


def test_without_a_network_the_hub_is_named(
    monkeypatch: pytest.MonkeyPatch, token: Callable[..., None]
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://user:secret@127.0.0.1:{nobody.getsockname()[1]}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        with pytest.raises(HubError, match=r"lab/networks: no answer from the hub") as error:
            Repository(REPO).list_files()
    assert "secret" not in str(error.value)


def test_a_refusal_that_nobody_foresaw_is_passed_on(hub: Hub, token: Callable[..., None]) -> None:
    token(WRITER)
    with pytest.raises(HubError, match=r"Invalid metadata in README.md|the hub refuses"):
        Repository(REPO).commit({"README.md": b"no card"}, message="m", parent=hub.head)


def test_an_upload_that_breaks_off_leaves_the_repository(
    hub: Hub, token: Callable[..., None]
) -> None:
    token(WRITER)
    hub.takes_large_files = False
    with pytest.raises(HubError, match=r"the hub refuses \(Bad request"):
        Repository(REPO).commit({"a.onnx": b"x", "b": b"y"}, message="m", parent=hub.head)
    assert hub.files == {}


def test_without_the_library_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install lanflow\[publish\]"):
        Repository(REPO)
