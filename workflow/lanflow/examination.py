"""What a network is led through: each gate, and the errors that its scores are made of."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lanflow import gates, gates_likelihood, gates_probability
from lanflow.box import Box, box_of, draw_parameters
from lanflow.evaluation_record import Gate
from lanflow.gate_hssm import hssm_gate
from lanflow.networks import NETWORK_TYPES, NetworkTypeName
from lanflow.onnx_network import OnnxNetwork
from lanflow.scoring import (
    STREAM_DENSITY,
    STREAM_EDGES,
    STREAM_SCORES,
    Errors,
    rows_of,
    score_likelihood,
    score_probability,
)
from lanflow.stored_network import StoredNetwork, read_card
from lanflow.true_density import Reference

log = logging.getLogger(__name__)

ROWS = 200
N_SIMULATED_SETS = 20

_N_PARITY_ROWS = 1000


@dataclass(frozen=True)
class ExaminedNetwork:
    """A network to evaluate.

    Attributes
    ----------
    onnx
        Its content.
    model, network_type
        What it is a network of.
    trained_box
        From its card; where it has none, ssm-simulators' bounds stand in.
    folder
        Where it was trained here; ``None`` for an ONNX file alone.
    """

    onnx: bytes
    model: str
    network_type: NetworkTypeName
    trained_box: Box = field(default_factory=dict)
    folder: StoredNetwork | None = None

    @classmethod
    def from_folder(cls, path: Path) -> "ExaminedNetwork":
        """The network in a folder.

        Raises
        ------
        UserError
            If it is not a whole network's folder.
        """
        folder = StoredNetwork(path)
        card = folder.card
        return cls(
            onnx=folder.onnx,
            model=card["model"],
            network_type=card["network_type"],
            trained_box={name: (low, up) for name, (low, up) in card["bounds"].items()},
            folder=folder,
        )

    @classmethod
    def from_onnx(
        cls, content: bytes, model: str, network_type: NetworkTypeName, card_path: Path | None
    ) -> "ExaminedNetwork":
        """A network from anywhere; its card, if it has one, for the trained box."""
        box = {} if card_path is None else read_card(card_path)["bounds"]
        return cls(
            onnx=content,
            model=model,
            network_type=network_type,
            trained_box={name: (low, up) for name, (low, up) in box.items()},
        )

    @property
    def card(self) -> Mapping[str, Any]:
        """The network's card; empty for an ONNX file alone."""
        return {} if self.folder is None else self.folder.card


@dataclass(frozen=True)
class Thoroughness:
    """How much is looked at; see :class:`lanflow.evaluation_record.EvaluationSettings`."""

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
        heads = self.examined.folder.heads()
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
