import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanflow import row_runs
from lanflow.row_runs import RowRuns, runs_of_equal

LENGTHS = st.lists(st.integers(1, 5), max_size=8)


def runs_of(lengths: list[int], gaps: list[int]) -> RowRuns:
    """Runs in ascending order with gaps before them, which may be zero."""
    sizes = np.array(lengths, np.int64)
    room = np.array([gaps[i % len(gaps)] for i in range(len(lengths))], np.int64)
    return RowRuns(np.cumsum(sizes + room) - sizes, sizes)


@given(LENGTHS, st.lists(st.integers(0, 3), min_size=1, max_size=3), st.data())
def test_runs_are_their_rows_written_out(
    lengths: list[int], gaps: list[int], data: st.DataObject
) -> None:
    runs = runs_of(lengths, gaps)
    rows = [int(s) + i for s, n in zip(runs.starts, lengths, strict=True) for i in range(n)]
    assert runs.rows().tolist() == rows
    assert len(runs) == len(rows)
    positions = np.array(
        data.draw(st.lists(st.integers(0, max(len(rows) - 1, 0)), max_size=5 * bool(rows))), int
    )
    assert runs.at(positions).tolist() == [rows[i] for i in positions]
    first, last = data.draw(st.tuples(st.integers(0, 45), st.integers(0, 45)))
    assert runs.part(first, last).rows().tolist() == rows[first:last]
    assert runs.merged().rows().tolist() == rows
    assert (np.diff(runs.merged().starts) > runs.merged().lengths[:-1]).all()
    pieces = runs.cut(2)
    assert pieces.rows().tolist() == rows
    assert pieces.lengths.max(initial=0) <= 2
    assert RowRuns.join([runs, pieces]).rows().tolist() == rows + rows
    assert runs.of(np.arange(len(lengths)) % 2 == 0).starts.tolist() == runs.starts[::2].tolist()


@given(st.lists(st.integers(0, 2), min_size=1, max_size=30), st.integers(1, 7), st.data())
def test_runs_of_equal_numbers_are_found_however_the_rows_are_looked_through(
    numbers: list[int], scanned: int, data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, len(numbers) - 1))
    n_rows = data.draw(st.integers(0, len(numbers) - first))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_runs, "_SCANNED_ROWS", scanned)
        runs, values = runs_of_equal(np.array(numbers, "i4"), first, n_rows)
    assert runs.rows().tolist() == list(range(first, first + n_rows))
    assert np.repeat(values, runs.lengths).tolist() == numbers[first : first + n_rows]
    assert (values[1:] != values[:-1]).all()
