import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lanflow.core.errors import UserError
from lanflow.evaluation.record import Evaluation, NotPassedError
from lanflow.networks.network import Network
from lanflow.publish.bundle import bundle_files
from lanflow.publish.hub import HubError, Listing, Plan, describe_plan, plan_upload, publish
from tests.evaluated import FAILED_GATE, judged, write_evaluation, write_network
from tests.hub import WRITER, Hub

REPO = "lab/networks"
Judged = tuple[Network, Evaluation]

# The library's own, of its call to httpx.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def network(tmp_path: Path) -> Judged:
    return judged(write_network(tmp_path / "lan_torch"))


@pytest.fixture
def other(tmp_path: Path) -> Judged:
    return judged(write_network(tmp_path / "lan_jax", seed=1))


@pytest.fixture(autouse=True)
def _writer(token: Callable[..., None]) -> None:
    token(WRITER)


def test_everything_is_new_in_an_empty_repository(
    hub: Hub, network: Judged, capsys: pytest.CaptureFixture[str]
) -> None:
    result = publish(*network, REPO, licence="cc-by-4.0")
    assert hub.files == bundle_files(*network, licence="cc-by-4.0", repo=REPO)
    (commit,) = hub.commits
    assert commit["paths"] == result.plan.new == sorted(hub.files)
    assert commit["summary"].startswith(f"ddm lan {network[0].sha256[:12]} (lanflow ")
    assert result.plan.changed == result.plan.same == []
    assert result.commit == f"{hub.url}/{REPO}/commit/{hub.head}"
    shown = capsys.readouterr().err
    assert f"{hub.url}/{REPO}\n" in shown
    assert "  new      ddm.onnx\n" in shown
    assert f'hf_hub_download("{REPO}", "ddm.onnx")'.encode() in hub.files["README.md"]


def test_a_dry_run_shows_and_sends_nothing(
    hub: Hub, network: Judged, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.files["ddm.onnx"] = b"another"
    result = publish(*network, REPO, dry_run=True)
    assert hub.files == {"ddm.onnx": b"another"}
    assert not [asked for asked in hub.asked if not asked.startswith("GET ")]
    assert (result.plan.changed, result.commit) == (["ddm.onnx"], None)
    assert "  changed  ddm.onnx\n" in capsys.readouterr().err


def test_a_dry_run_needs_neither_a_repository_nor_a_hub(
    hub: Hub,
    network: Judged,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for repo, endpoint, said in (
        ("nobody/nothing", hub.url, "is not there, or this token may not see it"),
        (REPO, "http://127.0.0.1:1", "no answer from the hub"),
    ):
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
        result = publish(*network, repo, dry_run=True)
        assert "ddm.onnx" in result.plan.new
        assert "  new      ddm.onnx\n" in capsys.readouterr().err
        assert f"not compared with the repository: {endpoint}/{repo}" in caplog.text
        assert said in caplog.text
        with pytest.raises(HubError, match=said):
            publish(*network, repo)
        caplog.clear()


def test_what_is_there_already_is_not_uploaded_again(hub: Hub, network: Judged) -> None:
    publish(*network, REPO)
    files = dict(hub.files)
    result = publish(*network, REPO)
    assert result.plan.same == sorted(files)
    assert (result.plan.new, result.plan.changed, result.commit) == ([], [], None)
    assert len(hub.commits) == 1
    del hub.files["ddm.onnx"]
    publish(*network, REPO)
    assert hub.commits[-1]["paths"] == ["ddm.onnx"]
    assert hub.files == files


def test_files_that_would_change_are_left_without_consent(
    hub: Hub, network: Judged, other: Judged
) -> None:
    publish(*network, REPO)
    before = dict(hub.files)
    asked: list[str] = []

    def refuse(question: str) -> bool:
        asked.append(question)
        return False

    for confirm in (None, refuse):
        with pytest.raises(UserError, match=r"8 file\(s\) of .* would change: README.md, .*--over"):
            publish(*other, REPO, confirm=confirm)
        assert hub.files == before
    assert asked == [f"change 8 file(s) of {hub.url}/{REPO}?"]


@pytest.mark.parametrize("by", ["option", "answer"])
def test_with_consent_files_change_in_one_commit(
    hub: Hub, network: Judged, other: Judged, by: str
) -> None:
    publish(*network, REPO)
    hub.files["notes.txt"] = b"stays"
    confirm = None if by == "option" else lambda _: True
    result = publish(*other, REPO, overwrite=by == "option", confirm=confirm)
    assert hub.files == {**bundle_files(*other, repo=REPO), "notes.txt": b"stays"}
    assert hub.commits[-1]["paths"] == result.plan.changed
    assert "lan/ddm/history.csv" in result.plan.same


def test_new_files_need_no_consent(hub: Hub, network: Judged) -> None:
    hub.files["angle.onnx"] = b"another model"
    publish(*network, REPO)
    assert hub.files["angle.onnx"] == b"another model"


def test_a_repository_of_several_networks_keeps_its_card(hub: Hub, network: Judged) -> None:
    hub.files["README.md"] = b"# All networks of the lab"
    result = publish(*network, REPO, keep_readme=True)
    assert result.plan.kept == ["README.md"]
    assert hub.files["README.md"] == b"# All networks of the lab"
    assert hub.files["lan/ddm/README.md"].startswith(b"---\n")


def test_the_list_of_networks_at_the_root_keeps_what_others_published(
    hub: Hub, network: Judged
) -> None:
    theirs = {"model": "angle", "network_type": "lan", "onnx_root": "angle.onnx", "n": 1}
    old = {**theirs, "model": "ddm", "onnx_root": "old.onnx"}
    manifest = {"schema_version": 1, "networks": [theirs, old], "other": "stays"}
    hub.files["manifest.json"] = json.dumps(manifest).encode()
    result = publish(*network, REPO)  # without consent: nothing of others changes
    assert result.plan.added_to == ["manifest.json"]
    written = json.loads(hub.files["manifest.json"])
    assert written["networks"][0] == theirs
    assert written["networks"][1]["onnx_root"] == "ddm.onnx"
    assert written["other"] == "stays"
    again = publish(*network, REPO)
    assert "manifest.json" in again.plan.same
    assert again.commit is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[]", "manifest.json is no list of networks in LANfactory's form; nothing was uploaded"),
        (b"{", "manifest.json is no list of networks in LANfactory's form; nothing was uploaded"),
        (b'{"schema_version": 2}', "manifest.json has schema_version 2, and this lanflow writes 1"),
    ],
)
def test_a_list_that_cannot_be_added_to_ends_the_upload(
    hub: Hub, network: Judged, content: bytes, said: str
) -> None:
    hub.files["manifest.json"] = content
    with pytest.raises(UserError, match=said):
        publish(*network, REPO, overwrite=True)
    assert hub.files == {"manifest.json": content}


def test_what_did_not_pass_never_reaches_the_hub(hub: Hub, network: Judged) -> None:
    write_evaluation(network[0].own_folder, gates=[FAILED_GATE])
    with pytest.raises(NotPassedError, match="did not pass its gates: density"):
        publish(*judged(network[0].own_folder), REPO, dry_run=True, overwrite=True)
    assert hub.asked == []


def test_a_plan_in_words() -> None:
    plan = plan_upload({"a": b"1", "README.md": b"2"}, Listing("c", {}), keep_readme=True)
    assert plan == Plan(new=["README.md", "a"], changed=[], same=[], kept=[])
    assert describe_plan(Plan(["a"], ["b"], ["c"], ["d"]), "hub/x") == (
        "hub/x\n  new      a\n  changed  b\n  same     c\n  kept     d\n"
    )
