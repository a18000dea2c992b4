from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanflow.core.errors import UserError
from lanflow.data.dataset import DataSet
from lanflow.data.locate import Places
from lanflow.data.packing import materialise
from lanflow.data.prepare import freeze
from lanflow.training import split as training_split
from lanflow.training.split import RowRanges, Split, ranges_of_equal, split_rows, stream
from tests.conftest import training_file_content, write_training_file


def pack(folder: Path, contents: list[dict[str, Any]]) -> DataSet:
    for i, content in enumerate(contents):
        write_training_file(folder / f"files/{i:03}.pickle", {**content, "note": i})
    manifest = freeze(query=None, places=Places(folder=folder / "files"), model=None)
    return materialise(manifest, folder / "packed")


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """Six files; the last two repeat the vectors of the first."""
    contents = [training_file_content(seed=seed, n_sets=10, n_per_set=6) for seed in range(4)]
    repeats = [training_file_content(seed=0, n_sets=10, n_per_set=n) for n in (2, 3)]
    return pack(tmp_path_factory.mktemp("data"), contents + repeats)


def split_of(data_set: DataSet, **keys: Any) -> Split:
    settings = {"n_files": 100, "train_share": 0.8, "seed": 1, **keys}
    return split_rows(data_set, settings.pop("network_type", "lan"), **settings)


def vectors(data_set: DataSet, rows: np.ndarray) -> set[bytes]:
    """Parameter vectors of rows, from the features themselves."""
    theta = np.asarray(data_set.array("lan", "features"))[rows, :4]
    return {row.tobytes() for row in theta}


def test_no_parameter_vector_is_on_both_sides_and_no_row_is_lost(data_set: DataSet) -> None:
    split = split_of(data_set)
    train, val = vectors(data_set, split.train.rows()), vectors(data_set, split.val.rows())
    assert not train & val
    assert (len(train), len(val)) == (split.n_train_sets, split.n_val_sets) == (32, 8)
    rows = np.concatenate([split.train.rows(), split.val.rows()])
    assert sorted(rows) == list(range(data_set.shapes["lan"][0]))
    assert (np.diff(split.train.rows()) > 0).all()
    assert (np.diff(split.val.rows()) > 0).all()


@settings(deadline=None, max_examples=20)
@given(
    files=st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=5
    ),
    share=st.floats(0.01, 0.99),
    n_files=st.integers(1, 6),
    seed=st.integers(0, 2**63 - 1),
)
def test_any_files_are_split_by_parameter_vector(
    tmp_path_factory: pytest.TempPathFactory,
    files: list[tuple[int, int, int]],
    share: float,
    n_files: int,
    seed: int,
) -> None:
    contents = [
        training_file_content(seed=file_seed, n_sets=n_sets + 1, n_per_set=n_per_set)
        for file_seed, n_sets, n_per_set in files
    ]
    data_set = pack(tmp_path_factory.mktemp("any"), contents)
    split = split_of(data_set, n_files=n_files, train_share=share, seed=seed)
    train, val = vectors(data_set, split.train.rows()), vectors(data_set, split.val.rows())
    assert not train & val
    n_sets = len(train) + len(val)
    assert (split.n_train_sets, split.n_val_sets) == (len(train), len(val))
    assert len(train) == min(max(round(share * n_sets), 1), n_sets - 1)
    used = {*split.train_files, *split.val_files}
    assert len(used) == min(n_files, len(files))
    expected = sum(file.rows["lan"][1] for file in data_set.files if file.name in used)
    assert len(split.train.rows()) + len(split.val.rows()) == expected


def test_the_files_of_each_side_are_those_its_rows_come_from(data_set: DataSet) -> None:
    split = split_of(data_set, train_share=0.95)
    for rows, names in (
        (split.train.rows(), split.train_files),
        (split.val.rows(), split.val_files),
    ):
        holding = []
        for file in data_set.files:
            first, n = file.rows["lan"]
            if ((rows >= first) & (rows < first + n)).any():
                holding.append(file.name)
        assert list(names) == holding
    assert len(split.val_files) < len(split.train_files)


def test_one_seed_gives_one_split_and_another_seed_another(data_set: DataSet) -> None:
    first, again, other = (split_of(data_set, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.train.rows(), again.train.rows())
    np.testing.assert_array_equal(first.val.rows(), again.val.rows())
    assert set(first.val.rows()) != set(other.val.rows())


def test_the_split_of_the_sets_is_the_same_for_every_network_type(data_set: DataSet) -> None:
    val = {
        kind: set(
            np.asarray(data_set.array(kind, "sets"))[
                split_of(data_set, network_type=kind).val.rows()
            ]
        )
        for kind in ("lan", "cpn")
    }
    assert val["lan"] == val["cpn"]


@pytest.mark.parametrize("n_files", [1, 2, 5, 6, 7, 1000])
def test_no_more_files_are_used_than_asked_for(data_set: DataSet, n_files: int) -> None:
    split = split_of(data_set, n_files=n_files)
    used = {*split.train_files, *split.val_files}
    assert len(used) == min(n_files, 6)
    ranges = [file.rows["lan"] for file in data_set.files if file.name in used]
    rows = np.concatenate([np.arange(first, first + n) for first, n in ranges])
    assert sorted(np.concatenate([split.train.rows(), split.val.rows()])) == rows.tolist()


def test_which_files_are_used_follows_the_seed(data_set: DataSet) -> None:
    def used(seed: int) -> set[str]:
        split = split_of(data_set, n_files=2, seed=seed)
        return {*split.train_files, *split.val_files}

    assert used(1) == used(1)
    assert len({frozenset(used(seed)) for seed in range(8)}) > 1


def test_files_without_data_for_the_network_type_are_not_counted(tmp_path: Path) -> None:
    contents = [training_file_content(seed=seed, n_sets=4, n_per_set=2) for seed in range(3)]
    for key in ("lan_data", "lan_labels"):
        del contents[0][key]
    split = split_of(pack(tmp_path, contents), n_files=2)
    assert {*split.train_files, *split.val_files} == {"001.pickle", "002.pickle"}


def test_each_side_gets_a_parameter_set_however_small_its_share(tmp_path: Path) -> None:
    data_set = pack(tmp_path, [training_file_content(n_sets=2, n_per_set=3)])
    for share in (0.01, 0.99):
        split = split_of(data_set, train_share=share)
        assert (split.n_train_sets, split.n_val_sets) == (1, 1)


def test_one_parameter_set_cannot_be_split(tmp_path: Path) -> None:
    data_set = pack(tmp_path, [training_file_content(n_sets=1, n_per_set=3)] * 2)
    with pytest.raises(UserError) as caught:
        split_of(data_set)
    assert str(caught.value).startswith(
        f"{data_set.folder}: 1 distinct parameter set(s) in 2 file(s); at least two are needed"
    )


def test_each_use_of_the_seed_has_a_stream_of_its_own() -> None:
    draws = {stream(seed, *key).random() for seed in (1, 2) for key in ((), (0,), (1,), (1, 0))}
    assert len(draws) == 8
    assert stream(1, 2, 3).random() == stream(1, 2, 3).random()


def test_a_split_does_not_depend_on_where_the_data_is(data_set: DataSet, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.symlink_to(data_set.folder)
    there = split_of(replace(data_set, folder=moved))
    np.testing.assert_array_equal(there.train.rows(), split_of(data_set).train.rows())


LENGTHS = st.lists(st.integers(1, 5), max_size=8)


def ranges_of(lengths: list[int], gaps: list[int]) -> RowRanges:
    """Ranges in ascending order with gaps before them, which may be zero."""
    sizes = np.array(lengths, np.int64)
    room = np.array([gaps[i % len(gaps)] for i in range(len(lengths))], np.int64)
    return RowRanges(np.cumsum(sizes + room) - sizes, sizes)


@given(LENGTHS, st.lists(st.integers(0, 3), min_size=1, max_size=3), st.data())
def test_ranges_are_their_rows_written_out(
    lengths: list[int], gaps: list[int], data: st.DataObject
) -> None:
    ranges = ranges_of(lengths, gaps)
    rows = [int(s) + i for s, n in zip(ranges.starts, lengths, strict=True) for i in range(n)]
    assert ranges.rows().tolist() == rows
    assert len(ranges) == len(rows)
    positions = np.array(
        data.draw(st.lists(st.integers(0, max(len(rows) - 1, 0)), max_size=5 * bool(rows))), int
    )
    assert ranges.at(positions).tolist() == [rows[i] for i in positions]
    first, last = data.draw(st.tuples(st.integers(0, 45), st.integers(0, 45)))
    assert ranges.part(first, last).rows().tolist() == rows[first:last]
    assert ranges.merged().rows().tolist() == rows
    assert (np.diff(ranges.merged().starts) > ranges.merged().lengths[:-1]).all()
    pieces = ranges.cut(2)
    assert pieces.rows().tolist() == rows
    assert pieces.lengths.max(initial=0) <= 2
    assert RowRanges.join([ranges, pieces]).rows().tolist() == rows + rows
    assert (
        ranges.take(np.arange(len(lengths)) % 2 == 0).starts.tolist() == ranges.starts[::2].tolist()
    )


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 6)), max_size=8), st.integers(0, 8))
def test_rows_of_several_ranges_are_found_once_and_in_their_order(
    pairs: list[tuple[int, int]], cut: int
) -> None:
    starts, lengths = (np.array([pair[i] for pair in pairs], np.int64) for i in range(2))
    parts = [RowRanges(starts[:cut], lengths[:cut]), RowRanges(starts[cut:], lengths[cut:])]
    union = RowRanges.union(parts)
    assert union.rows().tolist() == sorted({s + i for s, n in pairs for i in range(n)})
    assert (union.starts[1:] > union.starts[:-1] + union.lengths[:-1]).all()


@given(st.lists(st.integers(0, 2), min_size=1, max_size=30), st.integers(1, 7), st.data())
def test_ranges_of_equal_numbers_are_found_however_the_rows_are_looked_through(
    numbers: list[int], scanned: int, data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, len(numbers) - 1))
    n_rows = data.draw(st.integers(0, len(numbers) - first))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_split, "_SCANNED_ROWS", scanned)
        ranges, values = ranges_of_equal(np.array(numbers, "i4"), first, n_rows)
    assert ranges.rows().tolist() == list(range(first, first + n_rows))
    assert np.repeat(values, ranges.lengths).tolist() == numbers[first : first + n_rows]
    assert (values[1:] != values[:-1]).all()
