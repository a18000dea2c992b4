"""The rooms of the package: who may import whom, and where each library has its one home."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, write_training_file

PACKAGE = REPOSITORY / "workflow" / "lanflow"

# A room may import itself, core and these, at the top of a file or inside a function. Each stands
# below the rooms that it may import, so there is no circle of rooms.
MAY_IMPORT = {
    "core": "",
    "tracking": "",
    "models": "",
    "networks": "models",
    "data": "tracking models networks",
    "training": "tracking models networks data",
    "evaluation": "tracking models networks training",
    "report": "tracking models networks evaluation",
    "publish": "tracking models networks evaluation",
    "study": "tracking networks data training",
    "workflow": "tracking networks data report study",
    "cluster": "tracking",
    "cli": "tracking models networks data training evaluation report publish study workflow "
    "cluster",
    "api": "tracking models networks data training evaluation report",
    "__main__": "cli",
}

# A library -> the files that import it. More than one file stands here with its reason.
HOMES = {
    # generation: its samplers and pipelines; own.model: what a model of a user's takes from it
    "ssms": "models.simulators models.generation models.own.model",
    # experiments: where artifacts go; registry: a model in MLflow's format
    "mlflow": "tracking.client tracking.experiments publish.registry",
    # runtime: a trained network in JAX
    "jax": "training.backends.jax training.backends.jax_programs networks.runtime",
    "flax": "training.backends.jax",
    "optax": "training.backends.jax training.backends.jax_programs",
    "torch": "training.backends.torch training.backends.torch_layers training.backends.torch_muon "
    "training.backends.torch_stack training.backends.torch_steps",
    "onnx": "networks.graph networks.onnx",  # graph reads files, onnx writes them
    "onnxruntime": "networks.runtime",
    "matplotlib": "core.figures",
    "huggingface_hub": "publish.hub",
    "click": "cli.command cli.running cli.main",  # how a command is declared, run, and found
    "jinja2": "core.templates",
    "tqdm": "core.progress",
    "loky": "core.processes",
    "threadpoolctl": "core.processes",
    "cloudpickle": "data.generation.generate",
    "hssm": "evaluation.hssm.probe evaluation.hssm.sampler",  # run by HSSM's own interpreter
    # All but core.settings write YAML: a site file, the header of a README, a study's record.
    "yaml": "core.settings cluster.site publish.readme report.page",
}

# Where mappings of anything, ``dict[str, Any]``, may stand, and whose content they are. Whatever is
# lanflow's own is a class, or a TypedDict where it is written as JSON.
FOREIGN = {
    "core.files": "JSON just read",
    "core.settings": "YAML just read",
    "cli.command": "values of options, which click parsed by their types",
    "cli.train": "the same",
    "cluster.site": "limits of a partition, as the executor plugin for Slurm has them",
    "data.generation.config": "a YAML that people write for ssm-simulators of any version",
    "data.generation.generate": "ssm-simulators' configuration, and what its pipelines return",
    "data.manifest": "ssm-simulators' configuration, as a training file has it",
    "evaluation.scores": "keywords of numpy.savez",
    "models.density": "simulations and metadata of ssm-simulators",
    "models.generation": "ssm-simulators' configuration of data generation, and simulations",
    "models.kde": "the same",
    "models.own.model": "a description of a model for ssm-simulators",
    "models.own.simulator": "arguments of a user's function, and simulations",
    "models.simulators": "ssm-simulators' configurations, descriptions and simulations",
    "report.leaderboard": "params and metrics that MLflow answers",
    "training.config": "a YAML that people write for LANfactory of any version",
    "workflow.configuration": "a study's YAML before it is checked",
    "workflow.terminal.job": "the JSON that a command printed",
}

# The parity gate runs a network on the backends that trained it; that of HSSM draws the weights of
# a network that nobody trained.
EVALUATION_KNOWS_TRAINING = {"evaluation.gates", "evaluation.hssm.gate"}
# One file chooses a backend, when it is asked for.
CHOOSES_BACKEND = "training.backends.choose"

HEAVY = {
    *("flax", "huggingface_hub", "jax", "matplotlib", "mlflow", "numpy", "onnx", "optax"),
    *("pandas", "ssms", "torch"),
}


def imports(tree: ast.AST, *, at_top: bool) -> Iterator[str]:
    """The full names that a file imports: when it is loaded, or anywhere."""
    for node in ast.iter_child_nodes(tree):
        if at_top and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif not (at_top and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            yield from imports(node, at_top=at_top)


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


PATHS = {name_of(p): p for p in sorted(PACKAGE.rglob("*.py")) if p.name != "__init__.py"}
TREES = {name: ast.parse(path.read_text()) for name, path in PATHS.items()}
AT_TOP = {name: set(imports(tree, at_top=True)) for name, tree in TREES.items()}
ANYWHERE = {name: set(imports(tree, at_top=False)) for name, tree in TREES.items()}
RULES = [REPOSITORY / "workflow" / "Snakefile", *(REPOSITORY / "workflow" / "rules").glob("*.smk")]
SCRIPTS = sorted((REPOSITORY / "scripts").glob("*.py"))


def ours(names: set[str]) -> set[str]:
    """Our own files among imported names."""
    inner = {name.removeprefix("lanflow.") for name in names if name.startswith("lanflow.")}
    return (inner | {name.rpartition(".")[0] for name in inner}) & PATHS.keys()


def libraries(names: set[str]) -> set[str]:
    """Top-level packages of others, without the standard library."""
    found = {name.split(".")[0] for name in names}
    return {name for name in found if name != "lanflow" and name not in sys.stdlib_module_names}


def reached(start: str, edges: dict[str, set[str]]) -> set[str]:
    """The files that one needs, itself included."""
    found, todo = set(), {start}
    while todo:
        found.add(name := todo.pop())
        todo |= ours(edges[name]) - found
    return found


def loaded(name: str) -> set[str]:
    """The libraries that importing a file loads."""
    return set().union(*(libraries(AT_TOP[each]) for each in reached(name, AT_TOP)))


def importers(name: str) -> set[str]:
    return {each for each in PATHS if name in ours(ANYWHERE[each]) | libraries(ANYWHERE[each])}


def files_of_the_rules() -> set[str]:
    """What Snakefile and rules import to build the DAG."""
    text = "\n".join(path.read_text() for path in RULES)
    found = re.findall(r"^\s*from (lanflow\.[\w.]+) import \(?\s*(\w+)", text, re.MULTILINE)
    return ours({f"{module}.{name}" for module, name in found})


@pytest.mark.parametrize("name", PATHS)
def test_a_file_imports_its_own_room_and_those_below(name: str) -> None:
    room = name.split(".")[0]
    below = {room, "core", *MAY_IMPORT[room].split()}
    if room == "evaluation" and name not in EVALUATION_KNOWS_TRAINING:
        below.remove("training")
    assert {other.split(".")[0] for other in ours(ANYWHERE[name])} <= below


def test_every_room_stands_below_those_that_it_may_import() -> None:
    rooms = list(MAY_IMPORT)
    assert set(rooms) == {path.parent.name for path in PACKAGE.glob("*/__init__.py")} | {
        "api",
        "__main__",
    }
    for at, room in enumerate(rooms):
        assert set(MAY_IMPORT[room].split()) <= set(rooms[:at]), room


@pytest.mark.parametrize("name", PATHS)
def test_no_file_needs_one_that_needs_it(name: str) -> None:
    assert not any(name in reached(other, ANYWHERE) for other in ours(ANYWHERE[name]))


@pytest.mark.parametrize("library", HOMES)
def test_a_library_has_one_home(library: str) -> None:
    assert importers(library) == set(HOMES[library].split())


def test_yaml_is_read_in_one_place() -> None:
    reading = re.compile(r"yaml\.(\w*load|\w*Loader|parse|compose|scan)")
    assert {n for n, path in PATHS.items() if reading.search(path.read_text())} == {"core.settings"}


def test_a_folder_holds_at_most_twelve_files_and_its_face_is_a_docstring() -> None:
    for face in PACKAGE.rglob("__init__.py"):
        assert len([p for p in face.parent.glob("*.py") if p != face]) <= 12, face.parent
        if face.parent != PACKAGE:
            assert re.fullmatch(r'"""[^"\n]+\."""\n', face.read_text()), face


# So that a docstring says what a thing is or does: subject, verb, object.
NO_BEGINNING = {"What", "Where", "How", "Whether", "Which", "When", "Why", "Who"}


@pytest.mark.parametrize("name", PATHS)
def test_no_docstring_begins_with_a_question(name: str) -> None:
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    texts = [ast.get_docstring(n) or "" for n in ast.walk(TREES[name]) if isinstance(n, kinds)]
    assert [text for text in texts if text.split(" ")[0] in NO_BEGINNING] == []


def test_mappings_of_anything_stand_where_foreign_data_enters() -> None:
    """A new file gets a class or a TypedDict; failing that, a line above with whose data it has."""
    found = {n for n, p in PATHS.items() if re.search(r"\bdict\[str, Any\]", p.read_text())}
    assert found == FOREIGN.keys()


@pytest.mark.parametrize(
    "name",
    [
        *("core.settings", "networks.types", "training.config", "data.generation.config"),
        "data.locate",
    ],
)
def test_settings_need_pydantic_and_yaml_only(name: str) -> None:
    assert loaded(name) | libraries(ANYWHERE[name]) <= {"pydantic", "yaml"}


@pytest.mark.parametrize(
    "name",
    [
        *("core.errors", "core.files", "core.folders", "core.interrupts", "core.locks"),
        *("core.names", "networks.folder", "tracking.store"),
    ],
)
def test_stores_names_and_places_need_the_standard_library_only(name: str) -> None:
    assert loaded(name) == set()


def test_building_the_dag_needs_nothing_heavy() -> None:
    needed = files_of_the_rules()
    assert {"study.config", "study.trainings", "tracking.store", "networks.folder"} <= needed
    for name in needed:
        assert loaded(name) <= {"pydantic"}, name


def test_what_the_dag_needs_really_loads_nothing_heavy() -> None:
    names = ", ".join(f"lanflow.{name}" for name in sorted(files_of_the_rules()))
    program = f"import sys, {names}; print(*(m for m in {sorted(HEAVY)} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", [name for name in PATHS if name.startswith("cli.")])
def test_the_start_of_a_command_loads_nothing_that_takes_long(name: str) -> None:
    assert loaded(name) <= {"click"}


@pytest.mark.parametrize("words", [["evaluate", "--sed", "1"], ["train", "--seed", "x"], []])
def test_a_command_line_is_read_without_anything_that_takes_long(words: list[str]) -> None:
    names = sorted(HEAVY | {"pydantic", "typer", "rich", "yaml"})
    program = (
        f"import sys; from lanflow.cli.main import main; status = main({words}); "
        f"print(status, *(m for m in {names} if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "2"


def test_the_program_loads_only_the_file_of_the_subcommand() -> None:
    assert {n for n in reached("cli.main", AT_TOP) if n.startswith("cli.")} == {
        *("cli.main", "cli.command", "cli.running")
    }


def test_pickles_of_others_are_read_in_one_place() -> None:
    reading = re.compile(r"pickle\.loads?\(")
    # The results of this process's own workers, in a folder that nobody else can write to.
    assert {n for n, p in PATHS.items() if reading.search(p.read_text())} == {"core.processes"}
    assert importers("data.unpickling") == {"data.training_file", "cli.evaluate"}


# A backend -> files that it alone is made of.
PARTS_OF_BACKENDS = {
    "training.backends.jax": ("training.backends.jax_programs",),
    "training.backends.torch": (
        "training.backends.torch_layers",
        "training.backends.torch_muon",
        "training.backends.torch_steps",
    ),
}


@pytest.mark.parametrize("name", ["training.backends.jax", "training.backends.torch"])
def test_a_backend_knows_settings_and_networks_and_no_paths_or_other_backend(name: str) -> None:
    known = {"core.errors", "training.backend", "networks.types"}
    known |= {"training.config", "training.batches", *PARTS_OF_BACKENDS.get(name, ())}
    assert ours(ANYWHERE[name]) <= known
    assert not {"pathlib.Path", "os.path"} & ANYWHERE[name]
    stack = {f"{name}_stack"} & PATHS.keys()  # that of JAX is in the backend's own file
    assert importers(name) == {CHOOSES_BACKEND, *stack}
    assert all(importers(each) == {CHOOSES_BACKEND} for each in stack)
    assert name not in ours(AT_TOP[CHOOSES_BACKEND])


@pytest.mark.parametrize(
    "name",
    [
        *("training.fit", "training.split", "training.schedules", "training.checkpoints"),
        *("training.together.fit", "training.backend", "networks.onnx"),
    ],
)
def test_training_knows_neither_backends_nor_tracking(name: str) -> None:
    edges = ANYWHERE | {CHOOSES_BACKEND: AT_TOP[CHOOSES_BACKEND]}
    found = reached(name, edges)
    assert not found & {"training.backends.jax", "training.backends.torch", "training.track"}
    assert "tracking.client" not in found


@pytest.mark.parametrize(
    "name",
    [
        *(
            "models.parameters",
            "evaluation.implied",
            "evaluation.evaluate",
            "evaluation.gates",
            "evaluation.hssm.gate",
        ),
        *("evaluation.gates_likelihood", "evaluation.gates_probability", "evaluation.scores"),
    ],
)
def test_gates_load_neither_backends_nor_tracking(name: str) -> None:
    found = reached(name, AT_TOP)
    assert not found & {"training.backends.jax", "training.backends.torch", "tracking.client"}


@pytest.mark.parametrize("name", ["evaluation.hssm.probe", "evaluation.hssm.sampler"])
def test_what_hssm_is_asked_by_needs_nothing_of_ours(name: str) -> None:
    """It is run as a file by an interpreter that has HSSM and need not have lanflow."""
    assert not ours(ANYWHERE[name])
    assert libraries(AT_TOP[name]) == set()


@pytest.mark.parametrize("name", ["record", "recorder", "retry", "sync"])
def test_the_record_of_a_run_is_written_without_mlflow(name: str) -> None:
    assert loaded(f"tracking.{name}") <= {"pydantic"}


@pytest.mark.parametrize("name", ["training.track", "data.generation.run"])
def test_a_run_is_written_to_its_record_and_delivered_by_it_alone(name: str) -> None:
    assert "tracking.recorder" in ours(AT_TOP[name])
    assert "tracking.delivery" not in ours(ANYWHERE[name])


@pytest.mark.parametrize("name", ["evaluation.record", "publish.readme", "publish.bundle"])
def test_a_network_is_packed_without_mlflow_and_without_the_hub(name: str) -> None:
    assert loaded(name) & HEAVY <= {"numpy"}
    assert not reached(name, AT_TOP) & {"tracking.client", "publish.registry", "publish.hub"}


def test_mlflows_format_of_a_model_is_for_those_who_register_one() -> None:
    assert importers("publish.registry") == {"publish.register"}


def test_nobody_imports_a_script_and_scripts_import_lanflow_and_pandas_only() -> None:
    names = {"scripts", *(path.stem for path in SCRIPTS)}
    assert not any(names & libraries(found) for found in ANYWHERE.values())
    for path in SCRIPTS:
        assert libraries(set(imports(ast.parse(path.read_text()), at_top=False))) <= {"pandas"}


@pytest.mark.parametrize(("backend", "other"), [("jax", "torch"), ("torch", "jax")])
def test_a_training_on_one_backend_does_not_load_the_other(backend: str, other: str) -> None:
    program = (
        f"import sys, lanflow.training.run, lanflow.training.backends.{backend}; "
        f"sys.exit({other!r} in sys.modules or 'mlflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_training_on_files_does_not_load_ssm_simulators(tmp_path: Path) -> None:
    write_training_file(tmp_path / "files" / "training_data_1.pickle")
    program = (
        "import sys, lanflow; "
        "lanflow.read_data(sys.argv[1], folder=sys.argv[2]); sys.exit('ssms' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "files"), str(tmp_path / "packed")]
    assert subprocess.run(command, check=False).returncode == 0


def test_a_training_does_not_load_splines_and_linear_algebra() -> None:
    assert "models.exact.recognised" in reached("training.run", AT_TOP)
    assert "models.exact.levy" not in reached("training.run", AT_TOP)


def test_the_page_of_the_architecture_has_this_table() -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*?) ?\|$", text, re.MULTILINE)
    told = {room: set(re.findall(r"`(\w+)`", allowed)) for room, allowed in rows}
    expected = {room: set(allowed.split()) for room, allowed in MAY_IMPORT.items()}
    assert told == {**expected, "cli": set(), "api": set()}  # which may import all
