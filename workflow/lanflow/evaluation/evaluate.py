"""What a network is led through: each gate, and the errors that its scores are made of."""

import hashlib
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

import numpy as np
import numpy.typing as npt

from lanflow.core.errors import UserError
from lanflow.evaluation import gates, gates_likelihood, gates_probability
from lanflow.evaluation.gates import backend_heads
from lanflow.evaluation.hssm.gate import hssm_gate
from lanflow.evaluation.record import EVALUATION_VERSION, Evaluation, Gate, verdict_of
from lanflow.evaluation.reference import Reference, ReferenceSource, choose_reference
from lanflow.evaluation.scores import (
    STREAM_DENSITY,
    STREAM_EDGES,
    STREAM_SCORES,
    Errors,
    rows_of,
    score_likelihood,
    score_probability,
)
from lanflow.models.parameters import Box, box_of, draw_parameters
from lanflow.networks.network import ExaminedNetwork
from lanflow.networks.runtime import OnnxNetwork
from lanflow.networks.types import NETWORK_TYPES

log = logging.getLogger(__name__)

ROWS = 200
N_SIMULATED_SETS = 20

_N_PARITY_ROWS = 1000


@dataclass(frozen=True)
class Thoroughness:
    """How much is looked at; see :class:`lanflow.evaluation.record.EvaluationSettings`."""

    n_sets: int | None = None
    rows: int = ROWS
    n_simulated_sets: int = N_SIMULATED_SETS


@dataclass(frozen=True)
class Examination:
    """One network going through its gates, each in a method of its own."""

    examined: ExaminedNetwork
    reference: Reference
    n_sets: int
    thoroughness: Thoroughness
    hssm_python: str
    seed: int

    @cached_property
    def network(self) -> OnnxNetwork:
        """The network as a function of rows."""
        return OnnxNetwork(self.examined.onnx)

    @cached_property
    def box(self) -> Box:
        """Where parameters are drawn."""
        return box_of(self.reference.model, self.examined.trained_box)

    @property
    def is_likelihood(self) -> bool:
        """Whether the network's output is a log-likelihood of trials."""
        return NETWORK_TYPES[self.examined.network_type].has_trial

    @cached_property
    def errors(self) -> Errors:
        """Errors against the reference."""
        seed = self._seed(STREAM_SCORES)
        if self.is_likelihood:
            return score_likelihood(
                self.network,
                self.reference,
                self.box,
                n_sets=self.n_sets,
                rows=self.thoroughness.rows,
                seed=seed,
            )
        return score_probability(
            self.network,
            self.reference,
            self.box,
            self.examined.network_type,
            n_sets=self.n_sets,
            seed=seed,
        )

    def gates(self) -> list[Gate]:
        """All gates; where the structure fails, the network cannot be run for the others."""
        steps: list[tuple[str, bool, Callable[[], Gate]]] = [
            ("parity", self.examined.folder is not None, self.parity),
            ("tails", True, self.tails),
            ("analytic", False, self.analytic),
            ("density", True, self.density),
            ("hssm", False, self.hssm),
        ]
        done = [self.structure()]
        _tell(done[0])
        for name, is_essential, step in steps:
            if done[0].verdict == "failed":
                gate = gates.skip(
                    name, "the network has not the structure to be run", is_essential=is_essential
                )
            else:
                gate = step()
            _tell(gate)
            done.append(gate)
        return done

    def structure(self) -> Gate:
        """The single-trial contract, and inputs of this model."""
        network_type = NETWORK_TYPES[self.examined.network_type]
        return gates.structure(
            self.examined.onnx, network_type, len(self.reference.model["params"])
        )

    def parity(self) -> Gate:
        """ONNX against the backends."""
        if self.examined.folder is None:
            return gates.skip("parity", "an ONNX file alone has no weights", is_essential=False)
        features = self._random_rows(_N_PARITY_ROWS)
        heads = backend_heads(self.examined.folder)
        return gates.parity(self.network, heads, features, backend=self.examined.card["backend"])

    def _random_rows(self, n_rows: int) -> npt.NDArray[np.float32]:
        seed = self._seed(STREAM_EDGES)
        model = self.reference.model
        vectors = draw_parameters(model, self.box, n_rows, seed=seed)
        if not self.is_likelihood:
            return vectors.astype(np.float32)
        rng = np.random.default_rng(seed)
        rts, choices = rng.uniform(-1, 20, n_rows), rng.choice(model["choices"], n_rows)
        rows = [rows_of(v, [rt], [c]) for v, rt, c in zip(vectors, rts, choices, strict=True)]
        return np.concatenate(rows)

    def tails(self) -> Gate:
        """Before time zero, and at the corners of the box."""
        module = gates_likelihood if self.is_likelihood else gates_probability
        numbers = module.edge_numbers(
            self.network, self.reference.model, self.box, seed=self._seed(STREAM_EDGES)
        )
        return gates.judge("tails", numbers, module.EDGE_LIMITS)

    def analytic(self) -> Gate:
        """Errors against the reference, where it is exact or nearly so."""
        errors = self.errors
        if self.is_likelihood and self.reference.source == "kde":
            reason = "the reference is a kernel density, whose error is that of a good network"
            return gates.skip("analytic", reason, is_essential=False)
        numbers = {k: v for k, v in errors.summary().items() if isinstance(v, float)}
        if self.is_likelihood:
            numbers["abs_mean_difference"] = abs(numbers["mean_difference"])
            limits = gates_likelihood.PUBLISHED
        else:
            given = np.exp(self.network(errors.parameters)[:, 0].astype(float))
            numbers["calibration_error"] = gates_probability.calibration_error(errors, given)
            limits = gates_probability.PROBABILITY_LIMITS
        return gates.judge("analytic", numbers, limits, is_essential=False)

    def density(self) -> Gate:
        """Against simulations, in units of their own sampling noise."""
        n_sets, seed = self.thoroughness.n_simulated_sets, self._seed(STREAM_DENSITY)
        if self.is_likelihood:
            numbers = gates_likelihood.density_numbers(
                self.network, self.reference, self.box, n_sets=n_sets, seed=seed
            )
            return gates.judge("density", numbers, gates_likelihood.DENSITY_LIMITS)
        numbers = gates_probability.frequency_numbers(
            self.network,
            self.reference,
            self.box,
            self.examined.network_type,
            n_sets=n_sets,
            seed=seed,
        )
        return gates.judge("density", numbers, gates_probability.FREQUENCY_LIMITS)

    def hssm(self) -> Gate:
        """Loaded and differentiated by HSSM."""
        return hssm_gate(
            self.examined.onnx,
            self.reference.model,
            self.box,
            self.examined.network_type,
            python=self.hssm_python,
            seed=self._seed(STREAM_EDGES),
        )

    def _seed(self, stream: int) -> int:
        """A seed of one use, small enough for the simulator's 32 bits after adding an index."""
        return int(np.random.SeedSequence([self.seed, stream]).generate_state(1)[0]) >> 3


def _tell(gate: Gate) -> None:
    log.info("%s: %s%s", gate.name, gate.verdict, f" ({gate.reason})" if gate.reason else "")


# One network's evaluation: its gates, cheapest first, its scores, the verdict.


# Parameter vectors of the scores where none are asked for: what takes seconds for the exact
# likelihood takes minutes for a fine solution (0.4 s each) and for simulations (seconds each).
N_SETS: dict[ReferenceSource, int] = {"analytic": 500, "solver": 100, "kde": 20}


def evaluate(
    examined: ExaminedNetwork,
    *,
    wanted: ReferenceSource | Literal["auto"] = "auto",
    thoroughness: Thoroughness = Thoroughness(),
    hssm_python: str = sys.executable,
    seed: int = 1,
) -> Evaluation:
    """Lead a network through its gates.

    Parameters
    ----------
    examined
        The network.
    wanted
        The reference.
    thoroughness
        How much is looked at.
    hssm_python
        Interpreter that may have HSSM.
    seed
        Every draw derives from it.

    Raises
    ------
    UserError
        If the model is not known, or the reference is not there.
    """
    try:
        reference = choose_reference(examined.model, wanted)
    except ImportError as e:
        raise UserError(f"evaluating needs {e.name}; install lanflow[generate,evaluate]") from e
    n_sets = thoroughness.n_sets or N_SETS[reference.source]
    examination = Examination(examined, reference, n_sets, thoroughness, hssm_python, seed)
    passed = examination.gates()
    scores = examination.errors.summary() if passed[0].verdict == "passed" else None
    return Evaluation.model_validate(
        {
            "evaluation_version": EVALUATION_VERSION,
            "model": examined.model,
            "network_type": examined.network_type,
            "backend": examined.card.get("backend"),
            "data_digest": examined.card.get("data_digest"),
            "onnx_sha256": hashlib.sha256(examined.onnx).hexdigest(),
            "verdict": verdict_of(passed),
            "gates": [gate.model_dump() for gate in passed],
            "scores": scores,
            "reference": {"source": reference.source, "description": reference.description},
            "settings": {
                "n_sets": n_sets,
                "rows": thoroughness.rows if examined.network_type == "lan" else 1,
                "n_simulated_sets": thoroughness.n_simulated_sets,
            },
            "seed": seed,
            "versions": _versions(),
        }
    )


def _versions() -> dict[str, str]:
    found = {}
    for package in ("lanflow", "numpy", "onnx", "onnxruntime", "ssm-simulators", "jax", "torch"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
