"""SECURITY.md names a test for each way in; the tests are there."""

import ast
import re
from pathlib import Path

from tests.conftest import REPOSITORY

_NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def functions(path: Path) -> set[str]:
    """Names of the functions of a file."""
    tree = ast.parse(path.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_way_in_has_tests_that_exist() -> None:
    lines = (REPOSITORY / "SECURITY.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| **")]
    assert len(rows) >= 12
    for row in rows:
        named = _NAMED.findall(row)
        assert named, row
        for path, name in named:
            assert name in functions(REPOSITORY / path), f"{path} has no {name}"
