"""Posteriors of simulated subjects by HSSM, in the interpreter that has it."""

import contextlib
import json
import queue
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from lanflow.core.errors import UserError
from lanflow.core.processes import ONE_CORE
from lanflow.evaluation.hssm.interpreter import hssm_environment, interpreter
from lanflow.evaluation.hssm.sampler import Case, Draws, SubjectCase
from lanflow.evaluation.recovery.subjects import Subject
from lanflow.models.density import Array
from lanflow.models.parameters import Bounds, Theta
from lanflow.networks.network import Network

_SCRIPT = Path(__file__).parents[1] / "hssm" / "sampler.py"
N_CHAINS, N_TUNE, N_DRAWS = 2, 500, 500

_ONE_CORE = {
    **ONE_CORE,
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}

# A line of JSON of one subject, or why there will be none.
Results: TypeAlias = "queue.SimpleQueue[tuple[bool, str]]"


@dataclass(frozen=True)
class Posterior:
    """Draws of one subject's parameters.

    Attributes
    ----------
    draws
        Shape (chains, draws, parameters).
    r_hat, ess
        Of each parameter: whether chains agree (Vehtari et al. 2021), and how many independent
        draws they are worth; shape (parameters,).
    n_divergent
        Draws whose trajectory diverged.
    version
        HSSM's.
    """

    draws: Array
    r_hat: Array
    ess: Array
    n_divergent: int
    version: str


def sample_subjects(
    network: Network,
    subjects: list[Subject],
    *,
    python: str,
    n_processes: int,
    on_subject: Callable[[], None] = lambda: None,
) -> list[Posterior]:
    """Sample each subject's parameters with HSSM's NUTS, under a uniform prior within the bounds.

    Parameters
    ----------
    network
        A likelihood network.
    subjects
        From :func:`lanflow.evaluation.recovery.subjects.simulate_subjects`.
    python
        An interpreter that has HSSM.
    n_processes
        Subjects sampled at a time; of no effect on the draws.
    on_subject
        Called after each subject.

    Raises
    ------
    UserError
        If HSSM refuses the model or the network, with its last words.
    """
    posteriors: dict[int, Posterior] = {}
    with tempfile.TemporaryDirectory() as folder:
        results: Results = queue.SimpleQueue()
        with contextlib.ExitStack() as stack:
            for case in _cases(network, subjects, Path(folder), n_processes):
                stack.enter_context(_sampler(python, case, results))
            while len(posteriors) < len(subjects):
                is_result, text = results.get()
                if not is_result:
                    raise UserError(f"{network.title}: HSSM does not sample it ({text})")
                found: Draws = json.loads(text)
                posteriors[found["index"]] = _posterior(found, network.bounds)
                on_subject()
    return [posteriors[i] for i in range(len(subjects))]


def _posterior(found: Draws, names: Iterable[str]) -> Posterior:
    draws = np.stack([np.array(found["draws"][name]) for name in names], axis=-1)
    r_hat, ess = (np.array([found[key][name] for name in names]) for key in ("r_hat", "ess"))
    return Posterior(draws, r_hat, ess, found["n_divergent"], found["version"])


def _cases(network: Network, subjects: list[Subject], folder: Path, n_processes: int) -> list[Path]:
    """Write a case for each process, with every n-th subject."""
    onnx = folder / "network.onnx"
    onnx.write_bytes(network.onnx)
    told: list[SubjectCase] = [
        {
            "index": i,
            "rts": subject.rts.tolist(),
            "choices": subject.choices.tolist(),
            "start": _start(network.bounds, subject),
            "seed": subject.seed,
        }
        for i, subject in enumerate(subjects)
    ]
    paths = []
    for first in range(min(n_processes, len(subjects))):
        case: Case = {
            "model": network.model_name,
            "loglik": str(onnx),
            "choices": list(network.known_model.choices),
            "bounds": network.bounds.to_json(),
            "n_chains": N_CHAINS,
            "n_tune": N_TUNE,
            "n_draws": N_DRAWS,
            "subjects": told[first::n_processes],
        }
        paths.append(folder / f"case_{first}.json")
        paths[-1].write_text(json.dumps(case))
    return paths


def _start(bounds: Bounds, subject: Subject) -> Theta:
    """The middle of the bounds, but a non-decision time that no rt lies before.

    Behind the first rt a likelihood is at its floor, and has no slope to follow.
    """
    start = bounds.centre()
    if "t" in bounds:
        low, high = bounds["t"]
        latest = low + 0.5 * (float(subject.rts.min()) - low)
        start["t"] = min(start["t"], max(latest, low + 0.01 * (high - low)))
    return start


@contextlib.contextmanager
def _sampler(python: str, case: Path, results: Results) -> Iterator[None]:
    """A process whose results go to a queue; why it failed, too. It does not outlive the body."""
    errors = case.with_suffix(".err")
    with errors.open("wb") as stderr:
        process = subprocess.Popen(  # noqa: S603
            [interpreter(python), str(_SCRIPT), str(case)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=case.parent,
            env={**hssm_environment(), **_ONE_CORE},
            # Ctrl-C goes to lanflow alone, which ends the process.
            start_new_session=True,
        )
    reader = threading.Thread(target=_read_results, args=(process, errors, results))
    reader.start()
    try:
        yield
    finally:
        process.kill()
        process.wait()
        reader.join()


def _read_results(process: "subprocess.Popen[str]", errors: Path, results: Results) -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            if line.endswith("\n"):  # and not cut off by the process's end
                results.put((True, line))
    if process.wait() != 0:
        said = errors.read_text(errors="replace").strip().splitlines()
        last = said[-1] if said else f"no message, exit status {process.returncode}"
        results.put((False, last))
