"""The truth table: changes of a finished study, and the jobs that each makes run."""

import copy
import fnmatch
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import TRAINING_YAML
from tests.workflow.conftest import GENERATION_YAML

PATH = Path(__file__).with_name("table.yaml")
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

# A job: its rule, and what it is of ("ddm/lan/jax", "ddm/0", "jax_gpu", "").
Job = tuple[str, str]

_NETWORKS = {"lan": {"config": "lan.yaml"}, "cpn": {"config": "cpn.yaml"}}
FILES: dict[str, dict[str, Any]] = {
    "study.yaml": {
        "study": "table",
        "recover_parameters": True,
        "require_gates": True,
        "models": {
            "ddm": {
                "data": {"generate": {"config": "generation.yaml", "chunks": 2}},
                "networks": copy.deepcopy(_NETWORKS),
            },
            "angle": {"data": {"experiment": "1"}, "networks": copy.deepcopy(_NETWORKS)},
        },
    },
    "generation.yaml": GENERATION_YAML,
    "lan.yaml": {
        **copy.deepcopy(TRAINING_YAML),
        "LAYER_SIZES": [[16, 16, 1], [8, 8, 1]],
        "ACTIVATIONS": [["tanh", "tanh"], ["tanh", "tanh"]],
    },
    "cpn.yaml": {**copy.deepcopy(TRAINING_YAML), "NETWORK_TYPE": "cpn"},
}


@dataclass(frozen=True)
class Change:
    """One row of the table."""

    section: str
    name: str
    does: Mapping[str, Any]
    says: tuple[str, ...]  # as written in the table
    makes: tuple[str, ...]  # patterns of jobs

    @property
    def id(self) -> str:
        return f"{self.section}: {self.name}"

    def expects(self, jobs: Iterable[Job]) -> set[Job]:
        """Those of a study's jobs that the table says are run."""
        return {job for job in jobs if any(_fits(job, pattern) for pattern in self.makes)}


def _fits(job: Job, pattern: str) -> bool:
    rule, _, of = pattern.partition(" ")
    if not fnmatch.fnmatchcase(job[0], rule):
        return False
    return not of or fnmatch.fnmatchcase(job[1], of) or fnmatch.fnmatchcase(job[1], f"{of}/*")


def _expand(entry: str, words: Mapping[str, list[str]]) -> Iterator[str]:
    """A word of the table as patterns of rules; what it is of goes on to each of them."""
    word, _, of = entry.partition(" ")
    if word not in words:
        yield entry
        return
    for inner in words[word]:
        yield from _expand(f"{inner} {of}".strip(), words)


def read_words() -> dict[str, list[str]]:
    """Words of the table that stand for several rules."""
    return dict(yaml.safe_load(PATH.read_text())["words"])


def read_table() -> list[Change]:
    content = yaml.safe_load(PATH.read_text())
    changes = []
    for section in content["sections"]:
        for row in section["changes"]:
            kind = section.get("edits")
            does = {"file": section.get("file", "study.yaml"), **row}
            if kind:
                does = {kind: row["path"]}
            makes = [part for entry in row["makes"] for part in _expand(entry, content["words"])]
            name = row.get("name") or row["path"]
            says = tuple(row["makes"])
            changes.append(Change(section["title"], name, does, says, tuple(makes)))
    return changes


@dataclass
class Edited:
    """A study while changes are made to it."""

    folder: Path
    files: dict[str, dict[str, Any]] = field(default_factory=lambda: copy.deepcopy(FILES))
    comments: set[str] = field(default_factory=set)
    environment: dict[str, str] = field(default_factory=dict)


def _node(content: dict[str, Any], dotted: str) -> tuple[dict[str, Any], str]:
    """Where a key stands; somewhere apart, if another change took away what it belongs to."""
    *path, last = dotted.split(".")
    for part in path:
        is_gone = part not in content and path[0] == "models"
        content = {} if is_gone else content.setdefault(part, {})
    return content, last


def _apply(change: Change, to: Edited) -> None:
    does = change.does
    content = to.files[does["file"]]
    for dotted in does.get("remove", ()):
        node, last = _node(content, dotted)
        node.pop(last, None)
    for dotted, value in {**does.get("set", {}), **does.get("add", {})}.items():
        node, last = _node(content, dotted)
        node[last] = copy.deepcopy(value)
    for old, new in does.get("rename", {}).items():
        (node, last), (other, name) = _node(content, old), _node(content, new)
        if last in node:
            other[name] = node.pop(last)
    for old, new in does.get("copy", {}).items():
        to.files[new] = to.files[old]
    if does.get("comment"):
        to.comments.add(does["file"])
    to.environment |= does.get("environment", {})


@contextmanager
def _edited_file(change: Change, results: Path) -> Iterator[None]:
    """Edit, remove or touch a file that was made, and put it back."""
    does = change.does
    name = does.get("content") or does.get("removal") or does.get("touch")
    path, aside = results / name, results.with_name(f"aside_{change.id.replace('/', '_')}")
    times = {p: p.stat() for p in path.rglob("*") if p.is_file()} if "touch" in does else {}
    is_moved = "touch" not in does and path.exists()
    if is_moved:
        path.rename(aside)
    if is_moved and "content" in does:
        path.write_text("edited by hand")
    for file in times:
        file.touch()
    try:
        yield
    finally:
        if is_moved:
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
            aside.rename(path)
        _restore_times(times)


def _restore_times(times: Mapping[Path, Any]) -> None:
    for file, stat in times.items():
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@contextmanager
def changed(folder: Path, changes: Iterable[Change]) -> Iterator[Edited]:
    """The study with changes made to it, and as it was afterwards."""
    edited = Edited(folder)
    made = [c for c in changes if c.does.keys() & {"content", "removal", "touch"}]
    for change in changes:
        if change not in made:
            _apply(change, edited)
    write_files(edited)
    # Touched, edited, removed: what lies in a folder that is removed is edited before, and a file
    # that was edited is newer than those that were touched. Of two, what was made from the other is
    # edited first; it would count as made anew otherwise.
    kinds = ("removal", "content", "touch")
    with ExitStack() as stack:
        made.reverse()
        for change in sorted(made, key=lambda c: [kind in c.does for kind in kinds]):
            stack.enter_context(_edited_file(change, folder / "results"))
        yield edited


def write_files(edited: Edited) -> None:
    for name, content in edited.files.items():
        head = "# only a comment\n" if name in edited.comments else ""
        (edited.folder / name).parent.mkdir(exist_ok=True)
        (edited.folder / name).write_text(
            head + yaml.dump(content, Dumper=_DUMPER, sort_keys=False)
        )
