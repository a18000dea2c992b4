"""The top of the report: which networks passed, and by how much the others did not."""

from collections.abc import Iterator, Sequence
from html import escape
from itertools import chain

from lanflow.evaluation.record import Gate
from lanflow.report.content import ReportedNetwork
from lanflow.report.html import Html, table, word

_GATES = {
    "structure": "takes one trial and gives one number, as HSSM needs it",
    "parity": "the ONNX file gives what JAX and Torch compute from the same weights",
    "density": "agrees with simulations, and its probabilities sum to one",
    "accuracy": "close to the likelihood or probability that is known exactly",
    "tails": "nothing before time zero, sane values at the corners of the box",
    "hssm": "works in HSSM, with gradients that are right",
}
_NUMBERS = {
    "mean_abs_error": "mean absolute error",
    "median_abs_error": "median absolute error",
    "p99_abs_error": "99th percentile of the absolute error",
    "abs_mean_difference": "absolute mean difference",
    "mean_mass_error": "mean deviation of the total probability from one",
    "max_mass_error": "largest deviation of the total probability from one",
    "distance_ratio": "distance from simulations, over that between two simulations",
    "max_corner_mass": "largest total probability at a corner of the box",
    "max_corner_early_mass": "largest probability before time zero at a corner of the box",
    "negative_rt_mass": "probability before time zero",
    "corner_not_finite": "values that are not finite at corners of the box",
    "calibration_error": "calibration error",
}


def verdict_section(networks: Sequence[ReportedNetwork]) -> str:
    """The verdict on every network, in words and as a table of gates."""
    return "\n".join(
        [
            _headline(networks),
            _gate_table(networks) if any(n.evaluation for n in networks) else "",
            *(_network(network) for network in networks),
        ]
    )


def headline(networks: Sequence[ReportedNetwork]) -> str:
    """How many passed, in one sentence."""
    n, passed = len(networks), sum(network.verdict == "passed" for network in networks)
    missing = sum(network.evaluation is None for network in networks)
    if passed == n:
        text = f"Every network passed its gates ({n} of {n})."
    elif passed == 0:
        text = f"No network passed its gates (0 of {n})."
    else:
        text = f"{passed} of {n} networks passed their gates."
    return text + (f" {missing} of them not evaluated." if missing else "")


def _headline(networks: Sequence[ReportedNetwork]) -> str:
    is_good = all(network.verdict == "passed" for network in networks)
    advice = (
        "Inside the box of parameters on its card, each can be used for inference."
        if is_good
        else "A network that did not pass should not be used for inference: more or better "
        "simulations, a larger network or a longer training are what helps."
    )
    return (
        f'<div class="verdict {"passed" if is_good else "failed"}">'
        f"<strong>{escape(headline(networks))}</strong><p>{escape(advice)}</p></div>"
    )


def _network(network: ReportedNetwork) -> str:
    text = f"<h3>{escape(network.name)}: {word(network.verdict)}</h3>"
    if network.evaluation is None:
        return f"{text}<p>It was not evaluated.</p>"
    failed = [gate for gate in network.evaluation.gates if gate.verdict == "failed"]
    skipped = [gate for gate in network.evaluation.gates if gate.verdict == "skipped"]
    if failed:
        heads = ["failed gate", "what was measured", "found", "at most", "times over"]
        rows = [[*row] for gate in failed for row in _misses(gate)]
        text += table(heads, rows, label=f"Failed gates of {network.name}")
    for gate in skipped:
        text += f'<p class="quiet">Not checked: {escape(f"{gate.name}, since {gate.reason}")}.</p>'
    return text


def _misses(gate: Gate) -> Iterator[tuple[object, ...]]:
    """By how much a gate was missed, number by number."""
    weight = "" if gate.is_essential else "; does not decide the verdict"
    meaning = f"{gate.name}: {_GATES.get(gate.name, 'a check')}{weight}"
    missed = 0
    for key, limit in gate.limits.items():
        value = gate.numbers.get(key)
        if limit is None or (value is not None and value <= limit):
            continue
        first = Html("" if missed else escape(meaning))
        missed += 1
        what = _NUMBERS.get(key, key.replace("_", " "))
        if value is None:
            yield first, what, "not finite", limit, None
        else:
            times = float(f"{value / limit:.2g}") if limit > 0 else None
            yield first, what, float(f"{value:.3g}"), limit, times
    if not missed:
        yield meaning, gate.reason or "no reason was recorded", None, None, None


def _gate_table(networks: Sequence[ReportedNetwork]) -> str:
    evaluations = {n.name: n.evaluation for n in networks if n.evaluation is not None}
    gates = dict.fromkeys(
        chain.from_iterable((g.name for g in e.gates) for e in evaluations.values())
    )
    rows = []
    for name, evaluation in evaluations.items():
        found = {gate.name: gate.verdict for gate in evaluation.gates}
        cells = [word(found[gate]) if gate in found else Html("") for gate in gates]
        rows.append([name, word(evaluation.verdict), *cells])
    return table(["network", "verdict", *gates], rows, label="Gates of every network")
