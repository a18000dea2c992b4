"""A network's evaluation: its scores, its gates, cheapest first, and the verdict."""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from lanflow.core.errors import UserError, explain_import_error
from lanflow.core.files import write_json
from lanflow.core.processes import require_memory
from lanflow.evaluation import gates, gates_calibration, gates_likelihood, gates_probability
from lanflow.evaluation.gates import backend_heads
from lanflow.evaluation.hssm.gate import hssm_gate
from lanflow.evaluation.published import accuracy_limits
from lanflow.evaluation.record import (
    EVALUATION_VERSION,
    Evaluation,
    EvaluationSettings,
    Gate,
    ReferenceRecord,
    installed_versions,
    verdict_of,
)
from lanflow.evaluation.reference import Reference, choose_reference
from lanflow.evaluation.scores import (
    STREAM_CALIBRATION,
    STREAM_DENSITY,
    STREAM_EDGES,
    STREAM_SCORES,
    Scores,
    read_own_scores,
    score_likelihood,
    score_probability,
    write_scores,
)
from lanflow.models.model import Model, ModelNotAtHandError
from lanflow.models.simulators import draw_parameters
from lanflow.models.sources import BestSource
from lanflow.networks.network import Network
from lanflow.networks.runtime import likelihood_rows
from lanflow.networks.types import ContractError

log = logging.getLogger(__name__)

# Parameter vectors of the scores where none are asked for: what takes seconds for the exact
# likelihood takes minutes for a fine solution (0.4 s each) and for simulations (seconds each).
N_SETS: dict[BestSource, int] = {"analytic": 500, "solver": 100, "kde": 20}

_N_PARITY_ROWS = 1000
# Numbers of a trial beside its parameters: rt, choice, its set, the truth, the network's output.
_COLUMNS_OF_SCORES = 5


def evaluate(
    network: Network,
    *,
    wanted: BestSource | Literal["auto"] = "auto",
    settings: EvaluationSettings | None = None,
    hssm_python: str = sys.executable,
    seed: int = 1,
) -> tuple[Evaluation, Scores | None]:
    """Score a network against its reference and judge it by its gates.

    Of a network whose model is not at hand, what needs no model is judged, and nothing is scored.

    Parameters
    ----------
    network
        The network.
    wanted
        The reference.
    settings
        How much is looked at; what is usual when left out.
    hssm_python
        Interpreter that may have HSSM.
    seed
        Every draw derives from it.

    Returns
    -------
    Evaluation
        Gates, summary of the scores, verdict.
    Scores or None
        Output and reference row by row; None where the network could not be run, or its model is
        not at hand.

    Raises
    ------
    UserError
        If the file is no ONNX model, the reference is not there, or an ONNX file's model is not
        known.
    """
    network.require_readable()
    reference, missing = _find_reference(network, wanted)
    settings = settings or EvaluationSettings()
    if reference is not None:
        settings = _resolved(settings, network, reference)
    examination = Examination(network, reference, settings, hssm_python, seed, missing)
    found = examination.gates()
    is_scored = reference is not None and not examination.not_runnable
    scores = examination.scores if is_scored else None
    evaluation = Evaluation(
        evaluation_version=EVALUATION_VERSION,
        model=network.model_name,
        network_type=network.network_type.name,
        backend=network.backend,
        data_digest=None if network.card is None else network.card.data_digest,
        onnx_sha256=network.sha256,
        verdict=verdict_of(found, is_judged=reference is not None),
        gates=found,
        scores=None if scores is None else scores.summary(),
        reference=ReferenceRecord(source="none", description=f"nothing ({missing})")
        if reference is None
        else ReferenceRecord(source=reference.source, description=reference.description),
        settings=settings,
        seed=seed,
        versions=installed_versions(),
    )
    return evaluation, scores


def find_reference(network: Network) -> Reference | None:
    """The best reference of a network; None where its card names a model that is not at hand."""
    return _find_reference(network, "auto")[0]


def _find_reference(
    network: Network, wanted: BestSource | Literal["auto"]
) -> tuple[Reference | None, str]:
    """The reference, or why there is none."""
    try:
        return choose_reference(network.model, wanted), ""
    except ImportError as e:
        raise UserError(explain_import_error(e, "evaluating", extra="generate,evaluate")) from e
    except ModelNotAtHandError as e:
        if not network.trained_bounds or wanted != "auto":
            raise
        log.warning("not judged: %s", e)
        return None, str(e)


def score(
    network: Network, reference: Reference, settings: EvaluationSettings, *, seed: int
) -> Scores:
    """Hold a network beside its reference, as its evaluation with the same seed does.

    Parameters
    ----------
    network, reference
        Which belong together.
    settings
        How many parameter vectors, and trials of each.
    seed
        The evaluation's.
    """
    settings = _resolved(settings, network, reference)
    n_sets, n_trials = settings.n_sets or 0, settings.rows
    require_memory(
        f"scoring {n_sets:,} parameter vectors with {n_trials:,} trials each",
        n_sets * n_trials * 8 * (len(network.bounds) + _COLUMNS_OF_SCORES),
        advice="lower --n-sets (--draws, study key evaluation.n_sets) or --rows (evaluation.rows)",
    )
    size = {"n_sets": settings.n_sets or 0, "seed": stream_seed(seed, STREAM_SCORES)}
    if network.network_type.has_trial:
        return score_likelihood(network, reference, network.bounds, rows=settings.rows, **size)
    kind = network.network_type.name
    return score_probability(network.log_probabilities, reference, network.bounds, kind, **size)


def scores_of(
    network: Network, reference: Reference, *, n_sets: int | None = None, seed: int
) -> Scores:
    """Read the scores of a network's evaluation; made here where there are none.

    Parameters
    ----------
    network, reference
        Which belong together.
    n_sets
        Parameter vectors, if other scores than those of the evaluation are wanted.
    seed
        Of scores that are made here.
    """
    stored = read_own_scores(network) if n_sets is None else None
    return stored or score(network, reference, EvaluationSettings(n_sets=n_sets), seed=seed)


def write_evaluation(path: Path, evaluation: Evaluation, scores: Scores | None) -> None:
    """Write ``evaluation.json``, and the scores row by row beside it (``.npz``)."""
    write_scores(path.with_suffix(".npz"), scores, onnx_sha256=evaluation.onnx_sha256)
    write_json(path, evaluation.model_dump(mode="json"))


def _resolved(
    settings: EvaluationSettings, network: Network, reference: Reference
) -> EvaluationSettings:
    """The settings with the number of parameter vectors that the reference allows."""
    return EvaluationSettings(
        n_sets=settings.n_sets or N_SETS[reference.source],
        rows=settings.rows if network.network_type.has_trial else 1,
        n_simulated_sets=settings.n_simulated_sets,
    )


def stream_seed(seed: int, stream: int) -> int:
    """A seed of one use, small enough for the simulator's 32 bits after adding an index."""
    return int(np.random.SeedSequence([seed, stream]).generate_state(1)[0]) >> 3


@dataclass(frozen=True)
class Examination:
    """One network going through its gates, each in a method of its own.

    Attributes
    ----------
    network, settings, hssm_python, seed
        As for :func:`evaluate`.
    reference
        None where the model is not at hand.
    missing
        Why it is not.
    """

    network: Network
    reference: Reference | None
    settings: EvaluationSettings
    hssm_python: str
    seed: int
    missing: str = ""

    @property
    def model(self) -> Model:
        """The model, as far as it is known."""
        return self.network.known_model

    @property
    def is_likelihood(self) -> bool:
        """True if the network's output is a log-likelihood of trials."""
        return self.network.network_type.has_trial

    @property
    def needs_calibration(self) -> bool:
        """True if the reference is no better than kernel labels, and smeared as they are."""
        return self.is_likelihood and self.reference is not None and not self.reference.is_exact

    @cached_property
    def scores(self) -> Scores:
        """The network beside the reference."""
        assert self.reference is not None
        return score(self.network, self.reference, self.settings, seed=self.seed)

    @cached_property
    def not_runnable(self) -> str:
        """Say why the network cannot be run on rows of this model; empty if it can.

        A network that HSSM cannot use may be scored all the same.
        """
        try:
            self.network.require_inputs()
            self.network(np.zeros((2, self.network.session.n_inputs)))
        except ContractError as e:
            return f"the network cannot be run ({without_place(e, self.network.path)})"
        except UserError as e:
            return without_place(e, self.network.path)
        return ""

    def gates(self) -> list[Gate]:
        """All gates; where the network cannot be run, only its structure is judged."""
        steps: list[tuple[str, bool, Callable[[], Gate]]] = [
            ("parity", self.network.folder is not None, self.parity),
            ("tails", True, self.tails),
            ("accuracy", False, self.accuracy),
            *([("calibration", True, self.calibration)] if self.needs_calibration else []),
            ("density", True, self.density),
            ("hssm", False, self.hssm),
        ]
        done = [self.structure()]
        _log(done[0])
        for name, is_essential, step in steps:
            if self.not_runnable:
                gate = gates.skip(name, self.not_runnable, is_essential=is_essential)
            elif name == "hssm" and done[0].verdict == "failed":
                gate = gates.skip(
                    name, "it has not the structure that HSSM needs", is_essential=False
                )
            else:
                gate = step()
            _log(gate)
            done.append(gate)
        return done

    def structure(self) -> Gate:
        """The single-trial contract, and inputs of this model."""
        return gates.structure(self.network.onnx, self._expected_inputs())

    def _expected_inputs(self) -> list[str]:
        """Inputs of such a network; that of a network that cannot be run is not known to differ."""
        network = self.network
        try:
            return network.input_names
        except ContractError:
            return list(network.bounds)

    def parity(self) -> Gate:
        """ONNX against the backends."""
        network = self.network
        if network.folder is None or network.card is None:
            return gates.skip("parity", "an ONNX file alone has no weights", is_essential=False)
        rows = self._random_rows(_N_PARITY_ROWS)
        heads = backend_heads(network.folder, network.card)
        outputs = network if self.is_likelihood else network.log_probabilities
        return gates.parity(outputs, heads, rows, backend=network.card.backend)

    def _random_rows(self, n_rows: int) -> npt.NDArray[np.float32]:
        seed = self._seed(STREAM_EDGES)
        model, bounds = self.model, self.network.bounds
        vectors = draw_parameters(model, bounds, n_rows, seed=seed)
        if not self.is_likelihood:
            return vectors.astype(np.float32)
        rng = np.random.default_rng(seed)
        rts, choices = rng.uniform(-1, 20, n_rows), rng.choice(np.array(model.choices), n_rows)
        trials = zip(vectors, rts, choices, strict=True)
        return np.concatenate([likelihood_rows(v, [rt], [c]) for v, rt, c in trials])

    def tails(self) -> Gate:
        """Before time zero, and at the corners of the bounds."""
        network, limits = self.network, {}
        if self.is_likelihood:
            numbers = gates_likelihood.edge_numbers(
                network, self.model, network.bounds, seed=self._seed(STREAM_EDGES)
            )
            limits = gates_likelihood.EDGE_LIMITS
        else:
            numbers = gates_probability.edge_numbers(
                network.log_probabilities,
                self.model,
                network.bounds,
                seed=self._seed(STREAM_EDGES),
            )
            limits = gates_probability.EDGE_LIMITS
            if "sum_error" in numbers:
                limits = limits | gates_probability.SUM_LIMIT
        return gates.judge("tails", numbers, limits)

    def accuracy(self) -> Gate:
        """Differences from the reference, where it is exact or nearly so."""
        if self.reference is None:
            return gates.skip("accuracy", self.missing, is_essential=False)
        scores = self.scores
        numbers = scores.numbers()
        if self.needs_calibration:
            reason = "the reference is a kernel density, smeared as labels are: calibration decides"
            return gates.skip("accuracy", reason, is_essential=False, numbers=numbers)
        if self.is_likelihood:
            numbers["abs_mean_difference"] = abs(numbers["mean_difference"])
            limits = accuracy_limits(self.model.name)
        else:
            numbers["calibration_error"] = gates_probability.calibration_error(scores)
            limits = gates_probability.PROBABILITY_LIMITS
        gate = gates.judge("accuracy", numbers, limits, is_essential=False)
        return self._with_other_choice(gate)

    def _with_other_choice(self, gate: Gate) -> Gate:
        """Say of a choice-probability network that failed whose probability it gives instead."""
        is_of_one = self.network.network_type.name == "cpn" and self.network.n_outcomes == 1
        if gate.verdict != "failed" or not is_of_one:
            return gate
        assert self.reference is not None
        found = gates_probability.find_other_choice(
            self.scores, self.reference, seed=self._seed(STREAM_SCORES)
        )
        if found is None:
            return gate
        reason = (
            f"it gives the probability of choice {found.choice}, not of choice "
            f"{self.model.choices[-1]} (mean absolute error {found.mean_abs_error:.2g} if it is "
            f"taken so); {gate.reason}"
        )
        numbers = gate.numbers | {f"mean_abs_error_as_choice_{found.choice}": found.mean_abs_error}
        return gate.model_copy(update={"reason": reason, "numbers": numbers})

    def calibration(self) -> Gate:
        """Ranks and choices of fresh simulations under the network's density, without smoothing."""
        assert self.reference is not None
        numbers = gates_calibration.calibration_numbers(
            self.network,
            self.reference,
            self.network.bounds,
            n_sets=gates_calibration.SETS_PER_SCORED * (self.settings.n_sets or 0),
            seed=self._seed(STREAM_CALIBRATION),
        )
        return gates.judge("calibration", numbers, accuracy_limits(self.model.name))

    def density(self) -> Gate:
        """Against simulations, in units of their own sampling noise.

        Without the model, whether the density has a mass of one.
        """
        network, seed = self.network, self._seed(STREAM_DENSITY)
        n_sets = self.settings.n_simulated_sets
        if self.reference is None:
            return self._mass(n_sets, seed)
        if self.is_likelihood:
            numbers = gates_likelihood.density_numbers(
                network, self.reference, network.bounds, n_sets=n_sets, seed=seed
            )
            return gates.judge("density", numbers, gates_likelihood.DENSITY_LIMITS)
        numbers = gates_probability.frequency_numbers(
            network.log_probabilities,
            self.reference,
            network.bounds,
            network.network_type.name,
            n_sets=n_sets,
            seed=seed,
        )
        return gates.judge("density", numbers, gates_probability.FREQUENCY_LIMITS)

    def _mass(self, n_sets: int, seed: int) -> Gate:
        if not self.is_likelihood:
            return gates.skip("density", self.missing)
        numbers = gates_likelihood.mass_numbers(
            self.network, self.model, self.network.bounds, n_sets=n_sets, seed=seed
        )
        limits = {key: gates_likelihood.DENSITY_LIMITS[key] for key in numbers}
        return gates.judge("density", numbers, limits)

    def hssm(self) -> Gate:
        """Loaded and differentiated by HSSM."""
        seed = self._seed(STREAM_EDGES)
        return hssm_gate(self.network, python=self.hssm_python, seed=seed)

    def _seed(self, stream: int) -> int:
        return stream_seed(self.seed, stream)


def without_place(error: UserError, path: Path) -> str:
    """An error's text without the file that it is about."""
    return str(error).removeprefix(f"{path}: ")


def _log(gate: Gate) -> None:
    log.info("%s: %s%s", gate.name, gate.verdict, f" ({gate.reason})" if gate.reason else "")
