import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanflow.cli.main import main
from lanflow.core.errors import UserError
from lanflow.data.audit import measure
from lanflow.data.audit.measure import audit_data_set
from lanflow.data.audit.record import Audit, RowCounts, SetCounts, read_audit
from lanflow.data.dataset import check_repeats
from lanflow.data.locate import Places
from lanflow.data.prepare import PackedData, freeze, materialise_once
from lanflow.report.content import ReportedData
from lanflow.report.figures.records import draw_audit
from lanflow.report.pictures import Pictures
from lanflow.report.sections import data_section, describe_audit
from tests.conftest import training_file_content, write_training_file

BOX = np.array([[-3, 0.3, 0.1, 0], [3, 2.5, 0.9, 2]])


def packed_of(folder: Path, *contents: dict[str, Any]) -> PackedData:
    """A packed data set of files with these contents."""
    for i, content in enumerate(contents):
        write_training_file(folder / "files" / f"{i}.pickle", content)
    manifest = freeze(query=None, places=Places(folder=folder / "files"), model="ddm")
    return materialise_once(manifest, folder / "cache")


def audit_of(folder: Path, *contents: dict[str, Any]) -> Audit:
    data = packed_of(folder, *contents)
    audit = audit_data_set(data.data_set, data.manifest)
    record = audit.model_dump()
    assert json.loads(json.dumps(record)) == record
    return audit


def other_warnings(audit: Audit) -> list[str]:
    """Warnings but that of labels, which are made up here."""
    return [text for text in audit.warnings if "labels are" not in text]


def content_of(theta: np.ndarray, **keys: Any) -> dict[str, Any]:
    """A file with these parameter vectors."""
    content = training_file_content(n_sets=len(theta), **keys)
    n_per_set = len(content["lan_data"]) // len(theta)
    content["lan_data"][:, :4] = np.repeat(theta, n_per_set, axis=0)
    for name in ("cpn", "opn", "gonogo"):
        content[f"{name}_data"] = theta.astype("f4")
    return content


def uniform_vectors(n: int, *, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(*BOX, size=(n, 4))


def same_sets(n_files: int) -> list[dict[str, Any]]:
    """What ssm-simulators' ``generate`` makes: the same vectors, other trials."""
    theta = uniform_vectors(10)
    return [content_of(theta, seed=i) for i in range(n_files)]


def test_files_of_different_sets_hold_what_they_claim(packed: PackedData) -> None:
    audit = audit_data_set(packed.data_set, packed.manifest)
    assert audit.sets == SetCounts(distinct=30, claimed=30, repeated_share=0.0)
    assert audit.rows["lan"] == RowCounts(n=600, min_per_file=200, max_per_file=200)
    assert audit.digest == packed.manifest.digest
    assert (audit.n_files, audit.n_not_finite, other_warnings(audit)) == (3, 0, [])


def test_files_that_repeat_the_same_sets_are_warned_of(tmp_path: Path) -> None:
    audit = audit_of(tmp_path, *same_sets(4))
    assert audit.sets == SetCounts(distinct=10, claimed=40, repeated_share=0.75)
    (warning,) = other_warnings(audit)
    assert (
        "only 10 distinct parameter sets, not the 40 of each file for itself: 75.0% are repeats"
        in warning
    )


@pytest.mark.parametrize("kinds", [("lan",), ("cpn",), ("lan", "opn")])
def test_sets_are_counted_from_whatever_the_files_hold(
    tmp_path: Path, kinds: tuple[str, ...]
) -> None:
    contents = same_sets(3)
    for content in contents:
        for name in {"lan", "cpn", "opn", "gonogo"} - set(kinds):
            del content[f"{name}_data"]
    # Files of choice probabilities alone would be byte-identical, and count once.
    for i, content in enumerate(contents):
        content["generator_config"]["number"] = i
    sets = audit_of(tmp_path, *contents).sets
    assert (sets.distinct, sets.claimed) == (10, 30)


def test_small_blocks_give_the_same_audit(
    packed: PackedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = audit_data_set(packed.data_set, packed.manifest).model_dump()
    monkeypatch.setattr(measure, "_BLOCK_ROWS", 7)
    in_blocks = audit_data_set(packed.data_set, packed.manifest).model_dump()
    mean = in_blocks["labels"].pop("mean")
    assert mean == pytest.approx(whole["labels"].pop("mean"))
    assert in_blocks == whole


def test_a_shorter_file_shows_in_the_rows_per_file(tmp_path: Path) -> None:
    contents = [training_file_content(seed=i, n_sets=n) for i, n in enumerate((10, 4))]
    rows = audit_of(tmp_path, *contents).rows
    assert rows["lan"] == RowCounts(n=280, min_per_file=80, max_per_file=200)
    assert rows["cpn"] == RowCounts(n=14, min_per_file=4, max_per_file=10)


def test_uniform_draws_are_told_from_others(tmp_path: Path) -> None:
    even = audit_of(tmp_path / "even", content_of(uniform_vectors(2000), n_per_set=1))
    theta = uniform_vectors(2000)
    theta[:, 0] = np.abs(theta[:, 0])
    uneven = audit_of(tmp_path / "uneven", content_of(theta, n_per_set=1))
    for audit, is_even in ((even, True), (uneven, False)):
        limit = audit.coverage.uniform_below
        distances = {
            name: parameter.distance_from_uniform < limit
            for name, parameter in audit.coverage.parameters.items()
        }
        assert distances == {"v": is_even, "a": True, "z": True, "t": True}
        counts = audit.coverage.parameters["v"].counts
        assert (sum(counts), len(counts)) == (2000, 20)
    assert other_warnings(even) == []
    corners = even.coverage.corners
    assert corners is not None
    assert corners.n_corners == 24
    assert corners.expected_sets == pytest.approx(20)
    assert 1 <= corners.emptiest_sets <= 20
    corners = uneven.coverage.corners
    assert corners is not None
    assert corners.n_empty == 6  # v low, with either end of the others
    assert corners.emptiest.startswith("v low, ")
    assert "6 of 24 corners of the bounds hold no parameter set" in uneven.warnings[0]


def test_sets_outside_of_the_bounds_are_counted(tmp_path: Path) -> None:
    theta = uniform_vectors(10)
    theta[:3, 1] = 2.6
    theta[3] = BOX[1]  # the edge is inside
    audit = audit_of(tmp_path, content_of(theta))
    outside = {name: each.n_outside for name, each in audit.coverage.parameters.items()}
    assert outside == {"v": 0, "a": 3, "z": 0, "t": 0}
    assert other_warnings(audit) == ["3 parameter sets have a outside of its bounds"]


def test_bounds_that_were_not_recorded_are_not_judged(tmp_path: Path) -> None:
    content = training_file_content()
    del content["model_config"]["param_bounds"]
    coverage = audit_of(tmp_path, content).coverage
    assert coverage.parameters == {}
    assert coverage.corners is None


def test_labels_rts_and_choices_are_measured(tmp_path: Path) -> None:
    content = training_file_content()
    trial = content["lan_data"][:, 4:]
    trial[:, 0] = np.linspace(0.5, 4.5, 200)
    trial[:, 1] = np.where(np.arange(200) % 4 == 0, -1, 1)
    trial[:20, 0] = -0.5
    trial[:20, 1] = -1
    content["lan_labels"][:] = -2
    content["lan_labels"][:20] = -66.77497
    audit = audit_of(tmp_path, content)
    labels, trials = audit.labels, audit.trials
    assert labels is not None
    assert labels.floor_share == 0.1
    assert (labels.min, labels.max) == (pytest.approx(-66.77497), -2)
    assert labels.mean == pytest.approx(-2 * 0.9 - 66.77497 * 0.1)
    assert trials is not None
    assert (trials.rt_min, trials.rt_max) == (-0.5, 4.5)
    assert trials.negative_rt_share == 0.1
    assert trials.choice_shares == {"-1": 0.25, "1": 0.75}
    assert sum(map(sum, trials.rt_counts.values())) == 200


def test_the_floor_is_the_one_that_the_files_were_made_with(tmp_path: Path) -> None:
    content = training_file_content()
    content["generator_config"]["training"] = {"negative_rt_log_likelihood": -16.0}
    content["lan_labels"][:50] = -16
    content["lan_labels"][50:] = -1
    labels = audit_of(tmp_path, content).labels
    assert labels is not None
    assert (labels.floor, labels.floor_share) == (-16.0, 0.25)


def test_data_without_trials_has_no_labels_or_rts_to_measure(tmp_path: Path) -> None:
    content = training_file_content()
    del content["lan_data"]
    audit = audit_of(tmp_path, content)
    assert (audit.labels, audit.trials) == (None, None)
    assert "rt" not in dict(describe_audit(audit.model_dump()))


def test_more_repeats_than_accepted_are_refused(tmp_path: Path) -> None:
    data_set = packed_of(tmp_path, *same_sets(2)).data_set
    check_repeats(data_set, max_repeated_sets=0.5)
    check_repeats(data_set, max_repeated_sets=1.0)
    with pytest.raises(UserError, match=r": 50\.0% of the parameter sets are repeats, more than "):
        check_repeats(data_set, max_repeated_sets=0.49)


def test_the_page_of_the_data_shows_the_audit_and_its_warnings(tmp_path: Path) -> None:
    data = packed_of(tmp_path, *same_sets(2))
    record = audit_data_set(data.data_set, data.manifest).model_dump()
    data_set = json.loads((data.data_set.folder / "data_set.json").read_text())
    manifest = data.manifest.model_dump()
    (tmp_path / "audit.png").write_bytes(draw_audit(record).png())
    reported = ReportedData("ddm", manifest, data_set, record, tmp_path)
    html = data_section([reported], Pictures(tmp_path / "report.html", are_inside=True))
    assert '<p class="warning">the files hold only 10 distinct parameter sets' in html
    for what, value in describe_audit(record):
        assert f"<td>{what}</td>" in html
        assert value.split(" (")[0] in html


def test_the_command_writes_the_audit_warns_and_fails_above_the_share(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = packed_of(tmp_path, *same_sets(2)).data_set.folder
    output = tmp_path / "audit.json"
    command = ["audit", str(folder), "--manifest", str(folder / "manifest.json")]
    command += ["--output", str(output), "--plot", str(tmp_path / "audit.png")]
    assert main([*command, "--json"]) == 0
    assert "ddm: the files hold only 10 distinct" in caplog.text
    result = json.loads(capsys.readouterr().out)
    assert (result["n_distinct_sets"], result["n_claimed_sets"]) == (10, 20)
    assert read_audit(output).sets.distinct == 10
    assert (tmp_path / "audit.png").read_bytes().startswith(b"\x89PNG")
    assert main([*command, "--max-repeated-sets", "0.4"]) == 1
    assert "50.0% of the parameter sets are repeats" in caplog.text
    assert main([*command, "--max-repeated-sets", "2"]) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"audit_version": 7}, "audit_version is 7, this lanflow reads 1"),
        ({"more": 1}, "unknown key 'more'"),
        ({"sets": {"distinct": "many"}}, "sets.distinct: "),
    ],
)
def test_what_is_no_audit_is_named_with_its_key(
    packed: PackedData, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    record = audit_data_set(packed.data_set, packed.manifest).model_dump()
    path = tmp_path / "audit.json"
    path.write_text(json.dumps({**record, **change}))
    with pytest.raises(UserError) as caught:
        read_audit(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


def warnings_of(folder: Path, **changes: Any) -> list[str]:
    """Warnings of a file that was changed."""
    content = training_file_content()
    for key, change in changes.items():
        content[key] = change(content[key].copy())
    return other_warnings(audit_of(folder, content))


def test_rts_in_milliseconds_are_warned_of(tmp_path: Path) -> None:
    def in_milliseconds(rows: np.ndarray) -> np.ndarray:
        rows[:, -2] *= 1000
        return rows

    (warning,) = warnings_of(tmp_path, lan_data=in_milliseconds)
    assert "rts are in seconds, and these may be milliseconds" in warning


def test_likely_trials_before_time_zero_are_warned_of(tmp_path: Path) -> None:
    def early(rows: np.ndarray) -> np.ndarray:
        rows[:7, -2] = -0.5
        return rows

    def likely(labels: np.ndarray) -> np.ndarray:
        labels[:5], labels[5:7] = -1, -66
        return labels

    (warning,) = warnings_of(tmp_path, lan_data=early, lan_labels=likely)
    assert warning.startswith("5 trials before time zero")


@pytest.mark.parametrize("label", [-8.7, -66.77497])
def test_labels_that_are_all_the_same_are_warned_of(tmp_path: Path, label: float) -> None:
    def same(labels: np.ndarray) -> np.ndarray:
        return np.where(np.arange(len(labels)) % 3, label, -66.77497).astype(labels.dtype)

    (warning,) = warnings_of(tmp_path, lan_labels=same)
    assert warning.startswith(f"every label of lan is {label:.4g} or the floor, from which")


def test_labels_of_another_model_are_warned_of(tmp_path: Path) -> None:
    audit = audit_of(tmp_path, training_file_content())
    assert audit.label_error is not None
    assert audit.label_error.mean_absolute > 0.5
    assert any("nats off the exact log-likelihood of ddm" in text for text in audit.warnings)


def test_a_deadline_that_nobody_misses_is_warned_of(tmp_path: Path) -> None:
    content = training_file_content(model="ddm_deadline")
    content["model_config"] |= {
        "params": ["v", "a", "z", "t", "deadline"],
        "param_bounds": [[-3.0, 0.3, 0.1, 0.0, 0.1], [3.0, 2.5, 0.9, 2.0, 10.0]],
    }
    n = len(content["theta"])
    theta = np.concatenate([content["theta"], np.full((n, 1), 5, "f4")], axis=1)
    content = {
        "opn_data": theta,
        "opn_labels": np.zeros((n, 1), "f4"),
        "model_config": content["model_config"],
        "generator_config": content["generator_config"],
    }
    write_training_file(tmp_path / "files" / "0.pickle", content)
    places = Places(folder=tmp_path / "files")
    data = materialise_once(freeze(query=None, places=places, model="ddm_deadline"), tmp_path / "c")
    audit = audit_data_set(data.data_set, data.manifest)
    assert any("no trial of ddm_deadline is an omission" in text for text in audit.warnings)
