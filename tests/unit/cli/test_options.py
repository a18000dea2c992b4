import os

import pytest

from lanflow.cli.options import count, parse_path_map, share, whole_number
from lanflow.core.errors import UsageError
from lanflow.core.processes import n_cores


@pytest.mark.parametrize("text", ["-1", "1.5", "two", "", "+3"])
def test_numbers_are_refused_that_are_not_whole(text: str) -> None:
    for convert in (whole_number, count):
        with pytest.raises(ValueError, match="whole number"):
            convert(text)


def test_a_count_starts_at_one() -> None:
    assert (whole_number("0"), whole_number("12"), count("1")) == (0, 12, 1)
    with pytest.raises(ValueError, match="'0' is not a positive whole number"):
        count("0")


def test_a_share_is_a_number_from_0_to_1() -> None:
    assert (share("0"), share("0.25"), share("1")) == (0, 0.25, 1)
    for text in ("-0.1", "1.1", "nan", "half", ""):
        with pytest.raises(ValueError, match="is not a number from 0 to 1"):
            share(text)


def test_a_path_map_is_pairs() -> None:
    assert parse_path_map(("/a=/b", "c=d=e")) == {"/a": "/b", "c": "d=e"}
    for entry in ("/a", "=/b", "/a="):
        with pytest.raises(UsageError, match=f"--path-map '{entry}': expected RECORDED=HERE"):
            parse_path_map((entry,))


def test_the_cores_are_those_this_process_may_use() -> None:
    assert 1 <= n_cores() <= (os.cpu_count() or 1)
    if hasattr(os, "sched_setaffinity"):  # not on macOS
        allowed = os.sched_getaffinity(0)
        try:
            os.sched_setaffinity(0, {min(allowed)})
            assert n_cores() == 1
        finally:
            os.sched_setaffinity(0, allowed)
