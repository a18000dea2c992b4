"""Commands refuse to write into a folder that holds files of someone else."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lanflow.cli.main import main
from lanflow.cli.train import jaxtrain, torchtrain
from lanflow.core.errors import UserError
from lanflow.core.folders import refuse_foreign_files
from lanflow.data.generation.config import read_generation_file
from lanflow.data.generation.plan import ChunkPlan
from lanflow.data.generation.run import generate
from lanflow.data.prepare import PackedData
from lanflow.tracking.store import Store
from tests import networks
from tests.conftest import TRAINING_YAML
from tests.evaluated import write_network

GENERATION_YAML: dict[str, Any] = {
    "MODEL": "ddm",
    "PIPELINE": {"N_PARAMETER_SETS": 2},
    "SIMULATOR": {"N_SAMPLES": 100, "DELTA_T": 0.01},
    "TRAINING": {"N_SAMPLES_PER_PARAM": 10},
}


class Place:
    """A working directory with the inputs of all commands; they write the folder ``out``."""

    def __init__(self, folder: Path, packed: PackedData, store: Store) -> None:
        self.folder, self.store = folder, store
        self.out = folder / "out"
        self.packed = packed.data_set.folder
        self.manifest = str(self.packed / "manifest.json")

    def write_yaml(self, content: dict[str, Any]) -> str:
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(content))
        return str(path)

    def materialise(self) -> int:
        return main(["materialise", self.manifest, "--output", str(self.out)])

    def generate(self, *more: str) -> int:
        path = self.write_yaml(GENERATION_YAML)
        given = ["generate", "--config-path", path, "--processes", "1"]
        return main([*given, "--output", str(self.out), *more])

    def generate_tracked(self) -> int:
        return self.generate("--mlflow-on", "--mlflow-tracking-uri", self.store.uri)

    def bundle(self) -> int:
        network = self.folder / "net"
        if not network.exists():
            write_network(network)
        return main(["bundle", str(network), "--output", str(self.out), "--archive"])

    def plot(self) -> int:
        network = self.folder / "net"
        if not network.exists():
            networks.write_network(network, network_type="cpn")
        return main(["plot", str(network), "--output", str(self.out), "--draws", "4"])

    def train(self, command: Callable[[list[str]], int], *more: str) -> int:
        keys = {"LAYER_SIZES": [[4, 1]], "ACTIVATIONS": [["tanh"]], "N_EPOCHS": 1}
        given = ["--config-path", self.write_yaml({**TRAINING_YAML, **keys}), "--device", "cpu"]
        return command([*given, *more])

    def train_named(self, command: Callable[[list[str]], int], *more: str) -> int:
        base = self.folder / "networks"
        (base / "lan").mkdir(parents=True, exist_ok=True)
        with_out_there = base / "lan" / "ddm"
        if not with_out_there.exists():
            with_out_there.symlink_to(self.folder)
        data = ["--data-set", str(self.packed), "--manifest", self.manifest]
        where = ["--networks-path-base", str(base), "--network-name", "out", "--threads", "1"]
        return self.train(command, *data, *where, *more)

    def jaxtrain(self) -> int:
        return self.train_named(jaxtrain)

    def torchtrain(self) -> int:
        return self.train_named(torchtrain)

    def torchtrain_tracked(self) -> int:
        return self.train_named(torchtrain, "--mlflow-on", "--mlflow-tracking-uri", self.store.uri)

    def torchtrain_dry_run(self) -> int:
        return self.train_named(torchtrain, "--dry-run")

    def cache(self) -> int:
        """Train with data that is packed into a cache; ``out`` is the data set in it."""
        files = str(self.packed.parents[1] / "files")
        cache = self.folder / "cache"
        cache.mkdir(exist_ok=True)
        there = cache / self.packed.name
        if not there.is_symlink():
            there.symlink_to(self.out)
        where = ["--networks-path-base", str(self.folder / "networks"), "--dry-run"]
        return self.train(
            torchtrain, "--training-data-folder", files, "--data-cache", str(cache), *where
        )

    def download(self) -> int:
        """Download the files that a run logged; ``out`` is the run's folder."""
        query = self.folder / "query.json"
        given = ["--mlflow-tracking-uri", self.store.uri]
        if not query.exists():
            config = read_generation_file(self.write_yaml(GENERATION_YAML))
            plan = ChunkPlan(config=config, seed=1, chunk=0, n_files=1)
            chunk = self.folder / "chunk"
            generate(
                plan,
                chunk,
                n_processes=1,
                store=self.store,
                experiment_name="made",
                log_files=True,
            )
            shutil.rmtree(chunk)
            assert main(["query", "made", "--output", str(query), *given]) == 0
            (run,) = json.loads(query.read_text())["runs"]
            (self.folder / run["run_id"]).symlink_to(self.out)
        given += ["--query", str(query), "--download", str(self.folder)]
        return main(["manifest", "--output", str(self.folder / "frozen.json"), *given])


COMMANDS = [
    Place.materialise,
    Place.generate,
    Place.generate_tracked,
    Place.bundle,
    Place.plot,
    Place.jaxtrain,
    Place.torchtrain,
    Place.torchtrain_tracked,
    Place.torchtrain_dry_run,
    Place.cache,
    Place.download,
]


@pytest.fixture
def place(
    tmp_path: Path, packed: PackedData, store: Store, monkeypatch: pytest.MonkeyPatch
) -> Place:
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path, packed, store)


def content_of(folder: Path) -> dict[str, bytes | None]:
    """Return the paths, times and contents of everything below a folder."""
    return {
        f"{path.relative_to(folder)} {path.lstat().st_mtime_ns}": (
            path.read_bytes() if path.is_file() else None
        )
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_a_folder_with_anything_else_in_it_is_refused_and_named_and_untouched(
    command: Callable[[Place], int], place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    (place.out / "sub").mkdir(parents=True)
    (place.out / "thesis.txt").write_text("years of work")
    (place.out / "sub" / "photo.jpg").write_text("of a holiday")
    before = content_of(place.out)
    assert command(place) == 1
    assert "(sub/, thesis.txt)" in caplog.messages[-1]
    assert "Nothing was changed" in caplog.messages[-1]
    assert "Traceback" not in caplog.text
    assert content_of(place.out) == before


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_a_file_where_a_folder_belongs_is_refused_and_untouched(
    command: Callable[[Place], int], place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.out.write_text("years of work")
    assert command(place) == 1
    assert "is a file; name a folder" in caplog.messages[-1]
    assert "Traceback" not in caplog.text
    assert place.out.read_text() == "years of work"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_what_the_same_command_left_there_is_replaced_and_then_guarded(
    command: Callable[[Place], int], place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.out.mkdir()  # as Snakemake does
    assert command(place) == 0, caplog.text
    for folder in [place.out, *(path for path in place.out.rglob("*") if path.is_dir())]:
        (folder / ".snakemake_timestamp").touch()
    assert command(place) == 0, caplog.text
    # The records of runs are lanflow's own, with all that is in their folder.
    paths = [path for path in place.out.rglob("*") if ".sent_runs" not in path.parts]
    deepest = max(paths, key=lambda path: len(path.parts)).parent
    (deepest / "notes.txt").write_text("mine")
    before = content_of(place.out)
    assert command(place) == 1
    assert "notes.txt)" in caplog.messages[-1]
    assert content_of(place.out) == before


def test_an_archive_of_somebody_else_is_not_written_over(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    archive = place.folder / "out.tar.gz"
    archive.write_text("years of work")
    assert place.bundle() == 1
    assert f"{archive}: is there and is not an archive of this bundle" in caplog.messages[-1]
    assert archive.read_text() == "years of work"
    assert not place.out.exists()


def test_own_files_may_be_there_or_not_and_leftovers_of_a_kill_too(tmp_path: Path) -> None:
    own = ("a.json", "arrays/lan_*.npy", "records/")
    refuse_foreign_files(tmp_path / "none", own, what="this test")
    refuse_foreign_files(tmp_path, own, what="this test")
    for name in ("a.json", ".a.json.0123456789abcdef", "arrays/lan_x.npy", ".DS_Store"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "records" / "any" / "depth").mkdir(parents=True)
    (tmp_path / "records" / "any" / "name").touch()
    for name in (".arrays.0123456789abcdef", ".records.0123456789abcdef"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").touch()
    refuse_foreign_files(tmp_path, own, what="this test")


@pytest.mark.parametrize(
    "name",
    [
        *("b.json", "A.json", ".a.json", "a.json.0123456789abcdef"),
        *("other/a.json", "arrays/cpn_x.npy", "arrays/deep/lan_x.npy"),
        ".other.0123456789abcdef/a.json",
    ],
)
def test_other_names_are_not_ones_own(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(UserError, match="holds what is not of this test"):
        refuse_foreign_files(tmp_path, ("a.json", "arrays/lan_*.npy", "records/"), what="this test")


def test_three_are_named_and_the_others_counted(tmp_path: Path) -> None:
    for name in (b"a", b"b\n", b"c\xff", b"d", b"e"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    with pytest.raises(UserError) as caught:
        refuse_foreign_files(tmp_path, (), what="this test")
    assert str(caught.value) == (
        f"{tmp_path}: holds what is not of this test (a, 'b\\n', 'c\\udcff' and 2 more); name a "
        "folder of its own, or move that elsewhere. Nothing was changed"
    )


def test_a_file_on_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=rf"^{tmp_path}/file: is a file; name a folder"):
        refuse_foreign_files(tmp_path / "file" / "deep" / "folder", (), what="this test")
