"""``snakemake -n``: before anything exists, quick, and with words for a person's mistakes."""

import re
import shlex
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from lanflow.report.html import MOST_ON_ONE_PAGE
from tests.conftest import REPOSITORY, TRAINING_YAML
from tests.workflow.conftest import Checkout


def test_a_dry_run_works_before_any_store_or_data_exists(checkout: Checkout) -> None:
    assert checkout.planned()["train_network"] == 2
    made = {path.name for path in checkout.folder.iterdir()}
    assert not made & {"mlflow.db", "results", "mlruns", "mlartifacts"}


def test_a_dry_run_imports_neither_jax_torch_mlflow_nor_ssms(checkout: Checkout) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "snakemake", "-n", "--quiet", "all"],
        cwd=checkout.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in lines}
    assert "lanflow" in imported
    assert not imported & {"jax", "flax", "torch", "mlflow", "ssms", "onnx", "matplotlib"}


def _study(**changes: Any) -> dict[str, Any]:
    """A study that generates ddm data and trains one network, with changes by dotted key."""
    study: dict[str, Any] = {
        "models": {
            "ddm": {
                "data": {"generate": {"config": "generation.yaml"}},
                "networks": {"lan": {"config": "training.yaml", "backends": ["jax"]}},
            }
        }
    }
    for dotted, value in changes.items():
        node = study
        *path, last = dotted.split("/")
        for part in path:
            node = node[part]
        node[last] = value
    return study


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sed": 1}, ["my_study.yaml", "'sed'", "did you mean 'seed'"]),
        ({"seed": "one"}, ["my_study.yaml", "seed", "not a number", "'one'"]),
        ({"models/ddm/data": {}}, ["my_study.yaml", "models.ddm.data", "'experiment'", "'folder'"]),
        (
            {"models/ddm/data": {"folder": "x", "generate": {"config": "generation.yaml"}}},
            ["models.ddm.data", "not both"],
        ),
        ({"models/ddm/networks/lan/backends": ["tensorflow"]}, ["backends", "'jax'", "'torch'"]),
        ({"models/ddm/networks/lan/config": "none.yaml"}, ["none.yaml", "no such file"]),
        ({"models/ddm/networks/lan/network_id": 3}, ["training.yaml", "network id 3", "0 to 0"]),
        ({"models/ddm/data/generate/config": "none.yaml"}, ["none.yaml", "no such file"]),
        ({"models": {}}, ["models", "empty", "config/examples/first.yaml"]),
    ],
)
def test_a_mistake_in_a_study_is_one_message(
    checkout: Checkout, changes: dict[str, Any], words: list[str]
) -> None:
    study = checkout.write_study(**_study(**changes))
    output = checkout.snakemake("-n", study=study, check=False)
    assert all(word in output for word in words), output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("tracking.uri=sqlite:///x.db", """--config 'tracking={uri: "sqlite:///x.db"}'"""),
        ("tracking:uri=x", """--config 'tracking={uri: "x"}'"""),
        ("evaluation=rows=5", "--config 'evaluation={rows: 5}'"),
        ("tracking={uri:x}", """--config 'tracking={uri: "x"}'"""),
        ("results={x}", "--config: results: input should be a valid string"),
        ("results=a{x}", "--config: results: 'a{x}' cannot be a path here"),
        ("results=/", "--config: results: '/' is the root of the disk"),
        ("results=", "--config: results: input should be a valid string"),
        ("seed=1e-3", "--config: seed: input should be a valid integer"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_message_that_shows_the_right_form(
    checkout: Checkout, entry: str, said: str
) -> None:
    output = checkout.snakemake("-n", "--config", entry, check=False)
    assert output.count(said) == 1, output
    assert "Traceback" not in output


@pytest.mark.parametrize("results", ["", " ", "a\nb", "{x}", "/", "~/x"])
def test_results_that_are_no_folder_of_the_studys_own_are_refused(
    checkout: Checkout, results: str
) -> None:
    study = checkout.write_study(**_study(results=results))
    output = checkout.snakemake("-n", study=study, check=False)
    assert output.count(f"my_study.yaml: results: {results!r} ") == 1, output
    assert "Traceback" not in output


def test_keys_are_changed_on_the_command_line_as_the_documentation_says(
    checkout: Checkout,
) -> None:
    text = (REPOSITORY / "config" / "README.md").read_text()
    commands = re.findall(r"^snakemake (--config .*)$", text, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        output = checkout.snakemake("-n", "-p", *shlex.split(command))
        assert "train_network" in output
        if "elsewhere" in command:
            assert "--output elsewhere/results/ddm/manifest.json" in output
        if "rows: 500" in command:
            assert "--n-sets 50 --rows 500" in output
        if "lan: {seed: 3}" in command:
            assert re.search(r"lanflow train --backend jax .* --seed 3 ", output)


def test_networks_on_a_gpu_are_trained_beside_each_other_and_others_alone(
    checkout: Checkout,
) -> None:
    networks = {
        "lan": {"config": "training.yaml", "seeds": [1, 2, 3], "backends": ["jax", "torch"]},
        "slow": {"config": "training.yaml", "seeds": [1, 2], "backends": ["jax"]},
    }
    on_gpu = _study(
        **{"models/ddm/networks": {**networks, "lan": {**networks["lan"], "device": "gpu"}}}
    )
    output = checkout.snakemake("-n", "-p", study=checkout.write_study(**on_gpu))
    commands = [line for line in output.splitlines() if "lanflow train" in line]
    assert len(commands) == 8, output
    beside = {
        re.search(r"--network-name (\S+)", line)[1]: re.findall(r"(\S+):\d+:\d+:\S+", line)  # type: ignore[index]
        for line in commands
    }
    assert beside == {
        "lan-seed1_jax": ["lan-seed2_jax", "lan-seed3_jax"],
        "lan-seed2_jax": ["lan-seed1_jax", "lan-seed3_jax"],
        "lan-seed3_jax": ["lan-seed1_jax", "lan-seed2_jax"],
        "lan-seed1_torch": ["lan-seed2_torch", "lan-seed3_torch"],
        "lan-seed2_torch": ["lan-seed1_torch", "lan-seed3_torch"],
        "lan-seed3_torch": ["lan-seed1_torch", "lan-seed2_torch"],
        "slow-seed1_jax": [],
        "slow-seed2_jax": [],
    }


def test_layers_and_activations_that_disagree_name_the_file(checkout: Checkout) -> None:
    study = checkout.write_study(**_study())
    checkout.write_yaml("training.yaml", {**TRAINING_YAML, "ACTIVATIONS": [["tanh"]]})
    output = checkout.snakemake("-n", study=study, check=False)
    assert "training.yaml" in output
    assert "3 layers in LAYER_SIZES and 1 entries in ACTIVATIONS" in output
    assert "Traceback" not in output


def test_the_command_line_does_not_lose_the_rest_of_the_study(checkout: Checkout) -> None:
    assert checkout.planned("--config", "seed=3")["train_network"] == 2


def test_parameters_are_recovered_where_a_study_says_so_by_likelihood_networks_alone(
    checkout: Checkout,
) -> None:
    networks = {
        "lan": {"config": "training.yaml", "backends": ["jax", "torch"]},
        "cpn": {"config": "config/training/tiny_cpn.yaml", "backends": ["jax"]},
    }
    late = {
        "data": {"generate": {"config": "generation.yaml"}},
        "networks": {"lan": {"config": "training.yaml", "backends": ["jax"]}},
    }
    changes: dict[str, Any] = {"models/ddm/networks": networks, "models/ddm_deadline": late}
    without = checkout.planned(study=checkout.write_study(**_study(**changes)))
    assert without["recover_parameters"] == 0
    recovery = {"recover_parameters": True, "recovery": {"n_subjects": 7}}
    study = checkout.write_study(**_study(**changes, **recovery))
    commands = checkout.snakemake("-n", "-p", study=study)
    planned = Counter(re.findall(r"^# (\w+)", commands, re.MULTILINE))
    assert planned["recover_parameters"] == 2
    assert planned["plot_network"] == without["plot_network"] == 4
    assert "lanflow recover results/networks/lan/ddm/lan_torch --n-subjects 7" in commands
    assert "--n-trials 500 --method auto --seed 1" in commands
    whole = checkout.snakemake("-n", "--dag", study=study)
    names = dict(re.findall(r'(\d+)\[label = "(\w+)', whole))
    edges = [(names[a], names[b]) for a, b in re.findall(r"(\d+) -> (\d+)", whole)]
    assert edges.count(("recover_parameters", "write_report")) == 2


def test_a_study_of_many_networks_makes_a_page_for_each(checkout: Checkout) -> None:
    each = {"config": "training.yaml", "backends": ["jax"]}
    for n in (MOST_ON_ONE_PAGE, MOST_ON_ONE_PAGE + 1):
        networks = {f"lan-{i}": each for i in range(n)}
        study = checkout.write_study(**_study(**{"models/ddm/networks": networks}))
        outputs = checkout.snakemake("-n", "--verbose", study=study)
        assert ("results/report_pages" in outputs) == (n > MOST_ON_ONE_PAGE)


def test_every_example_is_a_whole_study(checkout: Checkout) -> None:
    examples = sorted((checkout.folder / "config" / "examples").glob("*.yaml"))
    laptops = {"laptop", *(f"laptop_{name}" for name in ("angle", "full_ddm", "lba3", "seq2"))}
    assert {path.stem for path in examples} > {"first", *laptops, "laptop_race_no_bias_3"}
    for path in examples:
        planned = checkout.planned(study=str(path.relative_to(checkout.folder)))
        assert planned["train_network"] == planned["bundle_network"] > 0, path.name
        assert planned["register_networks"] == 1
        n_recovered = 4 if path.stem == "production" else 0
        assert planned["recover_parameters"] == n_recovered
