"""Who may import whom."""

import ast
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "workflow" / "lanflow"
SCRIPTS = sorted((REPOSITORY / "scripts").glob("*.py"))
RULES = [
    REPOSITORY / "workflow" / "Snakefile",
    *sorted((REPOSITORY / "workflow" / "rules").glob("*.smk")),
]
HEAVY = {
    "flax",
    "huggingface_hub",
    "jax",
    "matplotlib",
    "mlflow",
    "numpy",
    "onnx",
    "optax",
    "pandas",
    "ssms",
    "torch",
}


@dataclass(frozen=True)
class Imports:
    """What a file imports: at module level, and at any level."""

    at_top: frozenset[str]
    anywhere: frozenset[str]


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        assert node.module is not None
        if node.module == "lanflow":
            return [f"lanflow.{alias.name}" for alias in node.names]
        return [node.module]
    return []


def imports_of(path: Path) -> Imports:
    top: set[str] = set()
    everything: set[str] = set()
    todo: list[tuple[ast.AST, bool]] = [(ast.parse(path.read_text()), False)]
    while todo:
        node, inside = todo.pop()
        everything.update(_names(node))
        if not inside:
            top.update(_names(node))
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        todo += [(child, inside) for child in ast.iter_child_nodes(node)]
    return Imports(frozenset(top), frozenset(everything))


MODULES = {path.stem: imports_of(path) for path in sorted(PACKAGE.glob("*.py"))}


def ours(names: frozenset[str]) -> set[str]:
    """Our own modules among imported names."""
    found = {name.split(".")[1] for name in names if name.startswith("lanflow.")}
    return found & MODULES.keys()


def libraries(names: frozenset[str]) -> set[str]:
    """Top-level packages of others, without the standard library."""
    found = {name.split(".")[0] for name in names}
    return {name for name in found if name != "lanflow" and name not in sys.stdlib_module_names}


def loaded_with(module: str) -> set[str]:
    """The modules of ours that importing one loads, itself included."""
    loaded: set[str] = set()
    todo = {module}
    while todo:
        name = todo.pop()
        loaded.add(name)
        todo |= ours(MODULES[name].at_top) - loaded
    return loaded


def libraries_loaded_with(module: str) -> set[str]:
    return set().union(*(libraries(MODULES[name].at_top) for name in loaded_with(module)))


def importers(name: str) -> set[str]:
    """Modules of ours that import a library or a module, at any level."""
    return {
        module
        for module, imports in MODULES.items()
        if name in libraries(imports.anywhere) | ours(imports.anywhere)
    }


def modules_of_the_rules() -> set[str]:
    """Modules that Snakefile and rules import to build the DAG."""
    text = "\n".join(path.read_text() for path in RULES)
    found = set(re.findall(r"^\s*from lanflow\.(\w+) import", text, re.MULTILINE))
    for names in re.findall(r"^\s*from lanflow import (.+)$", text, re.MULTILINE):
        found |= {name.strip() for name in names.split(",")}
    return found


@pytest.mark.parametrize("module", ["config", "networks", "training_config", "generation_config"])
def test_settings_need_pydantic_and_yaml_only(module: str) -> None:
    assert libraries_loaded_with(module) | libraries(MODULES[module].anywhere) <= {
        "pydantic",
        "yaml",
    }


@pytest.mark.parametrize(
    "module",
    ["store", "errors", "atomic", "own_folder", "names", "artifacts", "interruption", "lineage"],
)
def test_stores_names_and_lineage_need_the_standard_library_only(module: str) -> None:
    assert libraries_loaded_with(module) == set()


def test_building_the_dag_needs_nothing_heavy() -> None:
    needed = modules_of_the_rules()
    assert {"study", "trainings", "store", "environment", "artifacts"} <= needed
    for module in needed:
        assert libraries_loaded_with(module) <= {"pydantic"}, module


def test_what_the_dag_needs_really_loads_nothing_heavy() -> None:
    names = ", ".join(f"lanflow.{module}" for module in sorted(modules_of_the_rules()))
    program = f"import sys, {names}; print(*(m for m in {sorted(HEAVY)} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("command", ["cli", "cli_data", "cli_publish", "cli_train"])
def test_the_help_of_a_command_loads_nothing_heavy(command: str) -> None:
    assert libraries_loaded_with(command) & HEAVY == set()


@pytest.mark.parametrize(
    ("library", "module"),
    [
        ("ssms", "simulators"),
        ("cloudpickle", "generation"),
        ("jax", "kernel_jax"),
        ("flax", "kernel_jax"),
        ("optax", "kernel_jax"),
        ("torch", "kernel_torch"),
        ("onnx", "export"),
        ("matplotlib", "plots"),
        ("tqdm", "progress"),
        ("onnxruntime", "onnx_network"),
        ("huggingface_hub", "hub"),
    ],
)
def test_a_library_has_one_module_that_imports_it(library: str, module: str) -> None:
    assert importers(library) == {module}


def test_mlflow_is_imported_by_its_two_rooms_alone() -> None:
    assert importers("mlflow") == {"tracking", "registry"}
    # What it takes to write a model in MLflow's format is for those who register one.
    assert importers("registry") == {"registration"}


def test_yaml_is_read_in_one_place() -> None:
    readers = {
        path.stem
        for path in PACKAGE.glob("*.py")
        if re.search(r"yaml\.(safe_|full_|unsafe_)?load", path.read_text())
    }
    assert readers == {"config"}


def test_pickles_are_read_in_one_place() -> None:
    for path in PACKAGE.glob("*.py"):
        assert not re.search(r"pickle\.loads?\(", path.read_text()), path
    assert importers("unpickling") == {"training_file"}
    assert importers("pickled_objects") == {"training_file", "unpickling"}


@pytest.mark.parametrize("module", ["kernel_jax", "kernel_torch"])
def test_a_kernel_knows_settings_and_networks_and_no_paths_tracking_or_other_kernel(
    module: str,
) -> None:
    imports = MODULES[module].anywhere
    assert ours(imports) <= {"errors", "kernel", "networks", "training_config"}
    assert "pathlib" not in imports
    assert "os.path" not in imports


def test_one_module_chooses_the_kernel_when_it_is_asked_for() -> None:
    for kernel in ("kernel_jax", "kernel_torch"):
        assert importers(kernel) == {"backends"}
        assert kernel not in ours(MODULES["backends"].at_top)


@pytest.mark.parametrize(
    "module",
    ["training", "training_data", "schedules", "checkpoints", "kernel", "data_set", "export"],
)
def test_training_knows_neither_kernels_nor_tracking_nor_commands(module: str) -> None:
    reached = {module}
    todo = {module}
    while todo:
        found = ours(MODULES[todo.pop()].anywhere) - reached
        reached |= found
        todo |= found
    assert not reached & {"kernel_jax", "kernel_torch", "tracking", "tracked_training", "cli"}


@pytest.mark.parametrize(
    "module",
    [
        "box",
        "gate_hssm",
        "gates",
        "gates_likelihood",
        "gates_probability",
        "scoring",
        "evaluation",
        "examination",
    ],
)
def test_gates_know_neither_kernels_nor_tracking_nor_commands(module: str) -> None:
    assert not loaded_with(module) & {"kernel_jax", "kernel_torch", "tracking", "cli"}


def test_what_hssm_is_asked_by_needs_nothing_of_ours() -> None:
    """It is run as a file by an interpreter that has HSSM and need not have lanflow."""
    scripts = {"hssm_probe", "hssm_sampling"}
    assert importers("hssm") == scripts
    for script in scripts:
        assert not ours(MODULES[script].anywhere)
        assert libraries(MODULES[script].at_top) == set()


def test_tracking_knows_stores_errors_and_interruptions_only() -> None:
    allowed = {"asking", "atomic", "config", "errors", "interruption", "patience", "store"}
    assert ours(MODULES["tracking"].anywhere) <= allowed
    assert ours(MODULES["run_search"].anywhere) <= {*allowed, "tracking"}
    of_a_run = {*allowed, "tracking", "run_search", "run_record", "source_tags"}
    assert ours(MODULES["tracked_run"].anywhere) <= of_a_run
    assert ours(MODULES["delivery"].anywhere) <= {*of_a_run, "tracked_run"}
    assert ours(MODULES["registry"].anywhere) <= {*allowed, "tracking", "run_search", "export"}


def test_a_record_of_a_run_is_written_without_mlflow_and_tells_nobody_but_its_delivery() -> None:
    for module in ("run_record", "recorded_run", "unsent_runs", "patience", "source_tags"):
        assert libraries_loaded_with(module) <= {"pydantic"}, module
    for module in ("tracked_training", "generation_step"):
        assert "recorded_run" in ours(MODULES[module].at_top)
        assert "delivery" not in ours(MODULES[module].anywhere)


@pytest.mark.parametrize("module", ["evaluated_network", "model_card", "bundle"])
def test_a_network_is_packed_without_mlflow_and_without_the_hub(module: str) -> None:
    assert not libraries_loaded_with(module) & HEAVY
    assert not loaded_with(module) & {"tracking", "registry", "hub"}


def test_commands_are_imported_by_nobody_but_the_reference() -> None:
    for module in ("cli", "cli_train"):
        assert importers(module) <= {"reference"}
    for module in ("cli_data", "cli_publish", "cli_sync"):
        assert importers(module) == {"cli"}


def test_nobody_imports_a_script_and_scripts_import_lanflow_and_pandas_only() -> None:
    names = {path.stem for path in SCRIPTS}
    assert names
    for module, imports in MODULES.items():
        assert not {"scripts", *names} & libraries(imports.anywhere), module
    for path in SCRIPTS:
        assert libraries(imports_of(path).anywhere) <= {"pandas"}, path


def test_no_two_modules_need_each_other() -> None:
    for module, imports in MODULES.items():
        for other in ours(imports.at_top):
            assert module not in loaded_with(other), (module, other)


@pytest.mark.parametrize(("kernel", "other"), [("kernel_jax", "torch"), ("kernel_torch", "jax")])
def test_a_training_on_one_backend_does_not_load_the_other(kernel: str, other: str) -> None:
    program = (
        f"import sys, lanflow.training_step, lanflow.{kernel}; "
        f"sys.exit({other!r} in sys.modules or 'mlflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
