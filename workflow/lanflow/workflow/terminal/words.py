"""Words for each rule, and for what came out of a job, from the result of its command."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from lanflow.core.progress import find_progress, format_count

Result = Mapping[str, Any]


class Words(NamedTuple):
    """Words for a rule.

    Attributes
    ----------
    doing, done
        What a job does while it runs, and what it did.
    what
        What it does that to, after the names of its wildcards.
    describe
        What came out, from the JSON that the command ends with and the lines of its log.
    """

    doing: str
    done: str
    what: str
    describe: Callable[[Result, Sequence[str]], str]


def words_of(rule: str) -> Words:
    """Return the words for a rule; those of a module may have a prefix to their names."""
    for name, words in _WORDS.items():
        if rule == name or rule.endswith(f"_{name}"):
            return words
    return Words(rule, rule, "", lambda _result, _lines: "")


def subject_of(rule: str, wildcards: Mapping[str, str]) -> str:
    """Return what a job is about: model, type and network, or the number of a chunk."""
    known = ("model", "network_type", "network", "backend", "chunk", "device")
    parts = [wildcards[name] for name in ("model", "network_type") if name in wildcards]
    if "network" in wildcards:
        parts.append("_".join(wildcards[n] for n in ("network", "backend") if n in wildcards))
    if "chunk" in wildcards:
        parts.append(f"chunk {wildcards['chunk']}")
    parts += [value for name, value in wildcards.items() if name not in known]
    what = words_of(rule).what
    return " ".join([*parts, *([what] if what else [])])


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def _checked_node(result: Result, _lines: Sequence[str]) -> str:
    gpu = f", sees {result['gpu']}" if result["gpu"] else ""
    return f"{result['node']} reaches the MLflow store{gpu}"


def _sent(result: Result, _lines: Sequence[str]) -> str:
    return f"{result['n_runs_sent']} sent" if result["n_runs_sent"] else "none"


def _simulated(result: Result, _lines: Sequence[str]) -> str:
    return f"{_count(result['n_parameter_sets'], 'parameter set')}{_pending(result)}"


def _looked_up(result: Result, _lines: Sequence[str]) -> str:
    left_out = result["n_runs_left_out"]
    rest = f", {left_out} left out" if left_out else ""
    return f"{_count(result['n_runs'], 'run')}, {_count(result['n_files'], 'file')}{rest}"


def _listed(result: Result, _lines: Sequence[str]) -> str:
    return _count(result["n_files"], "file")


def _packed(result: Result, _lines: Sequence[str]) -> str:
    rows = format_count(max(result["n_rows"].values()))
    return f"{_count(result['n_parameter_sets'], 'parameter set')}, {rows} rows"


def _audited(result: Result, _lines: Sequence[str]) -> str:
    return f"{_count(result['n_distinct_sets'], 'distinct parameter set')}"


def _trained(result: Result, lines: Sequence[str]) -> str:
    parts = []
    if shown := find_progress(lines):
        parts += [_count(int(shown.done.split()[1]), "epoch"), shown.rate]
    parts.append(f"val_loss {result['best_val_loss']:.3g}")
    return ", ".join(parts) + _pending(result)


def _evaluated(result: Result, _lines: Sequence[str]) -> str:
    failed = [name for name, verdict in result["gates"].items() if verdict == "failed"]
    gates = f" ({', '.join(failed)})" if failed else ""
    error = (result["scores"] or {}).get("mean_abs_error")
    return f"{result['verdict']}{gates}" + (f", mean error {error:.3g}" if error else "")


def _drew(result: Result, _lines: Sequence[str]) -> str:
    return _count(len(result["plots"]), "figure")


def _recovered(result: Result, _lines: Sequence[str]) -> str:
    found = result["rank_correlation"].values()
    if not found:
        return f"no rank correlation: {result['without_rank_correlation']}"
    return f"rank correlation {min(found):.2f} to {max(found):.2f}"


def _registered(result: Result, _lines: Sequence[str]) -> str:
    left_out = len(result["not_registered"])
    rest = f", {left_out} that did not pass left out" if left_out else ""
    return f"{_count(len(result['registered']), 'network')}{rest}"


def _bundled(result: Result, _lines: Sequence[str]) -> str:
    return _count(len(result["files"]), "file")


def _last_line(_result: Result, lines: Sequence[str]) -> str:
    return lines[-1] if lines else ""


def _nothing(_result: Result, _lines: Sequence[str]) -> str:
    return ""


def _pending(result: Result) -> str:
    return ", its run waits for MLflow" if result.get("mlflow_pending") else ""


_WORDS = {
    "check_node": Words("checking", "checked", "node", _checked_node),
    "record_runs": Words("looking for", "looked for", "unsent runs", _sent),
    "generate_data": Words("simulating", "simulated", "", _simulated),
    "query_experiment": Words("looking up", "looked up", "runs", _looked_up),
    "write_manifest": Words("listing", "listed", "files", _listed),
    "materialise_data": Words("packing", "packed", "data", _packed),
    "audit_data": Words("auditing", "audited", "data", _audited),
    "train_network": Words("training", "trained", "", _trained),
    "evaluate_network": Words("evaluating", "evaluated", "", _evaluated),
    "recover_parameters": Words("recovering", "recovered", "", _recovered),
    "plot_network": Words("drawing", "drew", "", _drew),
    "bundle_network": Words("bundling", "bundled", "", _bundled),
    "register_networks": Words("registering", "registered", "networks", _registered),
    "collect_leaderboard": Words("ranking", "ranked", "networks", _nothing),
    "write_report": Words("writing", "wrote", "report", _nothing),
    "check_gates": Words("checking", "checked", "gates", _nothing),
    "refresh_manifests": Words("refreshing", "refreshed", "manifests", _last_line),
}
