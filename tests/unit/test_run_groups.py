import json
from collections.abc import Iterable
from typing import Any

import pytest

from lanflow.errors import UserError
from lanflow.run_groups import check_one_configuration, configuration_of
from lanflow.run_search import FoundRun
from tests.unit.test_lineage import EXPERIMENT, run_of

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
