"""Every command of the README and of the pages works as printed."""

import re

import pytest
from docs.write_reference import generated_files

from tests.conftest import REPOSITORY
from tests.readme import PAGES, as_typed, blocks
from tests.workflow.conftest import Checkout, make_checkout

# Set-up itself; CI runs both from a clean clone (.ci/run).
RUN_BY_CI = ["make run", "make test"]
# What needs other things than a checkout, and the tests that run it.
RUN_ELSEWHERE = {
    "lanflow convert": "tests/unit/cli/test_evaluate_convert.py",
    "lanflow site": "tests/cluster/conftest.py",
    "mlflow server": "tests/cluster/services.py",
    "lanflow register": "tests/unit/cli/test_publish.py",
}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Somebody who cloned the repository and typed the README's study."""
    place = make_checkout(tmp_path_factory.mktemp("reader"))
    (study,) = blocks("yaml")
    (place.folder / "my_study.yaml").write_text(study)
    return place


def test_generated_texts_are_what_the_code_says() -> None:
    for path, content in generated_files(REPOSITORY).items():
        assert path.read_text() == content, f"{path.name}: run 'make generated'"


@pytest.mark.slow
def test_every_command_runs_in_the_order_of_the_pages(reader: Checkout) -> None:
    for block in blocks("bash"):
        if block.split("\n")[:-1] == RUN_BY_CI:
            continue
        reader.run("bash", "-euc", as_typed(block))


def test_commands_that_need_other_things_are_run_elsewhere() -> None:
    beginnings = [
        [key for key in RUN_ELSEWHERE if f"\n{key} " in f"\n{block}"] for block in blocks("sh")
    ]
    assert sorted(beginnings) == sorted([key] for key in RUN_ELSEWHERE)
    for key, path in RUN_ELSEWHERE.items():
        assert f'commands_with("{key}")' in (REPOSITORY / path).read_text()


@pytest.mark.slow
def test_every_path_named_in_the_tables_exists(tiny: Checkout) -> None:
    for name in re.findall(r"\| `(results/[^`]*|mlflow\.db)` \|", PAGES):
        pattern = re.sub(r"\{[a-z]+\}", "*", name).replace("_...", "_*").rstrip("/")
        assert list(tiny.folder.glob(pattern)), name
