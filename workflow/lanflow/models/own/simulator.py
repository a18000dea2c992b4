"""A simulator of the user's own behind ssm-simulators' interface."""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from lanflow.core.errors import UserError
from lanflow.models.kde import NO_TIME, OMISSION

# Arguments that ssm-simulators gives beside parameters, and others that one of ours may take.
OF_A_RUN = ("n_samples", "delta_t", "max_t", "random_state")
EXTRA = ("rng", "n_trials", "deadline", "s", "sd", "return_option", "smooth_unif", "n_threads")


@contextlib.contextmanager
def numpy_seeded(seed: int) -> Iterator[None]:
    """Seed numpy's global generator for the body, and put it back as it was.

    Some simulators draw from it whatever seed they are given: of ssm-simulators those of the LBA,
    and those whose parameters vary over trials (version 0.12.5).
    """
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


class OwnSimulator:
    """A simulator of the user's own behind ssm-simulators' interface.

    The function takes the parameters by name, as numbers, and ``n_samples``; where it names them,
    also ``delta_t`` and ``max_t`` (seconds), ``random_state`` (an integer) or ``rng`` (numpy's
    generator, seeded with it). It returns ``(rts, choices)``, shape (n_samples,), or a dict with
    these keys; both are :data:`~lanflow.models.kde.OMISSION` for a trial without an answer. A
    function that takes ``n_trials`` is one in ssm-simulators' own form, and gets the parameters as
    arrays, shape (n_trials,). Whatever it takes, it finds numpy's global generator seeded. A
    parameter ``t`` is the non-decision time, as in all of ssm-simulators' models.

    Parameters
    ----------
    function
        The simulator.
    parameters, choices
        Of the model.
    where
        File, model and key, for errors.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        parameters: tuple[str, ...],
        choices: tuple[int, ...],
        where: str,
    ) -> None:
        self._function, self._where = function, where
        self._parameters, self._choices = parameters, choices
        self._named, _, self._takes_all = arguments_of(function)
        self.__name__ = getattr(function, "__name__", "simulator")

    def __call__(
        self, *, n_samples: int, n_trials: int, random_state: int, **given: Any
    ) -> dict[str, Any]:
        """Simulated trials in ssm-simulators' form: ``rts``, ``choices``, ``metadata``."""
        columns = []
        for trial in range(n_trials):
            theta = {name: float(np.ravel(given[name])[trial]) for name in self._parameters}
            if "deadline" in given:
                theta["deadline"] = float(np.ravel(given["deadline"])[trial])
            columns.append(
                self.simulate(
                    theta,
                    n_samples=n_samples,
                    random_state=random_state + trial,
                    delta_t=given["delta_t"],
                    max_t=given["max_t"],
                )
            )
        rts, choices = (np.stack(part, axis=1)[..., None] for part in zip(*columns, strict=True))
        metadata = {
            "possible_choices": list(self._choices),
            "n_samples": n_samples,
            "n_trials": n_trials,
            "delta_t": given["delta_t"],
            "max_t": given["max_t"],
            "simulator": self.__name__,
        }
        return {"rts": rts, "choices": choices, "metadata": metadata}

    def simulate(
        self,
        theta: Mapping[str, float],
        *,
        n_samples: int,
        random_state: int,
        delta_t: float,
        max_t: float,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rts (seconds, float32) and choices, shape (n_samples,), at one parameter vector.

        Raises
        ------
        UserError
            If the function raises, or returns anything else.
        """
        run: dict[str, Any] = {"n_samples": n_samples, "delta_t": delta_t, "max_t": max_t}
        run |= {"random_state": random_state, "rng": np.random.default_rng(random_state)}
        run["n_trials"], run["deadline"] = 1, theta.get("deadline", 999.0)
        is_theirs = "n_trials" in self._named
        values = {n: np.array([theta[n]]) if is_theirs else theta[n] for n in self._parameters}
        if is_theirs:
            run["deadline"] = np.array([run["deadline"]])
            run |= {"s": np.ones(1), "return_option": "full", "smooth_unif": True, "n_threads": 1}
        passed = {k: v for k, v in run.items() if k in self._named}
        if self._takes_all:
            passed |= {name: run[name] for name in OF_A_RUN}
        at = ", ".join(f"{name} {value:.4g}" for name, value in theta.items())
        try:
            with numpy_seeded(random_state):
                made = self._function(**values, **passed)
        except Exception as e:  # whatever a function of a user's raises
            raise UserError(f"{self._where}: fails at {at}: {type(e).__name__}: {e}") from e
        return self._checked(made, n_samples, theta, at)

    def _checked(
        self, made: Any, n_samples: int, theta: Mapping[str, float], at: str
    ) -> tuple[np.ndarray, np.ndarray]:
        try:
            pair = (made["rts"], made["choices"]) if isinstance(made, Mapping) else made
            rts, choices = (np.asarray(part, float).ravel() for part in pair)
        except (KeyError, TypeError, ValueError) as e:
            raise UserError(
                f"{self._where}: returns {type(made).__name__}; expected (rts, choices)"
            ) from e
        if rts.shape != (n_samples,) or choices.shape != (n_samples,):
            raise UserError(
                f"{self._where}: returns {len(rts)} rts and {len(choices)} choices for n_samples "
                f"{n_samples}"
            )
        omitted = (rts == OMISSION) | (choices == OMISSION) | (rts >= theta.get("deadline", 1e9))
        reason = self._fault(rts[~omitted], choices[~omitted], theta.get("t", 0.0))
        if reason:
            raise UserError(f"{self._where}: at {at}: {reason}")
        rts, choices = np.where(omitted, OMISSION, rts), np.where(omitted, OMISSION, choices)
        return rts.astype(np.float32), choices.astype(np.int32)

    def _fault(self, rts: np.ndarray, choices: np.ndarray, shift: float) -> str | None:
        strange = choices[~np.isin(choices, self._choices)]
        if len(strange):
            return f"returns the choice {strange[0]:g}; the model's are {list(self._choices)}"
        if not np.isfinite(rts).all():
            return "returns rts that are not finite"
        if not len(rts) or rts.min() >= shift * (1 - 1e-6):
            return None
        if shift > 0:
            return (
                f"returns the rt {rts.min():.4g} s, before the non-decision time t; give a "
                "parameter that is none another name"
            )
        if (rts == NO_TIME).all():
            return None
        return (
            f"returns the rt {rts.min():.4g} s; expected seconds, {OMISSION:g} for a trial without "
            f"an answer, or {NO_TIME:g} for each trial of a model of choices alone"
        )


def arguments_of(function: Callable[..., Any]) -> tuple[list[str], list[str], bool]:
    """A function's arguments by name, those without a default, and whether it takes any other."""
    named, needed, takes_all = [], [], False
    for name, argument in inspect.signature(function).parameters.items():
        if argument.kind is inspect.Parameter.VAR_KEYWORD:
            takes_all = True
        elif argument.kind is not inspect.Parameter.VAR_POSITIONAL:
            named.append(name)
            if argument.default is inspect.Parameter.empty:
                needed.append(name)
    return named, needed, takes_all
