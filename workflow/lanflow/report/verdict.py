"""The top of a report: which networks passed, and by how much the others did not."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lanflow.core.templates import Cell, Table, Verdict
from lanflow.evaluation.record import Gate, measure_name, stops, without_folders
from lanflow.report.content import NetworkResults
from lanflow.report.html import render

# Why a network has a verdict that says neither.
_WHY = {"not judged": ", since its model is not at hand"}
# The question that each gate asks of a network.
_GATES = {
    "structure": "takes one trial and gives one number, as HSSM needs it",
    "parity": "the ONNX file gives what JAX and Torch compute from the same weights",
    "tails": "nothing before time zero, sane values at the corners of the bounds",
    "accuracy": "close to the likelihood or probability that is known exactly",
    "calibration": "new simulations fall where it says, of a model whose density is not known",
    "density": "agrees with simulations, and its probabilities sum to one",
    "hssm": "works in HSSM, with gradients that are right",
}


@dataclass(frozen=True)
class Group:
    """Networks that differ in their backend alone, and whose gates came out the same.

    Attributes
    ----------
    networks
        One for each backend.
    """

    networks: Sequence[NetworkResults]

    @property
    def name(self) -> str:
        """For people: model, type and name, and the backend of a network that stands alone."""
        first = self.networks[0]
        return first.name if len(self.networks) == 1 else first.name_without_backend

    @property
    def backends(self) -> str:
        """For people."""
        return ", ".join(one.backend for one in self.networks)

    @property
    def verdict(self) -> Verdict:
        """Of all of them."""
        return network_verdict(self.networks[0])

    def gates(self, name: str) -> list[tuple[str, Gate]]:
        """List the gate of a name with the backend, for each network that went through it."""
        return [
            (one.backend, gate) for one in self.networks for gate in one.gates if gate.name == name
        ]


def group_networks(networks: Sequence[NetworkResults]) -> list[Group]:
    """Put networks together that differ in their backend alone, if their gates agree."""
    groups: dict[object, list[NetworkResults]] = {}
    for one in networks:
        verdicts = tuple((gate.name, gate.verdict) for gate in one.gates)
        groups.setdefault((one.name_without_backend, one.verdict, verdicts), []).append(one)
    return [Group(found) for found in groups.values()]


def network_verdict(network: NetworkResults) -> Verdict:
    """Return a network's verdict; bad unless it passed or could not be judged."""
    return Verdict(network.verdict, is_bad=network.evaluation is None)


def gate_verdict(gate: Gate) -> Verdict:
    """Return a gate's verdict; a skipped one counts against a network only if that needs it."""
    if gate.verdict == "skipped" and stops(gate):
        return Verdict("skipped, but needed", is_bad=True)
    return Verdict(gate.verdict)


def headline(networks: Sequence[NetworkResults]) -> str:
    """Say in one sentence how many passed."""
    n, passed = len(networks), sum(network.verdict == "passed" for network in networks)
    if passed == n:
        text = f"Every network passed its gates ({n:,} of {n:,})."
    elif passed == 0:
        text = f"No network passed its gates (0 of {n:,})."
    else:
        text = f"{passed:,} of {n:,} networks passed their gates."
    others = Counter(one.verdict for one in networks if one.verdict not in ("passed", "failed"))
    return text + "".join(
        f" {count:,} of them {verdict}{_WHY.get(verdict, '')}." for verdict, count in others.items()
    )


def verdict_section(networks: Sequence[NetworkResults], title: str | None = None) -> Markup:
    """Show the verdict on every network, in words and as a table of gates.

    Parameters
    ----------
    networks
        Of the study, or some of them.
    title
        The verdict in one sentence, if another than :func:`headline`.
    """
    groups = group_networks(networks)
    return _verdict(
        networks,
        title=title or headline(networks),
        gates=_gate_table(groups) if _gate_names(networks) else None,
        failed=[
            (group.name, _miss_table(group)) for group in groups if any(map(_fails, group.networks))
        ],
        not_evaluated=[one.name for one in networks if one.evaluation is None],
        skipped=_skipped(networks),
    )


def verdict_of_many(networks: Sequence[NetworkResults]) -> Markup:
    """Show how many networks passed each gate, where a page cannot hold them all."""
    rows: list[list[Cell]] = []
    for name in _gate_names(networks):
        found = Counter(g.verdict for one in networks for g in one.gates if g.name == name)
        rows.append([name, *(found[word] for word in ("passed", "failed", "skipped"))])
    head = ["gate", "passed", "failed", "skipped"]
    table = Table("Gates of all networks", head, rows) if rows else None
    return _verdict(networks, title=headline(networks), gates=table)


def _verdict(
    networks: Sequence[NetworkResults],
    *,
    title: str,
    gates: Table | None,
    failed: Sequence[tuple[str, Table]] = (),
    not_evaluated: Sequence[str] = (),
    skipped: Sequence[str] = (),
) -> Markup:
    names = _gate_names(networks)
    return render(
        "verdict.html",
        headline=title,
        is_good=all(network.verdict == "passed" for network in networks),
        gates=gates,
        asked={name: _GATES.get(name, "a check") for name in names},
        failed=failed,
        not_evaluated=not_evaluated,
        skipped=skipped,
    )


def _gate_names(networks: Sequence[NetworkResults]) -> list[str]:
    return list(dict.fromkeys(gate.name for one in networks for gate in one.gates))


def _fails(network: NetworkResults) -> bool:
    return any(gate.verdict == "failed" for gate in network.gates)


def _gate_table(groups: Sequence[Group]) -> Table:
    """Make a row for the networks of each group: verdict, gates, error."""
    gates = _gate_names([one for group in groups for one in group.networks])
    rows: list[list[Cell]] = []
    for group in groups:
        first = group.networks[0]
        found = {gate.name: gate_verdict(gate) for gate in first.gates}
        cells = [group.verdict, *map(found.get, gates)]
        rows.append([first.name_without_backend, group.backends, *cells, _errors(group)])
    head = ["network", "trained in", "verdict", *gates, "mean |error|"]
    return Table("Gates of every network", head, rows)


def _errors(group: Group) -> str | None:
    """Mean absolute errors of the networks of a group, once where they are the same for people."""
    unit, shown = "", []
    for one in group.networks:
        scores = None if one.evaluation is None else one.evaluation.scores
        if scores is not None and scores.mean_abs_error is not None:
            unit = " nats" if scores.unit == "nats" else ""
            shown.append(f"{scores.mean_abs_error:.2g}")
    return f"{', '.join(dict.fromkeys(shown))}{unit}" if shown else None


def _skipped(networks: Sequence[NetworkResults]) -> list[str]:
    """Give the reason for each skipped gate, once for all networks that it holds for."""
    found: dict[tuple[str, str], list[str]] = {}
    for one in networks:
        for gate in one.gates:
            if gate.verdict == "skipped":
                found.setdefault((gate.name, without_folders(gate.reason)), []).append(one.name)
    return [
        f"{name}, since {reason}" + ("" if len(of) == len(networks) else f" ({', '.join(of)})")
        for (name, reason), of in found.items()
    ]


def _miss_table(group: Group) -> Table:
    """Tabulate the failed gates of a group: what each network has, and what is allowed."""
    backends = [one.backend for one in group.networks]
    found = [f"found ({one})" for one in backends] if len(backends) > 1 else ["found"]
    head = ["failed gate", "what was measured", *found, "at most", "times over"]
    names = _gate_names(group.networks)
    rows = [row for name in names for row in _failed_rows(dict(group.gates(name)), backends)]
    return Table(f"Failed gates of {group.name}", head, rows)


def _failed_rows(gates: Mapping[str, Gate], backends: Sequence[str]) -> list[list[Cell]]:
    """Yield a row for each number of a failed gate over its limit, or one with the reason."""
    failed = [gate for gate in gates.values() if gate.verdict == "failed"]
    if not failed:
        return []
    meaning = f"{failed[0].name}: {_GATES.get(failed[0].name, 'a check')}"
    misses = list(_misses(gates, backends))
    if not misses:
        reasons = dict.fromkeys(gate.reason or "no reason was recorded" for gate in failed)
        return [[meaning, "; ".join(reasons), *[None] * (len(backends) + 2)]]
    return [["" if i else meaning, *miss] for i, miss in enumerate(misses)]


def _misses(gates: Mapping[str, Gate], backends: Sequence[str]) -> Iterator[list[Cell]]:
    """Yield the numbers over their limit: name, what each network has, limit, times over."""
    limits = {key: limit for gate in gates.values() for key, limit in gate.limits.items()}
    for key, limit in limits.items():
        found = [gates[one].numbers.get(key) for one in backends]
        if limit is None or all(value is not None and value <= limit for value in found):
            continue
        finite = [value for value in found if value is not None]
        times = float(f"{max(finite) / limit:.2g}") if limit > 0 and finite else None
        shown = ["not finite" if value is None else float(f"{value:.3g}") for value in found]
        yield [measure_name(key), *shown, limit, times]


def measured_table(networks: Sequence[NetworkResults]) -> Table:
    """Every number that gates compare with a limit, of networks that differ in their backend."""
    head = ["gate", "what was measured", *(one.backend for one in networks), "at most"]
    rows: list[list[Cell]] = []
    gates = {
        (gate.name, key): limit
        for one in networks
        for gate in one.gates
        for key, limit in gate.limits.items()
    }
    for (name, key), limit in gates.items():
        found = [
            next((gate.numbers.get(key) for gate in one.gates if gate.name == name), None)
            for one in networks
        ]
        rows.append([name, measure_name(key), *found, limit])
    return Table(f"Numbers of {networks[0].name_without_backend}", head, rows)
