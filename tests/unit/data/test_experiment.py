import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lanflow.core.errors import UserError
from lanflow.data.experiment import (
    QueryLeftOut,
    QuerySelection,
    RunSelection,
    build_query,
    check_one_configuration,
    configuration_of,
    read_query,
)
from lanflow.tracking.store import FILES_TAG, FoundRun
from tests.conftest import sha256
from tests.unit.data.test_locate import EXPERIMENT, entry, files_in, query_of, run_of


def test_a_query_holds_the_runs_and_their_files_as_plain_data(tmp_path: Path) -> None:
    a, b, c = files_in(tmp_path, "a.pickle", "b.pickle", "c.pickle")
    run = run_of("r1", str(tmp_path), [entry(a, digest=True), entry(b)])
    tagged = run_of(
        "r2",
        "data/x",
        [entry(c)],
        tags={"generation_batch_id": "batch", FILES_TAG: "training_data"},
    )
    query = query_of(run, tagged)
    assert query.model_dump() == {
        "query_version": 3,
        "experiment": {"id": "7", "name": "ddm-data-generation"},
        "policy": "complete",
        "selection": {"batch_id": None, "run_ids": None, "filter": None},
        "runs": [
            {
                "run_id": "r1",
                "run_name": "worker r1",
                "status": "FINISHED",
                "data_output_folder": str(tmp_path),
                "batch_id": None,
                "artifact_path": None,
                "files": [
                    {"name": "a.pickle", "size_bytes": a.stat().st_size, "sha256": sha256(a)},
                    {"name": "b.pickle", "size_bytes": b.stat().st_size, "sha256": None},
                ],
            },
            {
                "run_id": "r2",
                "run_name": "worker r2",
                "status": "FINISHED",
                "data_output_folder": "data/x",
                "batch_id": "batch",
                "artifact_path": "training_data",
                "files": [{"name": "c.pickle", "size_bytes": c.stat().st_size, "sha256": None}],
            },
        ],
        "left_out": [],
    }
    path = tmp_path / "query.json"
    path.write_text(json.dumps(query.model_dump()))
    assert read_query(path) == query


@pytest.mark.parametrize(
    "keys", [{"tags": {"phase": "datagen_dry_run"}}, {"params": {"dry_run": "True"}}]
)
def test_dry_runs_are_left_out_and_reported(tmp_path: Path, keys: dict[str, Any]) -> None:
    (a,) = files_in(tmp_path, "a.pickle")
    query = query_of(run_of("r1", str(tmp_path), [entry(a)]), run_of("dry", None, None, **keys))
    assert [run.run_id for run in query.runs] == ["r1"]
    assert query.left_out == [
        QueryLeftOut(run_id="dry", run_name="worker dry", status="FINISHED", reason="a dry run")
    ]


def test_named_runs_only_are_taken_and_a_missing_one_is_named(tmp_path: Path) -> None:
    (a,) = files_in(tmp_path, "a.pickle")
    runs = [run_of(name, str(tmp_path), [entry(a)]) for name in ("r1", "r2")]
    query = build_query(EXPERIMENT, iter(runs), RunSelection(run_ids=["r2"]))
    assert [run.run_id for run in query.runs] == ["r2"]
    with pytest.raises(UserError, match=r"'ddm-data-generation' has no run gone, lost$"):
        build_query(EXPERIMENT, runs, RunSelection(run_ids=["r2", "lost", "gone"]))


@pytest.mark.parametrize(
    ("runs", "counted"),
    [
        ([], "0 run(s), 0 dry run(s)"),
        ([run_of("r1", "f", [])], "1 run(s), 0 dry run(s)"),
        ([run_of("r1", "f", [], tags={"phase": "datagen_dry_run"})], "0 run(s), 1 dry run(s)"),
    ],
)
def test_an_experiment_without_files_is_refused(runs: list[FoundRun], counted: str) -> None:
    with pytest.raises(UserError) as caught:
        query_of(*runs)
    assert str(caught.value) == (
        f"experiment 'ddm-data-generation' (id 7) has no run with files ({counted})"
    )


def with_deleted(run: FoundRun) -> FoundRun:
    return replace(run, deleted=True)


def some_incomplete_runs(tmp_path: Path) -> list[FoundRun]:
    """A whole one, and one of each kind that is not."""
    a, b = files_in(tmp_path, "a.pickle", "b.pickle")
    return [
        run_of("whole", str(tmp_path), [entry(a)]),
        run_of("crashed", "x", None),
        run_of("short", str(tmp_path), [entry(b)], params={"n_files": "3"}),
        run_of("empty", "x", []),
        run_of("nowhere", None, [entry(b)]),
    ]


REASONS = {
    "crashed": "it left no inventory of files, so it did not end well",
    "short": "its inventory lists 1 of the 3 files it was to make",
    "empty": "its inventory lists no file",
    "nowhere": "param 'data_output_folder' is missing",
}


def test_complete_refuses_naming_each_incomplete_run_and_why(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        query_of(*some_incomplete_runs(tmp_path))
    assert str(caught.value) == (
        "experiment 'ddm-data-generation': 4 run(s) are incomplete:\n"
        + "".join(f"  {id_} (worker {id_}, FINISHED): {why}\n" for id_, why in REASONS.items())
        + "repeat them, or delete them in MLflow; or take what is whole with the policy salvage "
        "(lanflow query --policy salvage, study key policy)"
    )


def test_salvage_takes_what_is_whole_and_reports_the_rest(tmp_path: Path) -> None:
    query = query_of(*some_incomplete_runs(tmp_path), policy="salvage")
    assert query.policy == "salvage"
    assert [run.run_id for run in query.runs] == ["whole"]
    assert {entry.run_id: entry.reason for entry in query.left_out} == REASONS


def test_salvage_of_nothing_whole_is_refused_naming_why(tmp_path: Path) -> None:
    runs = [run for run in some_incomplete_runs(tmp_path) if run.id != "whole"]
    with pytest.raises(UserError, match=r"4 run\(s\) are incomplete:\n  crashed ") as caught:
        query_of(*runs, policy="salvage")
    assert str(caught.value).endswith("\nrepeat them, or delete them in MLflow")


def test_a_deleted_run_is_reported_and_asks_nothing_more(tmp_path: Path) -> None:
    (a,) = files_in(tmp_path, "a.pickle")
    whole = run_of("r1", str(tmp_path), [entry(a)])
    query = query_of(whole, with_deleted(run_of("gone", "x", None)))
    assert [(e.run_id, e.reason) for e in query.left_out] == [("gone", "deleted in MLflow")]


def test_a_deleted_run_that_is_asked_for_is_refused(tmp_path: Path) -> None:
    (a,) = files_in(tmp_path, "a.pickle")
    runs = [run_of("r1", str(tmp_path), [entry(a)]), with_deleted(run_of("gone", "x", None))]
    with pytest.raises(UserError, match=r"run gone is deleted in MLflow$"):
        build_query(EXPERIMENT, runs, RunSelection(run_ids=["r1", "gone"]))
    salvage = RunSelection(run_ids=["r1", "gone"], policy="salvage")
    assert len(build_query(EXPERIMENT, runs, salvage).runs) == 1


@pytest.mark.parametrize("status", ["RUNNING", "FAILED", "KILLED"])
def test_the_status_of_a_run_with_an_inventory_decides_nothing(tmp_path: Path, status: str) -> None:
    (a,) = files_in(tmp_path, "a.pickle")
    query = query_of(replace(run_of("r1", str(tmp_path), [entry(a)]), status=status))
    assert query.runs[0].status == status


def test_runs_of_a_batch_only_are_taken_and_an_unknown_one_lists_those_there_are(
    tmp_path: Path,
) -> None:
    (a,) = files_in(tmp_path, "a.pickle")
    runs = [
        run_of(batch, str(tmp_path), [entry(a)], tags={"generation_batch_id": batch})
        for batch in ("b1", "b2")
    ]
    runs.append(run_of("crashed", "x", None))
    query = build_query(EXPERIMENT, runs, RunSelection(batch_id="b2"))
    assert [run.run_id for run in query.runs] == ["b2"]
    assert query.left_out == []
    assert query.selection == QuerySelection(batch_id="b2", run_ids=None, filter=None)
    with pytest.raises(UserError, match=r"has no run of batch b3; its batches: b1, b2$"):
        build_query(EXPERIMENT, runs, RunSelection(batch_id="b3"))


def test_runs_of_two_configurations_are_refused(tmp_path: Path) -> None:
    (a,) = files_in(tmp_path, "a.pickle")
    runs = [
        run_of(model, str(tmp_path), [entry(a)], params={"model": model})
        for model in ("ddm", "angle")
    ]
    with pytest.raises(UserError, match="holds data of 2 configurations"):
        query_of(*runs)
    assert len(build_query(EXPERIMENT, runs, RunSelection(run_ids=["ddm"])).runs) == 1


@pytest.mark.parametrize(
    "name",
    [
        "../secret.pickle",
        "/etc/passwd",
        "sub/a.pickle",
        "..",
        ".",
        "",
        "a\\b",
        "a\0b",
        "a\nb",
        5,
        None,
    ],
)
def test_an_inventory_whose_file_name_leaves_its_folder_is_refused(name: Any) -> None:
    with pytest.raises(UserError) as caught:
        query_of(run_of("r1", "x", [{"filename": name, "size_bytes": 1}]))
    assert (
        f"  r1 (worker r1, FINISHED): its inventory names a file {name!r}, not a plain file name\n"
        in (str(caught.value))
    )


@pytest.mark.parametrize("listed", ["a.pickle", None, 3, ["a.pickle"]])
def test_an_inventory_entry_that_is_no_record_is_refused(listed: Any) -> None:
    with pytest.raises(UserError, match=r"  r1 \(.*: its inventory names a file None"):
        query_of(run_of("r1", "x", [listed]))


@pytest.mark.parametrize("size", [None, "12", -1, 1.5, True, 2**40 + 1, 10**30])
def test_an_inventory_with_a_wrong_size_is_refused(size: Any) -> None:
    with pytest.raises(UserError, match=r"  r1 \(.*: its inventory gives a\.pickle the size "):
        query_of(run_of("r1", "x", [{"filename": "a.pickle", "size_bytes": size}]))


@pytest.mark.parametrize("digest", ["", "abc", 5, "Z" * 64])
def test_an_inventory_with_a_wrong_digest_is_refused(digest: Any) -> None:
    listed = {"filename": "a.pickle", "size_bytes": 1, "sha256": digest}
    with pytest.raises(UserError, match=r"  r1 \(.*: its inventory gives a\.pickle the sha256 "):
        query_of(run_of("r1", "x", [listed]))


@pytest.mark.parametrize("path", ["../up", "/etc", "", "a//b", "a/../.."])
def test_artifacts_that_are_no_folder_of_the_run_are_refused(path: str) -> None:
    listed = {"filename": "a.pickle", "size_bytes": 1}
    with pytest.raises(UserError, match=r"  r1 \(.*: its tag data_artifact_path is "):
        query_of(run_of("r1", "x", [listed], tags={FILES_TAG: path}))


FILE = {"filename": "a.pickle", "size_bytes": 1}


def upstream_run(
    run_id: str,
    *,
    model: str = "ddm",
    delta_t: float = 0.001,
    worker: str = "a",
    n_cpus: object = "all",
    batch: str | None = None,
) -> FoundRun:
    """A run as ssm-simulators 0.12.5 records it."""
    params = {
        "data_pipeline": str({"n_parameter_sets": 6, "n_subruns": 1, "n_cpus": n_cpus}),
        "data_estimator": "{'type': 'kde'}",
        "data_simulator": str({"n_samples": 500, "delta_t": delta_t}),
        "data_output": str({"folder": f"data/{worker}", "nbins": 0}),
        "data_model": model,
        "data_cpn_only": "False",
    }
    tags = {} if batch is None else {"generation_batch_id": batch}
    return run_of(run_id, f"data/{worker}", [FILE, FILE], params=params, tags=tags)


def refusal_of(runs: Iterable[FoundRun]) -> list[str]:
    with pytest.raises(UserError) as caught:
        check_one_configuration(EXPERIMENT, list(runs))
    return str(caught.value).split("\n")


def test_workers_that_differ_in_folder_and_cores_are_one_configuration() -> None:
    runs = [upstream_run("r1"), upstream_run("r2", worker="b", n_cpus=4)]
    check_one_configuration(EXPERIMENT, runs)
    assert configuration_of(runs[0]) == configuration_of(runs[1])


def test_a_setting_inside_a_section_makes_another_configuration() -> None:
    lines = refusal_of([upstream_run("r1"), upstream_run("r2", delta_t=0.005, batch="b2")])
    assert "'ddm-data-generation' (id 7) holds data of 2 configurations" in lines[0]
    assert lines[1].split() == [
        "runs",
        "files",
        "model",
        "batch",
        "id",
        "what",
        "differs",
        "first",
        "run",
    ]
    assert lines[2].split() == ["1", "2", "ddm", "none", "simulator.delta_t", "0.001", "r1"]
    assert lines[3].split() == ["1", "2", "ddm", "b2", "simulator.delta_t", "0.005", "r2"]
    assert "--batch-id, study key batch_id" in lines[4]
    assert "--run-ids, run_ids" in lines[4]
    clause = """params.data_simulator LIKE "%'delta_t': 0.001%\""""
    assert lines[5] == f"  --filter {json.dumps(clause)}"


def test_several_models_are_refused_with_a_filter_that_selects_one() -> None:
    lines = refusal_of([upstream_run("r1"), upstream_run("r2", model="angle")])
    assert lines[-1] == """  --filter "params.data_model = 'ddm'\""""


@pytest.mark.parametrize("recorded_in", ["params", "tags"])
def test_runs_that_recorded_only_a_digest_are_told_apart_by_it(recorded_in: str) -> None:
    def run(run_id: str, digest: str) -> FoundRun:
        keys: dict[str, Any] = {recorded_in: {"config_sha256": digest}}
        return run_of(run_id, "x", [FILE], **keys)

    check_one_configuration(EXPERIMENT, [run("r1", "a" * 64), run("r2", "a" * 64)])
    lines = refusal_of([run("r1", "a" * 64), run("r2", "b" * 64)])
    assert "config_sha256 aaaa" in lines[2]
    assert "config_sha256 bbbb" in lines[3]


def test_labels_of_different_sources_are_different_configurations() -> None:
    runs = [run_of(s, "x", [FILE], params={"label_source": s}) for s in ("kde", "analytic")]
    assert "label_source analytic" in "\n".join(refusal_of(runs))


def test_runs_that_recorded_no_settings_are_not_told_apart() -> None:
    check_one_configuration(EXPERIMENT, [run_of("r1", "x", [FILE]), run_of("r2", "y", [FILE])])


def test_a_section_that_is_no_python_literal_is_compared_as_text() -> None:
    def run(run_id: str, text: str) -> FoundRun:
        return run_of(run_id, "x", [FILE], params={"data_pipeline": text})

    check_one_configuration(EXPERIMENT, [run("r1", "{'cut': 1"), run("r2", "{'cut': 1")])
    assert "2 configurations" in refusal_of([run("r1", "{'cut': 1"), run("r2", "{'cut': 2")])[0]


def test_many_groups_are_cut_and_counted() -> None:
    lines = refusal_of(upstream_run(f"r{i}", delta_t=0.001 * (i + 1)) for i in range(30))
    assert lines[-3] == "  and 10 more"
    assert sum(line.lstrip().startswith("1 ") for line in lines) == 20


def test_what_others_recorded_in_the_experiment_breaks_no_query(tmp_path: Path) -> None:
    """Their params are texts of any kind, their names and batches, too."""
    (a,) = files_in(tmp_path, "a.pickle")
    texts = {"data_generator_config": "{[]: 1}", "data_x": "(" * 6000, "data_y": "9" * 6000}
    odd = run_of("odd", str(tmp_path), [entry(a)], params={**texts, "n_files": "9" * 6000})
    assert [run.run_id for run in query_of(odd).runs] == ["odd"]
    other = run_of(
        "other",
        str(tmp_path),
        [entry(a)],
        params={"data_x": "=1+1\x1b[2J\n"},
        tags={"generation_batch_id": "a\nb\x1b[2J"},
    )
    for selection in (RunSelection(), RunSelection(batch_id="mine")):
        with pytest.raises(UserError) as caught:
            build_query(EXPERIMENT, [odd, other], selection)
        assert "\x1b" not in str(caught.value)
    faulty = FoundRun("faulty", "theirs", "FINISHED", {}, {}, inventory_fault="its x is damaged")
    with pytest.raises(UserError, match=r"faulty \(theirs, FINISHED\): its x is damaged"):
        query_of(odd, faulty)
    taken = query_of(odd, faulty, policy="salvage")
    assert ([run.run_id for run in taken.runs], len(taken.left_out)) == (["odd"], 1)
    assert len(build_query(EXPERIMENT, [odd, faulty], RunSelection(run_ids=["odd"])).runs) == 1
