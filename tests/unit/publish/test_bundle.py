import json
import tarfile
from pathlib import Path

import pytest

from lanflow.core.errors import UserError
from lanflow.data.prepare import PackedData
from lanflow.networks import folder as network_folder
from lanflow.publish.bundle import archive_bundle, bundle_files, write_bundle
from lanflow.training.run import train
from tests.conftest import training_options
from tests.evaluated import FAILED_GATE, judged, write_evaluation, write_network


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_network(tmp_path / "lan_torch")


@pytest.fixture
def files(folder: Path) -> dict[str, bytes]:
    return bundle_files(*judged(folder))


def content_of(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_the_network_is_where_hssm_looks_and_the_whole_set_where_lanfactory_does(
    folder: Path, files: dict[str, bytes]
) -> None:
    assert set(files) == {
        "ddm.onnx",
        "README.md",
        "manifest.json",
        "lan/ddm/README.md",
        "lan/ddm/card.json",
        "lan/ddm/config.json",
        "lan/ddm/evaluation.json",
        "lan/ddm/history.csv",
        "lan/ddm/model.onnx",
        "lan/ddm/training_data_lineage.json",
        "lan/ddm/validation_report.json",
    }
    assert files["ddm.onnx"] == files["lan/ddm/model.onnx"]
    assert files["ddm.onnx"] == (folder / "model.onnx").read_bytes()
    assert files["README.md"] == files["lan/ddm/README.md"]
    assert files["README.md"].startswith(b"---\nlicense: bsd-2-clause\n")
    for name in ("card.json", "config.json", "evaluation.json"):
        there = json.loads((folder / name).read_text())
        assert json.loads(files[f"lan/ddm/{name}"]) == there


def test_lanfactorys_report_and_list_say_the_same(folder: Path) -> None:
    write_evaluation(folder, gates=[FAILED_GATE])
    network, evaluation = judged(folder)
    files = bundle_files(network, evaluation)
    report = json.loads(files["lan/ddm/validation_report.json"])
    assert (report["schema_version"], report["passed"]) == (1, False)
    assert (report["model"], report["network_type"], report["aux_category"]) == ("ddm", "lan", None)
    (failed,) = (gate for gate in report["gates"] if not gate["passed"])
    assert (failed["gate"], failed["error"]) == (FAILED_GATE["name"], FAILED_GATE["reason"])
    (entry,) = json.loads(files["manifest.json"])["networks"]
    assert (entry["onnx_root"], entry["folder"]) == ("ddm.onnx", "lan/ddm")
    assert {f"lan/ddm/{name}" for name in entry["files"]} == {n for n in files if "/" in n}


def test_a_choice_network_has_hssms_name_for_it(tmp_path: Path) -> None:
    files = bundle_files(*judged(write_network(tmp_path / "cpn_torch", "cpn")))
    assert "ddm_cpn.onnx" in files
    assert "cpn/ddm/model.onnx" in files


def test_a_curve_is_packed_where_there_is_one(folder: Path) -> None:
    (folder / network_folder.CURVE).write_bytes(b"\x89PNG")
    assert bundle_files(*judged(folder))["lan/ddm/training_curve.png"] == b"\x89PNG"


def test_folders_of_the_machine_stay_at_home(files: dict[str, bytes]) -> None:
    lineage = json.loads(files["lan/ddm/training_data_lineage.json"])
    assert lineage["data_digest"] == "d" * 64
    assert lineage["data_gen_runs_info"] == [{"run_id": "r1"}]
    assert b"/home/" not in b"".join(files.values())


def test_a_network_that_failed_can_be_packed_and_says_so(folder: Path) -> None:
    write_evaluation(folder, gates=[FAILED_GATE])
    files = bundle_files(*judged(folder))
    assert b"did not pass its gates: density" in files["README.md"]


def test_what_a_training_left_is_packed(packed: PackedData, tmp_path: Path) -> None:
    keys = {"LAYER_SIZES": [[8, 1]], "ACTIVATIONS": [["tanh"]], "N_EPOCHS": 1}
    train(training_options(tmp_path, packed, keys=keys))
    folder = tmp_path / "networks" / "lan" / "ddm" / "net"
    write_evaluation(folder)
    files = bundle_files(*judged(folder))
    assert files["lan/ddm/training_curve.png"] == (folder / network_folder.CURVE).read_bytes()
    assert packed.data_set.digest.encode() in files["README.md"]
    lineage = json.loads(files["lan/ddm/training_data_lineage.json"])
    assert lineage["training_files"] == [f"training_data_{i}.pickle" for i in range(3)]
    home = str(packed.data_set.folder.parent.parent).encode()
    assert not [name for name, content in files.items() if home in content]


@pytest.mark.parametrize("name", [network_folder.CONFIG, network_folder.LINEAGE])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"has no {name}"):
        bundle_files(*judged(folder))


def test_a_damaged_lineage_is_named(folder: Path) -> None:
    (folder / network_folder.LINEAGE).write_text("{")
    with pytest.raises(UserError, match=r"training_data_lineage.json: not valid JSON"):
        bundle_files(*judged(folder))


def test_a_bundle_replaces_an_earlier_one_whole(tmp_path: Path, files: dict[str, bytes]) -> None:
    output = tmp_path / "bundle"
    write_bundle(files, output)
    assert content_of(output) == files
    fewer = {name: b"new" for name in files if name != "lan/ddm/history.csv"}
    with pytest.raises(UserError, match=r"not of this bundle \(lan/ddm/history.csv\)"):
        write_bundle(fewer, output)
    write_bundle(dict.fromkeys(files, b"new"), output)
    assert set(content_of(output).values()) == {b"new"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "lan_torch"]


def test_a_folder_with_other_things_in_it_is_not_touched(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    output = tmp_path / "home"
    output.mkdir()
    (output / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"not of this bundle \(thesis.tex\)"):
        write_bundle(files, output)
    assert content_of(output) == {"thesis.tex": b"years of work"}
    with pytest.raises(UserError, match="is a file"):
        write_bundle(files, output / "thesis.tex")


def test_a_failure_leaves_the_bundle_that_was_there(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    output = tmp_path / "bundle"
    write_bundle(files, output)
    impossible = {**files, "README.md/below-a-file": b""}
    with pytest.raises(OSError, match=r"README.md"):
        write_bundle(dict.fromkeys(impossible, b"new"), output)
    assert content_of(output) == files


def test_an_archive_has_the_same_bytes_for_the_same_network(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    for name in ("one", "two"):
        backwards = dict(reversed(files.items()))
        archive_bundle(files if name == "one" else backwards, tmp_path / name / "ddm.tar.gz")
    paths = [tmp_path / name / "ddm.tar.gz" for name in ("one", "two")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    archive_bundle(files, paths[0])  # an earlier one is replaced
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with tarfile.open(paths[0]) as archive:
        assert {member.mtime for member in archive} == {0}
        archive.extractall(tmp_path / "out", filter="data")
    assert content_of(tmp_path / "out" / "ddm") == files
