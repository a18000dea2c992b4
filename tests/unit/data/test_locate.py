from pathlib import Path
from typing import Any

import pytest

from lanflow.core.errors import UserError
from lanflow.data.experiment import (
    TO_SALVAGE,
    GenerationExperiment,
    Policy,
    Query,
    RunSelection,
    build_query,
)
from lanflow.data.locate import LocatedFile, Places, locate_files
from lanflow.tracking.store import FoundRun
from tests.conftest import sha256

EXPERIMENT = GenerationExperiment(id="7", name="ddm-data-generation")


def entry(path: Path, *, digest: bool = False, **keys: Any) -> dict[str, Any]:
    """A file's entry in an inventory, as ssm-simulators or lanflow writes it."""
    size = path.stat().st_size
    record = {"filename": path.name, "relative_path": str(path), "size_bytes": size, **keys}
    return {**record, "sha256": sha256(path)} if digest else record


def run_of(
    run_id: str,
    folder: str | None,
    files: list[Any] | None,
    *,
    tags: dict[str, str] | None = None,
    params: dict[str, str] | None = None,
) -> FoundRun:
    return FoundRun(
        id=run_id,
        name=f"worker {run_id}",
        status="FINISHED",
        params={**({} if folder is None else {"data_output_folder": folder}), **(params or {})},
        tags=tags or {},
        inventory=None if files is None else {"num_files": len(files), "files": files},
    )


def query_of(*runs: FoundRun, policy: Policy = "complete") -> Query:
    return build_query(EXPERIMENT, runs, RunSelection(policy=policy))


def files_in(folder: Path, *names: str, text: str = "content") -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(f"{text} of {name}")
    return [folder / name for name in names]


def test_tracked_files_are_found_where_they_were_recorded(tmp_path: Path) -> None:
    a, c = files_in(tmp_path / "one", "a.pickle", "c.pickle")
    (b,) = files_in(tmp_path / "two", "b.pickle")
    query = query_of(
        run_of("r1", str(tmp_path / "one"), [entry(c), entry(a)]),
        run_of("r2", str(tmp_path / "two"), [entry(b, digest=True)]),
    )
    found = locate_files(query, Places()).files
    assert [(file.name, file.path, file.run_id) for file in found] == [
        ("a.pickle", a, "r1"),
        ("b.pickle", b, "r2"),
        ("c.pickle", c, "r1"),
    ]
    assert [file.sha256 for file in found] == [None, sha256(b), None]


def test_relative_folders_are_resolved_against_root_or_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (a,) = files_in(tmp_path / "data" / "x", "a.pickle")
    query = query_of(run_of("r1", "data/x", [entry(a)]))
    assert locate_files(query, Places(root=tmp_path)).files[0].path == a
    monkeypatch.chdir(tmp_path)
    assert locate_files(query, Places()).files[0].path == a


def test_an_absolute_folder_is_not_moved_by_root(tmp_path: Path) -> None:
    (a,) = files_in(tmp_path / "data", "a.pickle")
    query = query_of(run_of("r1", str(tmp_path / "data"), [entry(a)]))
    assert locate_files(query, Places(root=Path("/elsewhere"))).files[0].path == a


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        ("/scratch/me/data", "/here/data"),
        ("/scratch/me", "/here"),
        ("/scratch/me/big/data", "/there/data"),
        ("/scratch/mean/data", "/scratch/mean/data"),
        ("relative/data", "/fetched/data"),
        ("other/data", "/root/other/data"),
    ],
)
def test_a_recorded_prefix_is_replaced_the_longest_first(recorded: str, expected: str) -> None:
    path_map = {
        "/scratch/me": "/here",
        "/scratch/me/big/": "/there",
        "relative": "/fetched",
    }
    places = Places(root=Path("/root"), path_map=path_map)
    assert places.locate(recorded) == Path(expected)


def test_in_validation_mode_every_file_is_looked_for_in_the_folder(tmp_path: Path) -> None:
    (a,) = files_in(tmp_path / "elsewhere", "a.pickle")
    query = query_of(run_of("r1", "/not/visible/here", [entry(a)]))
    found = locate_files(query, Places(folder=tmp_path / "elsewhere")).files
    assert [file.path for file in found] == [a]


def test_folders_that_are_not_visible_here_are_listed_with_what_to_set(tmp_path: Path) -> None:
    (a,) = files_in(tmp_path / "seen", "a.pickle")
    query = query_of(
        run_of("r1", "/scratch/gone", [entry(a)]),
        run_of("r2", "relative/gone", [entry(a)]),
        run_of("r3", str(tmp_path / "seen"), [entry(a)]),
    )
    with pytest.raises(UserError) as caught:
        locate_files(query, Places(root=tmp_path))
    message = str(caught.value)
    assert "the folders of 2 run(s) are not visible here" in message
    assert "run r1 (worker r1): recorded /scratch/gone, looked for /scratch/gone" in message
    assert (
        f"run r2 (worker r2): recorded relative/gone, looked for {tmp_path}/relative/gone"
    ) in message
    assert "r3" not in message
    assert "set 'root' (--root)" in message
    assert "'path_map' (--path-map RECORDED=HERE)" in message


def test_salvage_finds_whole_files_and_reports_the_rest_by_run(tmp_path: Path) -> None:
    a, b, c, d = files_in(tmp_path / "seen", "a.pickle", "b.pickle", "c.pickle", "d.pickle")
    query = query_of(
        run_of("r1", str(tmp_path / "seen"), [entry(a), entry(b), entry(c)]),
        run_of("r2", str(tmp_path / "seen"), [entry(a), entry(d)]),
        run_of("r3", "/scratch/gone", [entry(a)]),
        policy="salvage",
    )
    b.unlink()
    c.write_text("other")
    d.unlink()
    located = locate_files(query, Places())
    assert [file.name for file in located.files] == ["a.pickle"]
    assert [(e.run_id, e.reason, e.files) for e in located.left_out] == [
        ("r1", "missing here", ["b.pickle"]),
        ("r1", "not of the recorded size", ["c.pickle"]),
        ("r2", "missing here", ["d.pickle"]),
        ("r3", "its folder is not visible here", ["a.pickle"]),
    ]


def test_salvage_of_no_whole_file_is_refused(tmp_path: Path) -> None:
    (a,) = files_in(tmp_path, "a.pickle")
    query = query_of(run_of("r1", str(tmp_path), [entry(a)]), policy="salvage")
    a.unlink()
    with pytest.raises(UserError, match=r"tracks 1 file\(s\), 1 missing: "):
        locate_files(query, Places())


def test_a_folder_given_that_does_not_exist_is_named(tmp_path: Path) -> None:
    (a,) = files_in(tmp_path, "a.pickle")
    query = query_of(run_of("r1", str(tmp_path), [entry(a)]))
    with pytest.raises(UserError, match=rf"^folder {tmp_path}/gone does not exist$"):
        locate_files(query, Places(folder=tmp_path / "gone"))


def test_missing_files_are_listed_the_first_ten_and_how_many_more(tmp_path: Path) -> None:
    paths = files_in(tmp_path, *(f"{i:02}.pickle" for i in range(15)))
    query = query_of(run_of("r1", "/recorded", [entry(path) for path in paths]))
    for path in paths[2:]:
        path.unlink()
    with pytest.raises(UserError) as caught:
        locate_files(query, Places(folder=tmp_path))
    names = ", ".join(f"{i:02}.pickle" for i in range(2, 12))
    assert str(caught.value) == (
        "experiment 'ddm-data-generation' tracks 15 file(s), 13 missing from "
        f"{tmp_path}: {names} and 3 more\n  run r1 (worker r1): 13 of its 15 file(s)\n{TO_SALVAGE}"
    )


def test_one_missing_file_is_listed_with_its_path(tmp_path: Path) -> None:
    a, b = files_in(tmp_path, "a.pickle", "b.pickle")
    query = query_of(run_of("r1", str(tmp_path), [entry(a), entry(b)]))
    b.unlink()
    with pytest.raises(UserError, match=rf"tracks 2 file\(s\), 1 missing: {b}\n"):
        locate_files(query, Places())


def test_files_of_another_size_than_recorded_are_listed(tmp_path: Path) -> None:
    a, b = files_in(tmp_path, "a.pickle", "b.pickle")
    query = query_of(run_of("r1", str(tmp_path), [entry(a), entry(b)]))
    a.write_text("longer than it was when it was recorded")
    with pytest.raises(UserError) as caught:
        locate_files(query, Places())
    assert str(caught.value) == (
        f"1 tracked file(s) changed: {a} has 39 bytes, recorded are 19\n"
        f"  run r1 (worker r1): 1 of its 2 file(s)\n{TO_SALVAGE}"
    )


@pytest.mark.parametrize("seen_size", [None, 0, 3])
def test_a_file_that_two_runs_claim_counts_once(tmp_path: Path, seen_size: int | None) -> None:
    """One worker may have listed the other's file while it was being written."""
    a, b = files_in(tmp_path, "a.pickle", "b.pickle")
    claimed = entry(b) if seen_size is None else entry(b, size_bytes=seen_size)
    query = query_of(
        run_of("r1", str(tmp_path), [entry(a), claimed]),
        run_of("r2", str(tmp_path / "." / ""), [entry(b)]),
    )
    found = locate_files(query, Places()).files
    assert [(file.name, file.size_bytes) for file in found] == [
        ("a.pickle", a.stat().st_size),
        ("b.pickle", b.stat().st_size),
    ]
    assert found[1].run_id == ("r1" if seen_size is None else "r2")


def test_a_missing_file_that_two_runs_claim_is_missing_once(tmp_path: Path) -> None:
    a, b = files_in(tmp_path, "a.pickle", "b.pickle")
    query = query_of(
        run_of("r1", str(tmp_path), [entry(a), entry(b)]), run_of("r2", str(tmp_path), [entry(b)])
    )
    b.unlink()
    with pytest.raises(UserError, match=r"tracks 2 file\(s\), 1 missing: \S+b\.pickle\n"):
        locate_files(query, Places())


def test_a_folder_reached_by_two_paths_gives_its_files_once(tmp_path: Path) -> None:
    (a,) = files_in(tmp_path / "real", "a.pickle")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    query = query_of(
        run_of("r1", str(tmp_path / "real"), [entry(a)]),
        run_of("r2", str(tmp_path / "link"), [entry(a)]),
    )
    assert len(locate_files(query, Places()).files) == 1


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    secret, inside = files_in(tmp_path / "elsewhere", "secret.pickle", "a.pickle")
    folder = tmp_path / "data"
    (b,) = files_in(folder, "b.pickle")
    (folder / "link.pickle").symlink_to(secret)
    (folder / "up.pickle").symlink_to("../elsewhere/a.pickle")
    (folder / "within.pickle").symlink_to("b.pickle")
    entries = [
        entry(folder / "within.pickle"),
        entry(secret, filename="link.pickle"),
        entry(inside, filename="up.pickle"),
    ]
    run = run_of("r1", str(folder), entries)
    with pytest.raises(UserError) as caught:
        locate_files(query_of(run), Places())
    assert str(caught.value) == (
        "experiment 'ddm-data-generation': 2 tracked file(s) are links out of their folder, which "
        f"are not followed: {folder}/link.pickle -> {secret}, {folder}/up.pickle -> {inside}\n"
        f"give the folder that the files are in, or copy them\n{TO_SALVAGE}"
    )
    located = locate_files(query_of(run, policy="salvage"), Places())
    assert [file.name for file in located.files] == ["within.pickle"]
    assert [(e.reason, e.files) for e in located.left_out] == [
        ("a link out of its folder", ["link.pickle", "up.pickle"])
    ]
    # The folder itself may be a link.
    (tmp_path / "other").symlink_to(folder)
    query = query_of(run_of("r1", str(tmp_path / "other"), [entry(b)]))
    assert len(locate_files(query, Places()).files) == 1


def test_a_folder_without_lineage_gives_its_pickles_in_order(tmp_path: Path) -> None:
    b, a = files_in(tmp_path, "b.pickle", "a.pickle")
    files_in(tmp_path, "notes.txt")
    (tmp_path / "folder.pickle").mkdir()
    located = locate_files(None, Places(folder=tmp_path))
    assert [file.path for file in located.files] == [a, b]
    assert located.files[0] == LocatedFile("a.pickle", a, a.stat().st_size, None, None)
    assert (located.extra, located.left_out) == ([], [])


def test_a_folder_that_is_missing_or_holds_no_training_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^training data folder {tmp_path}/gone does not exist$"):
        locate_files(None, Places(folder=tmp_path / "gone"))
    with pytest.raises(UserError, match=rf"^training data folder {tmp_path} holds no \.pickle"):
        locate_files(None, Places(folder=tmp_path))


def test_files_in_the_folder_that_no_run_tracks_are_reported(tmp_path: Path) -> None:
    a, *_ = files_in(tmp_path, "a.pickle", "z.pickle", "b.pickle", "notes.txt")
    query = query_of(run_of("r1", str(tmp_path), [entry(a)]))
    assert locate_files(query, Places(folder=tmp_path)).extra == ["b.pickle", "z.pickle"]
    assert locate_files(query, Places()).extra == []


# The folder that was given to --output, of ssm-simulators' `generate` and of `lanflow generate`.


@pytest.mark.parametrize(
    "inner", ["data/training_data/lan/training_data_n_samples_10_dt_0.001/ddm", "training_data"]
)
def test_of_a_folder_that_was_generated_into_the_one_with_files_is_taken(
    tmp_path: Path, inner: str
) -> None:
    (a,) = files_in(tmp_path / inner, "training_data_a.pickle")
    files_in(tmp_path / "training_data.partial", "training_data_b.pickle")
    files_in(tmp_path / "other", "model_config.pickle")
    assert [file.path for file in locate_files(None, Places(folder=tmp_path)).files] == [a]
    query = query_of(run_of("r1", "/recorded", [entry(a)]))
    assert [file.path for file in locate_files(query, Places(folder=tmp_path)).files] == [a]


def test_of_several_folders_with_files_each_is_named(tmp_path: Path) -> None:
    for model in ("angle", "ddm"):
        files_in(tmp_path / "data/lan" / model, "training_data_a.pickle")
    with pytest.raises(UserError) as caught:
        locate_files(None, Places(folder=tmp_path))
    assert str(caught.value) == (
        f"training data folder {tmp_path} holds no .pickle file itself, but 2 folders in it do; "
        f"give one of them: {tmp_path}/data/lan/angle, {tmp_path}/data/lan/ddm"
    )
