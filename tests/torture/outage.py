"""Outages of an MLflow server while a network is trained, at epochs that the seed chooses.

A training goes on whatever its store does, and in the end its run in the store equals that of a
training whose store never failed: after ``lanflow sync`` where the store did not come back in time,
and after the same command again where the training was interrupted.
"""

import contextlib
import io
import os
import random
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient

from lanflow.cli.train import torchtrain
from tests.conftest import content_of_run, pack
from tests.outage.conftest import Server
from tests.outage.work import Work, at_lines
from tests.slow_store import SlowStore, slow_store
from tests.torture.trial import Trial

_N_EPOCHS = 6  # of Work's trainings
_EXPERIMENT = "ddm-training"
_LONGEST_SECONDS = 180


@dataclass(frozen=True)
class _Scene:
    """The server, the proxy through which the training sees it, and two epochs of chance."""

    server: Server
    proxy: SlowStore
    first: int
    last: int
    rng: random.Random

    def set(self, **values: Any) -> Callable[[], None]:
        """Return a function that sets attributes of the proxy."""

        def act() -> None:
            for name, value in values.items():
                setattr(self.proxy, name, value)

        return act

    def between(self, **values: bool) -> dict[str, Callable[[], None]]:
        """Set attributes of the proxy after the first epoch, and unset them after the last."""
        reset = {name: not value for name, value in values.items()}
        return {
            f"epoch {self.first}/": self.set(**values),
            f"epoch {self.last}/": self.set(**reset),
        }


def _slow(scene: _Scene) -> dict[str, Callable[[], None]]:
    scene.proxy.delay = 0.3
    return {}


def _silent(scene: _Scene) -> dict[str, Callable[[], None]]:
    return scene.between(is_silent=True)


def _away(scene: _Scene) -> dict[str, Callable[[], None]]:
    return scene.between(is_away=True)


def _silent_to_the_end(scene: _Scene) -> dict[str, Callable[[], None]]:
    os.environ["LANFLOW_STORE_PATIENCE"] = "0"
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "1"
    return {f"epoch {scene.first}/": scene.set(is_silent=True)}


def _away_to_the_end(scene: _Scene) -> dict[str, Callable[[], None]]:
    os.environ["LANFLOW_STORE_PATIENCE"] = "0"
    return {f"epoch {scene.first}/": scene.set(is_away=True)}


def _never_there(scene: _Scene) -> dict[str, Callable[[], None]]:
    os.environ["LANFLOW_STORE_PATIENCE"] = "0"
    scene.proxy.is_away = True
    return {}


def _loses_answers(scene: _Scene) -> dict[str, Callable[[], None]]:
    scene.proxy.loses_answer = lambda: scene.rng.random() < 0.2
    return {}


def _interrupted(scene: _Scene) -> dict[str, Callable[[], None]]:
    scene.proxy.delay = 0.1
    return {f"epoch {scene.first}/": lambda: signal.raise_signal(signal.SIGTERM)}


def _killed_and_started(scene: _Scene) -> dict[str, Callable[[], None]]:
    return {
        f"epoch {scene.first}/": scene.server.kill,
        f"epoch {scene.last}/": scene.server.start,
    }


_CASES: Mapping[str, Callable[[_Scene], dict[str, Callable[[], None]]]] = {
    "silent for some epochs": _silent,
    "slow": _slow,
    "away for some epochs": _away,
    "silent to the end, then sync": _silent_to_the_end,
    "away to the end, then sync": _away_to_the_end,
    "never there, then sync": _never_there,
    "one answer in five lost": _loses_answers,
    "slow, and the training interrupted": _interrupted,
    "server killed and started again": _killed_and_started,
}


def run(seed: int, trials: int, folder: Path) -> list[Trial]:
    """Train ``trials`` networks, each with another of the cases in turn."""
    server_folder = folder / "server"
    server_folder.mkdir()
    work = Work(folder, pack(folder / "packed"))
    server = Server(server_folder)
    made = []
    with _environment():
        server.start()
        try:
            with slow_store(server.url) as proxy:
                os.environ["MLFLOW_TRACKING_URI"] = proxy.url
                client = MlflowClient(tracking_uri=server.url)
                whole = work.train("whole")["mlflow_run_id"]
                expected = content_of_run(client, whole)
                for i in range(trials):
                    name = list(_CASES)[i % len(_CASES)]
                    rng = random.Random(f"{seed} {i}")
                    first = rng.randint(1, _N_EPOCHS - 1)
                    last = rng.randint(first + 1, _N_EPOCHS)
                    scene = _Scene(server, proxy, first, last, rng)
                    made.append(_try(name, scene, f"trial_{i}", work, client, expected))
        finally:
            if server.is_up:
                server.kill()
    return made


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Restore the variables of this process afterwards."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _limited(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in the body after some time."""

    def end(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _try(
    name: str,
    scene: _Scene,
    place: str,
    work: Work,
    client: MlflowClient,
    expected: dict[str, Any],
) -> Trial:
    """Train a network while its store fails; then let the store get what it lacks."""
    proxy = scene.proxy
    n_before = _n_runs(client)
    told = f"epochs {scene.first} to {scene.last}"
    with _environment():
        os.environ["LANFLOW_STORE_PATIENCE"] = "120"
        try:
            with _limited(_LONGEST_SECONDS), at_lines(_CASES[name](scene)):
                status = _train(work.training(place))
        except TimeoutError:
            return Trial("outage", name, survived=False, hangs=1, remark=told)
        finally:
            proxy.is_silent = proxy.is_away = False
            proxy.delay, proxy.loses_answer = 0.0, lambda: False
    if name.endswith("interrupted"):
        status = _train(work.training(place)) if status else 1
    if name.endswith("sync"):
        work.sync()
    record = work.read_record(place)
    content = content_of_run(client, record["mlflow_run_id"])
    return Trial(
        "outage",
        name,
        survived=status == 0,
        lost=_n_lost(content, expected),
        different=sum(content[part] != expected[part] for part in expected),
        orphans=_n_runs(client) - n_before - 1 + (content["status"] != "FINISHED"),
        leftovers=len(list((work.folder / place).rglob("unsent_runs"))),
        remark=told,
    )


def _train(given: list[str]) -> int:
    """Run the command without what it prints; its status."""
    with contextlib.redirect_stdout(io.StringIO()):
        return torchtrain(given)


def _n_runs(client: MlflowClient) -> int:
    experiment = client.get_experiment_by_name(_EXPERIMENT)
    return len(client.search_runs([experiment.experiment_id]))


def _n_lost(content: dict[str, Any], expected: dict[str, Any]) -> int:
    """Values of metrics and files that a run lacks."""
    n_values = sum(
        len(set(points) - set(content["history"].get(metric, [])))
        for metric, points in expected["history"].items()
    )
    return n_values + len(set(expected["files"]) - set(content["files"]))
