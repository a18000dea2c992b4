"""A disk that is full, or that nothing may be written to, and that has room again later.

As root, on a small file system in memory (tmpfs). Elsewhere a limit on the size of files takes its
place (RLIMIT_FSIZE), which ends writes in the middle as a full disk does.
"""

import contextlib
import functools
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.torture.starved import (
    Ended,
    digests,
    generate_words,
    hidden_leftovers,
    make_inputs,
    run_command,
    statuses,
    train_words,
)
from tests.torture.trial import Trial

_SIZE = 3 * 2**20
# What each command makes, compared with what it makes where there is room.
_MADE = {
    "torchtrain": ("model.onnx", "weights_*.pt"),
    "generate": ("*.pickle",),
    "materialise": ("*.npy", "data_set.json"),
}


def run(seed: int, trials: int, folder: Path) -> list[Trial]:
    """Fill the disk of a command's results up to a random rest, then make room; and read-only."""
    rng = random.Random(seed)
    inputs = make_inputs(folder / "inputs")
    expected = functools.cache(lambda name: _undisturbed(name, inputs, folder / "undisturbed"))
    done = []
    can_mount = may_mount(folder)
    for number in range(trials):
        name = list(_MADE)[number % len(_MADE)]
        left = rng.choice([0, 1, rng.randrange(30_000), rng.randrange(400_000)])
        place = folder / f"trial_{number}"
        done.append(_full(name, inputs, place, left, expected(name), can_mount=can_mount))
        shutil.rmtree(place, ignore_errors=True)
    # Of these a few show all there is to see.
    for number in range(min(trials // 5, 5) if can_mount else 0):
        left = rng.randrange(1_500_000) if number else 0
        done.append(_full_store(inputs, folder / f"store_{number}", left, expected("torchtrain")))
    for name in list(_MADE)[: trials // 5 if can_mount else 0]:
        done.append(_read_only(name, inputs, folder / f"read_only_{name}"))
    return done


def may_mount(folder: Path) -> bool:
    """Whether this process may make file systems."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError), _small_disk(folder / "probe"):
        return True
    return False


@contextlib.contextmanager
def _small_disk(place: Path, options: str = "") -> Iterator[Path]:
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}{options}", "tmpfs", place]
    subprocess.run(command, check=True, capture_output=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True, capture_output=True)


def _words(name: str, inputs: Path, results: Path, database: Path | None) -> list[str]:
    tracked = [] if database is None else ["--mlflow-on"]
    tracked += [] if database is None else ["--mlflow-tracking-uri", f"sqlite:///{database}"]
    if name == "torchtrain":
        return train_words("torch", inputs, results, *tracked)
    if name == "generate":
        return generate_words(inputs, results / "chunk", "--processes", "1", *tracked)
    return ["lanflow", "materialise", f"{inputs}/manifest.json", "--output", f"{results}/d"]


def _undisturbed(name: str, inputs: Path, folder: Path) -> dict[str, str]:
    results = folder / name
    ended = run_command(_words(name, inputs, results, None), place=folder)
    assert ended.status == 0, ended.text
    return digests(results, *_MADE[name])


def _full(
    name: str, inputs: Path, place: Path, left: int, expected: dict[str, str], *, can_mount: bool
) -> Trial:
    """Run with ``left`` bytes of room, then with enough."""
    database = place / "mlflow.db"
    words = functools.partial(_words, name, inputs)
    with contextlib.ExitStack() as stack:
        if can_mount:
            disk = stack.enter_context(_small_disk(place / "disk"))
            _fill(disk / "ballast", disk, left)
            first = run_command(words(disk / "results", database), place=place)
            (disk / "ballast").unlink()
        else:
            disk = place
            first = run_command(words(place / "results", None), place=place, limits=_limit(left))
        found = statuses(database)
        remark = f"{left:,} bytes of room: {first.status} {found} {first.last_line}"
        is_told = first.is_told and (first.status == 0 or _names_place(first, disk))
        orphans = found.count("RUNNING")
        second = run_command(words(disk / "results", database), place=place)
        made = digests(disk / "results", *_MADE[name])
        left_over = hidden_leftovers(disk / "results") if (disk / "results").exists() else []
        return Trial(
            part="disk",
            name=f"{name}, full",
            survived=is_told and second.status == 0,
            lost=len(expected.keys() - made.keys()),
            different=sum(made[key] != expected[key] for key in made.keys() & expected.keys()),
            orphans=orphans + statuses(database).count("RUNNING"),
            leftovers=len(left_over),
            hangs=(first.status is None) + (second.status is None),
            remark=f"{remark}; then {second.status} {second.last_line} {left_over}",
        )


def _full_store(inputs: Path, place: Path, left: int, expected: dict[str, str]) -> Trial:
    """Train with a store whose disk has ``left`` bytes of room, then enough."""
    results = place / "results"
    with _small_disk(place / "disk") as disk:
        database = disk / "mlflow.db"
        words = _words("torchtrain", inputs, results, database)
        _fill(disk / "ballast", disk, left)
        first = run_command(words, place=place)
        (disk / "ballast").unlink()
        second = run_command(words, place=place)
        found = statuses(database)
        made = digests(results, *_MADE["torchtrain"])
        return Trial(
            part="disk",
            name="torchtrain, its store's disk full",
            survived=first.is_told and second.status == 0 and "FINISHED" in found,
            lost=len(expected.keys() - made.keys()),
            different=sum(made[key] != expected[key] for key in made.keys() & expected.keys()),
            orphans=found.count("RUNNING"),
            leftovers=len(hidden_leftovers(place)),
            hangs=(first.status is None) + (second.status is None),
            remark=f"{left:,} bytes of room: {first.status} {first.last_line}; then "
            f"{second.status} {found} {second.last_line} {hidden_leftovers(place)}",
        )


def _read_only(name: str, inputs: Path, place: Path) -> Trial:
    """Run where nothing may be written, and where the rights are missing."""
    database = place / "mlflow.db"
    with _small_disk(place / "disk", ",ro") as disk:
        ended = run_command(_words(name, inputs, disk / "results", database), place=place)
    return Trial(
        part="disk",
        name=f"{name}, read-only",
        survived=ended.status == 1 and ended.is_told and _names_place(ended, disk),
        orphans=statuses(database).count("RUNNING"),
        hangs=int(ended.status is None),
        remark=f"{ended.status} {ended.last_line}",
    )


def _names_place(ended: Ended, disk: Path) -> bool:
    return str(disk) in ended.last_line


def _fill(path: Path, disk: Path, left: int) -> None:
    free = os.statvfs(disk)
    with path.open("wb") as file:
        file.write(b"\0" * max(free.f_bavail * free.f_frsize - left, 0))


def _limit(left: int) -> dict[str, int]:
    return {"RLIMIT_FSIZE": left}
