"""Evaluates published networks: the limits of the accuracy gate and the page that shows them.

``python docs/write_published.py FOLDER`` evaluates the networks of ``docs/published.yaml``, which
lie in a folder, and writes ``workflow/lanflow/evaluation/published.json`` and
``docs/published.md``. Without a folder it writes the page from the numbers that are there.
"""

import hashlib
import json
import platform
import sys
from pathlib import Path
from typing import Any

from lanflow.core.processes import n_cores
from lanflow.core.settings import parse_settings, read_yaml
from lanflow.core.tables import markdown_table
from lanflow.evaluation.evaluate import evaluate
from lanflow.evaluation.gates import judge
from lanflow.evaluation.published import (
    PUBLISHED_PATH,
    Published,
    PublishedNetwork,
    limited_models,
    limits_of,
    read_published,
)
from lanflow.evaluation.record import verdict_of
from lanflow.networks.network import Network

DOCS = Path(__file__).parent

_HEAD = """\
# Published networks, and the limits they set

Networks that others have published, evaluated as any network is (`lanflow evaluate --onnx FILE
--model MODEL`). Their errors are the limits of the accuracy gate, so a network passes it if it is
no worse than the one that is published for its model. The numbers, and this page, are made by

```bash
python docs/write_published.py FOLDER
```

from a folder that holds the files. `docs/published.yaml` says where they are published; the files
are no part of lanflow. The numbers themselves are in `workflow/lanflow/evaluation/published.json`.
"""

_LIMITS = """\
## Limits of the accuracy gate

Of a model with a published network, that network's errors, rounded up to two digits (of several
the one with the smallest mean error). Of any other model whose density is known or solved, each
number that is in the middle of those of the published networks. The limit of the mean difference is
at least that of the middle, since one network's may be small by chance. A published network sets no
limit if its mean error is above 0.5 nats: it was trained on another model than the one that has its
name in ssm-simulators now. Nor does one of a model that has only simulations to be compared with,
whose scores decide nothing.
"""


def measure(folder: Path) -> dict[str, Any]:
    """Evaluate the networks of ``docs/published.yaml`` in a folder."""
    listed = read_yaml(DOCS / "published.yaml")
    networks = []
    for entry in listed["networks"]:
        path = folder / entry["file"]
        network = Network.from_onnx(
            path, model=entry["model"], network_type=entry.get("network_type", "lan")
        )
        # No interpreter: what HSSM makes of a network depends on who runs this.
        found, _ = evaluate(network, hssm_python="/none", seed=1)
        gates = [gate for gate in found.gates if gate.name != "hssm"]
        networks.append(
            {
                "file": entry["file"],
                "path": entry["path"],
                "origin": "made here" if entry.get("made") else listed["origin"],
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "remark": entry.get("remark", ""),
                "evaluation": found.model_copy(update={"gates": gates}).model_dump(mode="json"),
            }
        )
        sys.stderr.write(f"{entry['file']}: {found.scores}\n")
    return {
        "published_version": 1,
        "licence": listed["licence"],
        "machine": f"{platform.machine()}, {n_cores()} cores, Python {platform.python_version()}",
        "networks": networks,
    }


def judged(published: Published) -> Published:
    """The same, with the accuracy of likelihood networks held against the limits they set."""
    return published.model_copy(
        update={"networks": [_judged(each, published) for each in published.networks]}
    )


def _judged(network: PublishedNetwork, published: Published) -> PublishedNetwork:
    evaluation = network.evaluation
    if not network.is_limit:
        return network
    limits = limits_of(published, evaluation.model)
    found = [
        judge(gate.name, gate.numbers, limits, is_essential=False)  # type: ignore[arg-type]
        if gate.name == "accuracy"
        else gate
        for gate in evaluation.gates
    ]
    update = {"gates": found, "verdict": verdict_of(found)}
    return network.model_copy(update={"evaluation": evaluation.model_copy(update=update)})


def page(published: Published) -> str:
    """``docs/published.md``."""
    versions = published.networks[0].evaluation.versions
    made_with = ", ".join(f"{name} {version}" for name, version in versions.items())
    return "\n".join(
        [
            _HEAD,
            _scores(published),
            "",
            "Errors are of the log-likelihood in nats, of `cpn` and `opn` of the probability.",
            "",
            _found(published),
            "",
            _LIMITS,
            _limits(published),
            "",
            "## Where they come from",
            "",
            _origins(published),
            "",
            f"Licence: {published.licence}.",
            "",
            f"Measured on {published.machine}, with {made_with}.",
            "",
        ]
    )


def _scores(published: Published) -> str:
    rows = []
    for each in published.networks:
        found, scores = each.evaluation, each.evaluation.scores
        numbers = ["", "", "", ""]
        if scores is not None:
            numbers = [
                f"{value:.3g}"
                for value in (
                    scores.mean_abs_error,
                    scores.median_abs_error,
                    scores.p99_abs_error,
                    scores.mean_difference,
                )
            ]
        kind = f"{found.model} {found.network_type}"
        rows.append([each.file, kind, found.reference.source, *numbers, found.verdict])
    head = ["network", "of", "against", "mean", "median", "99 %", "bias", "verdict"]
    return markdown_table(head, rows)


def _found(published: Published) -> str:
    rows = []
    for each in published.networks:
        failed = [gate for gate in each.evaluation.gates if gate.verdict == "failed"]
        rows += [[each.file, gate.name, gate.reason] for gate in failed]
    return markdown_table(["network", "gate that it failed", "why"], rows)


def _limits(published: Published) -> str:
    names = [*limited_models(published), "any other"]
    rows = []
    for name in names:
        limits = limits_of(published, name)
        rows.append([name, *(f"{value:g}" for value in limits.values())])
    return markdown_table(["model", *(key.replace("_", " ") for key in limits)], rows)


def _origins(published: Published) -> str:
    rows = [
        [each.file, f"{each.path}", each.origin, f"`{each.sha256}`", each.remark]
        for each in published.networks
    ]
    return markdown_table(["network", "path", "origin", "sha256", "remark"], rows)


def main(arguments: list[str]) -> None:
    """Measure if there is a folder, and write the numbers and the page."""
    published = read_published()
    if arguments:
        published = parse_settings(Published, measure(Path(arguments[0])), "measured")
    published = judged(published)
    content = published.model_dump(mode="json")
    PUBLISHED_PATH.write_text(json.dumps(content, indent=1) + "\n")
    (DOCS / "published.md").write_text(page(published))


if __name__ == "__main__":
    main(sys.argv[1:])
