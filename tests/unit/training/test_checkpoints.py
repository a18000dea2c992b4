import json
import logging
import pickle
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from lanflow.training.checkpoints import Checkpoint, Epoch, load_checkpoint, save_checkpoint
from lanflow.training.schedules import ScheduleState


def checkpoint(*, fingerprint: str = "abc") -> Checkpoint:
    rng = np.random.default_rng(3)
    weights = {
        "layers_0/kernel": rng.normal(size=(4, 3)).astype("f4"),
        "layers_0/bias": np.zeros(3, dtype="f4"),
    }
    return Checkpoint(
        fingerprint=fingerprint,
        weights=weights,
        best_weights={name: array + 1 for name, array in weights.items()},
        optimizer_state={
            "count": np.array(7, dtype="i4"),
            **{f"mu/{name}": array / 2 for name, array in weights.items()},
            **{f"nu/{name}": array**2 for name, array in weights.items()},
        },
        schedule=ScheduleState(learning_rate=0.1, best=1 / 3, n_bad_epochs=2),
        history=[Epoch(1, 0.1 + 0.2, 1e-17, 0.1, 2 / 3)],
    )


def test_a_checkpoint_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    saved = checkpoint()
    save_checkpoint(tmp_path / "c.npz", saved)
    loaded = load_checkpoint(tmp_path / "c.npz")
    assert loaded is not None
    for group in ("weights", "best_weights", "optimizer_state"):
        before, after = getattr(saved, group), getattr(loaded, group)
        assert list(before) == list(after)
        for name in before:
            assert before[name].dtype == after[name].dtype
            assert before[name].shape == after[name].shape
            np.testing.assert_array_equal(before[name], after[name])
    assert (loaded.fingerprint, loaded.schedule, loaded.history) == (
        saved.fingerprint,
        saved.schedule,
        saved.history,
    )


def test_the_loss_of_a_schedule_that_has_seen_none_comes_back(tmp_path: Path) -> None:
    saved = replace(checkpoint(), schedule=ScheduleState(learning_rate=0.1))
    assert saved.schedule.best == float("inf")
    save_checkpoint(tmp_path / "c.npz", saved)
    loaded = load_checkpoint(tmp_path / "c.npz")
    assert loaded is not None
    assert loaded.schedule.best == float("inf")


def test_a_newer_checkpoint_takes_the_place_of_the_older(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    for fingerprint in ("old", "new"):
        save_checkpoint(path, checkpoint(fingerprint=fingerprint))
    loaded = load_checkpoint(path)
    assert loaded is not None
    assert loaded.fingerprint == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_where_there_is_no_checkpoint_there_is_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "c.npz") is None


def zip_of(path: Path, **arrays: np.ndarray) -> bytes:
    np.savez(path, **arrays)
    return path.read_bytes()


def test_a_damaged_checkpoint_is_named_and_left_unused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "c.npz"
    saved = checkpoint()
    save_checkpoint(path, saved)
    whole = path.read_bytes()
    schedule = asdict(saved.schedule)
    state = json.dumps({"fingerprint": "a", "schedule": schedule, "history": []})
    damaged = {
        "empty": b"",
        "text": b"not a checkpoint",
        "pickle": pickle.dumps({"state": 1}),
        "no state": zip_of(path, **{"weights:a": np.ones(2)}),
        "state is no JSON": zip_of(path, state=np.array("{")),
        "state is a list": zip_of(path, state=np.array("[]")),
        "state lacks history": zip_of(path, state=np.array('{"fingerprint": "a"}')),
        "unknown group": zip_of(path, **{"state": np.array(state), "other:a": np.ones(2)}),
        "no group": zip_of(path, state=np.array(state), plain=np.ones(2)),
        "objects": zip_of(path, **{"state": np.array(state), "weights:a": np.array([{}])}),
        **{f"cut at {length}": whole[:length] for length in range(1, len(whole), 97)},
    }
    for name, content in damaged.items():
        path.write_bytes(content)
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="lanflow"):
            assert load_checkpoint(path) is None, name
        assert f"{path} is not a readable checkpoint" in caplog.text, name


def test_a_checkpoint_whose_bytes_changed_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    saved = checkpoint()
    save_checkpoint(path, saved)
    whole = bytearray(path.read_bytes())
    at = whole.index(saved.weights["layers_0/kernel"].tobytes())
    whole[at] ^= 0xFF
    path.write_bytes(whole)
    assert load_checkpoint(path) is None


@pytest.mark.parametrize("group", ["weights", "best_weights", "optimizer_state"])
@pytest.mark.parametrize("change", ["shape", "missing", "other", "float64"])
def test_arrays_that_do_not_fit_together_are_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, group: str, change: str
) -> None:
    """A backend would write beyond them, and the process would die of it."""
    saved = checkpoint()
    arrays = dict(getattr(saved, group))
    name = next(name for name in arrays if name != "count")
    match change:
        case "shape":
            arrays[name] = arrays[name][:1]
        case "missing":
            del arrays[name]
        case "other":
            arrays["layers_9/bias"] = np.ones(3, "f4")
        case "float64":
            arrays[name] = arrays[name].astype("f8")
    save_checkpoint(tmp_path / "c.npz", replace(saved, **{group: arrays}))
    assert load_checkpoint(tmp_path / "c.npz") is None
    assert "is not a readable checkpoint" in caplog.text


def test_sgd_has_no_state(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.npz", replace(checkpoint(), optimizer_state={}))
    loaded = load_checkpoint(tmp_path / "c.npz")
    assert loaded is not None
    assert loaded.optimizer_state == {}
