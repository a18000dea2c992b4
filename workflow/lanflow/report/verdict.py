"""The top of the report: which networks passed, and by how much the others did not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lanflow.evaluation.measures import measure_name
from lanflow.evaluation.record import Gate
from lanflow.report.content import NetworkResults
from lanflow.report.html import Cell, Table, Verdict, render

# What each gate asks of a network.
_GATES = {
    "structure": "takes one trial and gives one number, as HSSM needs it",
    "parity": "the ONNX file gives what JAX and Torch compute from the same weights",
    "density": "agrees with simulations, and its probabilities sum to one",
    "accuracy": "close to the likelihood or probability that is known exactly",
    "tails": "nothing before time zero, sane values at the corners of the bounds",
    "hssm": "works in HSSM, with gradients that are right",
}


@dataclass(frozen=True)
class _Judged:
    """What is said of one network.

    Attributes
    ----------
    name, verdict
        Of the network.
    is_evaluated
        Whether its gates were run.
    misses
        Failed gates with what was measured; None if no gate failed.
    skipped
        Gates that were not run, with reasons.
    """

    name: str
    verdict: Verdict
    is_evaluated: bool
    misses: Table | None
    skipped: Sequence[Gate]


def verdict_section(networks: Sequence[NetworkResults]) -> Markup:
    """The verdict on every network, in words and as a table of gates."""
    return render(
        "verdict.html",
        headline=headline(networks),
        is_good=all(network.verdict == "passed" for network in networks),
        gates=_gate_table(networks) if any(n.evaluation for n in networks) else None,
        networks=[_judged(network) for network in networks],
    )


def headline(networks: Sequence[NetworkResults]) -> str:
    """How many passed, in one sentence."""
    n, passed = len(networks), sum(network.verdict == "passed" for network in networks)
    missing = sum(network.evaluation is None for network in networks)
    if passed == n:
        text = f"Every network passed its gates ({n} of {n})."
    elif passed == 0:
        text = f"No network passed its gates (0 of {n})."
    else:
        text = f"{passed} of {n} networks passed their gates."
    not_judged = sum(network.verdict == "not judged" for network in networks)
    if not_judged:
        text += f" {not_judged} of {n} not judged, since the model is not at hand."
    return text + (f" {missing} of them not evaluated." if missing else "")


def _gate_table(networks: Sequence[NetworkResults]) -> Table:
    evaluated = {one.name: one.evaluation for one in networks if one.evaluation is not None}
    gates = list(dict.fromkeys(gate.name for e in evaluated.values() for gate in e.gates))
    rows = []
    for name, evaluation in evaluated.items():
        found = {gate.name: Verdict(gate.verdict) for gate in evaluation.gates}
        rows.append([name, Verdict(evaluation.verdict), *map(found.get, gates)])
    return Table("Gates of every network", ["network", "verdict", *gates], rows)


def _judged(network: NetworkResults) -> _Judged:
    gates = [] if network.evaluation is None else network.evaluation.gates
    failed = [gate for gate in gates if gate.verdict == "failed"]
    return _Judged(
        name=network.name,
        verdict=Verdict(network.verdict),
        is_evaluated=network.evaluation is not None,
        misses=_miss_table(network.name, failed) if failed else None,
        skipped=[gate for gate in gates if gate.verdict == "skipped"],
    )


def _miss_table(name: str, failed: Sequence[Gate]) -> Table:
    head = ["failed gate", "what was measured", "found", "at most", "times over"]
    rows = [row for gate in failed for row in _gate_rows(gate)]
    return Table(f"Failed gates of {name}", head, rows)


def _gate_rows(gate: Gate) -> list[list[Cell]]:
    """A failed gate: a row for each number over its limit, or one with the reason."""
    weight = "" if gate.is_essential else "; does not decide the verdict"
    meaning = f"{gate.name}: {_GATES.get(gate.name, 'a check')}{weight}"
    misses = list(_misses(gate))
    if not misses:
        return [[meaning, gate.reason or "no reason was recorded", None, None, None]]
    return [["" if i else meaning, *miss] for i, miss in enumerate(misses)]


def _misses(gate: Gate) -> Iterator[tuple[Cell, ...]]:
    """Numbers over their limit: name, what was found, the limit, and how many times over."""
    for key, limit in gate.limits.items():
        value = gate.numbers.get(key)
        if limit is None or (value is not None and value <= limit):
            continue
        if value is None:
            yield measure_name(key), "not finite", limit, None
        else:
            times = float(f"{value / limit:.2g}") if limit > 0 else None
            yield measure_name(key), float(f"{value:.3g}"), limit, times
