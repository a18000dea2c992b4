import json
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanflow.core.errors import UserError
from lanflow.core.progress import Progress
from lanflow.data.dataset import DataSet, open_data_set
from lanflow.data.locate import Places
from lanflow.data.manifest import Manifest
from lanflow.data.packing import materialise
from lanflow.data.prepare import freeze
from tests.conftest import sha256, training_file_content, write_training_file


@pytest.fixture
def packed(tmp_path: Path) -> DataSet:
    content = training_file_content(n_sets=4, n_per_set=5)
    for key in ("opn_data", "opn_labels"):
        del content[key]
    write_training_file(tmp_path / "files/1.pickle", content)
    return materialise(manifest_of(tmp_path / "files"), tmp_path / "packed")


def test_arrays_are_mapped_float32_with_the_index_of_the_set_of_each_row(packed: DataSet) -> None:
    for kind, dtype, shape in (
        ("features", np.float32, (20, 6)),
        ("labels", np.float32, (20, 1)),
        ("sets", np.int32, (20,)),
    ):
        array = packed.array("lan", kind)
        assert isinstance(array, np.memmap)
        assert (array.dtype, array.shape) == (dtype, shape)
        assert array.flags.c_contiguous
        assert not array.flags.writeable


def test_a_network_type_that_the_files_do_not_hold_is_refused_with_those_they_do(
    packed: DataSet,
) -> None:
    with pytest.raises(UserError) as caught:
        packed.array("opn", "features")
    assert str(caught.value) == (
        f"{packed.folder}/data_set.json: no opn data in these training files "
        "(they hold: lan, cpn, gonogo)"
    )


def test_an_array_that_is_gone_or_damaged_is_named(packed: DataSet) -> None:
    path = packed.folder / "arrays" / "lan_labels.npy"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UserError, match=rf"^{path}: cannot be read \(.*materialise the data again"):
        packed.array("lan", "labels")
    path.unlink()
    with pytest.raises(UserError, match=rf"^{path}: cannot be read \(.*materialise the data again"):
        packed.array("lan", "labels")


def test_a_data_set_can_be_moved(packed: DataSet, tmp_path: Path) -> None:
    packed.folder.rename(tmp_path / "moved")
    moved = open_data_set(tmp_path / "moved")
    assert moved.array("cpn", "labels").shape == (4, 1)


@pytest.mark.parametrize("content", [None, "", "{", "[]", "3", "\x00"])
def test_a_folder_without_a_readable_record_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "data_set.json").write_text(content)
    with pytest.raises(UserError, match=rf"^{tmp_path}: not a packed data set"):
        open_data_set(tmp_path)


def change_record(packed: DataSet, **keys: Any) -> None:
    path = packed.folder / "data_set.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


@pytest.mark.parametrize("version", [0, 1, None, "2"])
def test_a_record_of_another_version_is_refused(packed: DataSet, version: Any) -> None:
    change_record(packed, data_set_version=version)
    with pytest.raises(UserError, match=r"data_set\.json: version .*, this lanflow reads 2"):
        open_data_set(packed.folder)


@pytest.mark.parametrize(
    "keys",
    [{"more": 1}, {"files": [{"name": "x"}]}, {"bounds": {"v": [1]}}, {"shapes": 3}, {"files": 3}],
    ids=str,
)
def test_a_record_that_was_edited_is_named(packed: DataSet, keys: dict[str, Any]) -> None:
    change_record(packed, **keys)
    with pytest.raises(UserError, match=r"data_set\.json: damaged .*materialise it again"):
        open_data_set(packed.folder)


def test_a_record_without_a_key_is_named(packed: DataSet) -> None:
    path = packed.folder / "data_set.json"
    record = json.loads(path.read_text())
    del record["files"]
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"data_set\.json: damaged \(files: .*materialise it again"):
        open_data_set(packed.folder)


KINDS = ("lan", "cpn", "opn", "gonogo")


def manifest_of(folder: Path) -> Manifest:
    """The manifest of a folder, as it reads back from disk."""
    manifest = freeze(query=None, places=Places(folder=folder), model=None)
    return Manifest.model_validate(json.loads(json.dumps(manifest.model_dump())))


def content_of(folder: Path) -> list[dict[str, Any]]:
    return [pickle.loads(path.read_bytes()) for path in sorted(folder.glob("*.pickle"))]


def assert_packed(data_set: DataSet, contents: list[dict[str, Any]]) -> None:
    """The arrays are those of the files, one behind the other."""
    for kind in KINDS:
        features = np.concatenate([content[f"{kind}_data"] for content in contents])
        labels = np.concatenate([content[f"{kind}_labels"] for content in contents])
        labels = labels.reshape(len(labels), -1)
        np.testing.assert_array_equal(data_set.array(kind, "features"), features)
        np.testing.assert_array_equal(data_set.array(kind, "labels"), labels)
        assert data_set.shapes[kind] == (len(features), features.shape[1], labels.shape[1])


def test_the_arrays_are_those_of_the_files_one_behind_the_other(
    folder_of_files: Path, tmp_path: Path
) -> None:
    manifest = manifest_of(folder_of_files)
    data_set = materialise(manifest, tmp_path / "packed")
    assert_packed(data_set, content_of(folder_of_files))
    assert (data_set.digest, data_set.model) == (manifest.digest, "ddm")
    assert data_set.parameters == ("v", "a", "z", "t")
    assert data_set.bounds["a"] == (0.3, 2.5)
    assert data_set.n_sets == 30


@settings(deadline=None, max_examples=15)
@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=4
    )
)
def test_files_of_any_length_and_with_shared_vectors_are_packed(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[int, int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("files")
    for i, (n_sets, n_per_set, seed) in enumerate(files):
        # A note makes files of equal arrays different files.
        content = training_file_content(seed=seed, n_sets=n_sets, n_per_set=n_per_set)
        write_training_file(folder / f"{i}.pickle", {**content, "note": i})
    data_set = materialise(manifest_of(folder), folder / "packed")
    contents = content_of(folder)
    assert_packed(data_set, contents)
    distinct = {row.tobytes() for content in contents for row in content["theta"]}
    assert data_set.n_sets == len(distinct)
    for kind in KINDS:
        theta = np.asarray(data_set.array(kind, "features"))[:, :4]
        sets = np.asarray(data_set.array(kind, "sets"))
        vector_of_set = {index: row.tobytes() for index, row in zip(sets, theta, strict=True)}
        assert len(vector_of_set) == len(set(vector_of_set.values())) == len(distinct)
        assert [vector_of_set[index] for index in sets] == [row.tobytes() for row in theta]


def test_equal_vectors_share_an_index_across_files_and_network_types(tmp_path: Path) -> None:
    first = training_file_content(seed=1, n_sets=4, n_per_set=3)
    second = training_file_content(seed=2, n_sets=4, n_per_set=3)
    # The second file repeats two vectors of the first, in another order, and one of its own.
    theta = np.stack([first["theta"][2], second["theta"][0], first["theta"][0], second["theta"][0]])
    second["theta"] = second["cpn_data"] = second["opn_data"] = second["gonogo_data"] = theta
    second["lan_data"][:, :4] = np.repeat(theta, 3, axis=0)
    write_training_file(tmp_path / "files/1.pickle", first)
    write_training_file(tmp_path / "files/2.pickle", second)
    data_set = materialise(manifest_of(tmp_path / "files"), tmp_path / "packed")
    assert data_set.n_sets == 5
    assert data_set.array("cpn", "sets").tolist() == [0, 1, 2, 3, 2, 4, 0, 4]
    assert data_set.array("lan", "sets").tolist() == np.repeat([0, 1, 2, 3, 2, 4, 0, 4], 3).tolist()


def test_minus_zero_is_the_same_parameter_as_zero(tmp_path: Path) -> None:
    for i, zero in enumerate((0.0, -0.0)):
        content = training_file_content(n_sets=2, n_per_set=2)
        for kind in KINDS:
            content[f"{kind}_data"][:, :4] = [zero, 1, 0.5, 0.5]
        write_training_file(tmp_path / f"files/{i}.pickle", content)
    assert materialise(manifest_of(tmp_path / "files"), tmp_path / "packed").n_sets == 1


def test_the_record_says_which_rows_each_file_gave(folder_of_files: Path, tmp_path: Path) -> None:
    write_training_file(folder_of_files / "training_data_3.pickle", seed=9, n_sets=2, n_per_set=7)
    data_set = materialise(manifest_of(folder_of_files), tmp_path / "packed")
    assert [file.name for file in data_set.files] == [f"training_data_{i}.pickle" for i in range(4)]
    assert [file.rows["lan"] for file in data_set.files] == [
        (0, 200),
        (200, 200),
        (400, 200),
        (600, 14),
    ]
    assert [file.rows["cpn"] for file in data_set.files] == [(0, 10), (10, 10), (20, 10), (30, 2)]


def test_what_is_opened_is_what_was_packed(folder_of_files: Path, tmp_path: Path) -> None:
    packed = materialise(manifest_of(folder_of_files), tmp_path / "packed")
    opened = open_data_set(tmp_path / "packed")
    assert (opened.digest, opened.n_sets, opened.parameters) == (
        packed.digest,
        packed.n_sets,
        packed.parameters,
    )
    assert dict(opened.shapes) == dict(packed.shapes)
    assert dict(opened.bounds) == dict(packed.bounds)
    assert [file.name for file in opened.files] == [file.name for file in packed.files]
    assert_packed(opened, content_of(folder_of_files))


def test_packing_twice_gives_the_same_bytes(folder_of_files: Path, tmp_path: Path) -> None:
    manifest = manifest_of(folder_of_files)
    for name in ("one", "two"):
        materialise(manifest, tmp_path / name)
    for path in (tmp_path / "one").rglob("*.*"):
        assert (
            path.read_bytes()
            == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
        )


def test_progress_is_told_after_each_file(
    folder_of_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    manifest = manifest_of(folder_of_files)
    monkeypatch.setattr(Progress, "advance", lambda _: calls.append(1))
    materialise(manifest, tmp_path / "packed")
    assert len(calls) == 3


def test_a_file_whose_content_changed_is_refused(folder_of_files: Path, tmp_path: Path) -> None:
    manifest = manifest_of(folder_of_files)
    path = write_training_file(folder_of_files / "training_data_1.pickle", seed=99)
    with pytest.raises(UserError) as caught:
        materialise(manifest, tmp_path / "packed")
    assert str(caught.value).startswith(f"{path}: its content is not what the manifest froze")
    assert "refresh the manifest" in str(caught.value)


def test_a_file_that_is_gone_is_named(folder_of_files: Path, tmp_path: Path) -> None:
    manifest = manifest_of(folder_of_files)
    (folder_of_files / "training_data_2.pickle").unlink()
    with pytest.raises(UserError, match=r"training_data_2\.pickle: cannot be read .* lists it"):
        materialise(manifest, tmp_path / "packed")


def with_model_config(**keys: Any) -> dict[str, Any]:
    content = training_file_content(seed=5)
    content["model_config"] |= keys
    return content


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (with_model_config(name="angle"), "model angle, the data set's first file has ddm"),
        (with_model_config(params=["v", "a", "t", "z"]), "parameters ['v', 'a', 't', 'z'], the"),
        (
            with_model_config(param_bounds=[[-9, 0.3, 0.1, 0], [3, 2.5, 0.9, 2]]),
            "bounds {'v': [-9.0, 3.0], ",
        ),
    ],
    ids=["model", "parameters", "bounds"],
)
def test_a_file_of_another_model_is_refused(
    folder_of_files: Path, tmp_path: Path, content: dict[str, Any], said: str
) -> None:
    path = write_training_file(folder_of_files / "z.pickle", content)
    with pytest.raises(UserError) as caught:
        materialise(manifest_of(folder_of_files), tmp_path / "packed")
    assert str(caught.value).startswith(f"{path}: {said}")
    assert str(caught.value).endswith("these files do not belong together")


def test_files_with_different_numbers_of_outputs_are_refused(
    folder_of_files: Path, tmp_path: Path
) -> None:
    content = training_file_content(seed=5)
    content["cpn_labels"] = np.full((10, 3), 0.25, dtype="f4")
    path = write_training_file(folder_of_files / "z.pickle", content)
    with pytest.raises(UserError) as caught:
        materialise(manifest_of(folder_of_files), tmp_path / "packed")
    assert str(caught.value).startswith(
        f"{path}: its cpn arrays have 3 columns, those of the files"
    )


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_a_damaged_file_anywhere_is_named(
    folder_of_files: Path, tmp_path: Path, place: str
) -> None:
    paths = sorted(folder_of_files.iterdir())
    manifest = manifest_of(folder_of_files)
    i = ("first", "middle", "last").index(place)
    paths[i].write_bytes(paths[i].read_bytes()[:-100])
    frozen = {"sha256": sha256(paths[i]), "size_bytes": paths[i].stat().st_size}
    manifest.files[i] = manifest.files[i].model_copy(update=frozen)
    with pytest.raises(UserError, match=rf"^{paths[i]}: not a readable training file"):
        materialise(manifest, tmp_path / "packed")


@pytest.mark.parametrize("error", [UserError, KeyboardInterrupt])
def test_packing_that_is_interrupted_leaves_nothing_behind(
    folder_of_files: Path,
    tmp_path: Path,
    error: type[BaseException],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []
    manifest = manifest_of(folder_of_files)

    def interrupt(_: Progress) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise error

    monkeypatch.setattr(Progress, "advance", interrupt)
    with pytest.raises(error):
        materialise(manifest, tmp_path / "packed")
    assert list(tmp_path.iterdir()) == [folder_of_files]


def test_packing_that_fails_leaves_the_data_set_that_was_there(
    folder_of_files: Path, tmp_path: Path
) -> None:
    manifest = manifest_of(folder_of_files)
    before = materialise(manifest, tmp_path / "packed")
    write_training_file(folder_of_files / "training_data_1.pickle", seed=99)
    with pytest.raises(UserError):
        materialise(manifest, tmp_path / "packed")
    assert open_data_set(tmp_path / "packed").digest == before.digest
    assert sorted(tmp_path.iterdir()) == [folder_of_files, tmp_path / "packed"]


def test_memory_holds_one_file_at_a_time(tmp_path: Path) -> None:
    for i in range(8):
        path = write_training_file(
            tmp_path / f"files/{i}.pickle", seed=i, n_sets=20, n_per_set=2000
        )
    manifest = manifest_of(tmp_path / "files")
    tracemalloc.start()
    try:
        materialise(manifest, tmp_path / "packed")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * path.stat().st_size
