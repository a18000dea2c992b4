"""Answers of Snakemake that plans have in common, asked for once.

A plan is a process of its own for users; tests make thousands in one. What Snakemake asks hundreds
of times, or anew for each plan, and what depends on the text of the rules alone, is kept: rules as
Python, parameters of their functions, which rule makes a file. Studies are read by libyaml's parser
where it is there, which gives the same values.
"""

import contextlib
import functools
import unittest.mock
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml


@contextlib.contextmanager
def answers_kept() -> Iterator[None]:
    """Let Snakemake take what it was told before, for the plans of one study."""
    from snakemake.common import get_function_params
    from snakemake.output_index import OutputIndex

    parameters = functools.cache(get_function_params)
    producers = functools.cache(OutputIndex.match_producers)
    answers = {
        "snakemake.workflow.parse": _parse,
        "snakemake.workflow.compile": _compiled,
        "snakemake.common.get_function_params": parameters,
        "snakemake.rules.get_function_params": parameters,
        "snakemake.dag.OutputIndex.match_producers": lambda index, file: producers(index, file),
        **{f"snakemake.{name}.is_flagged": _is_flagged for name in ("io", "dag", "jobs", "rules")},
        "yaml.FullLoader": getattr(yaml, "CFullLoader", yaml.FullLoader),
    }
    with contextlib.ExitStack() as stack:
        for place, answer in answers.items():
            stack.enter_context(unittest.mock.patch(place, answer, create=True))
        yield


# Python's, for texts of rules.
_compiled: Callable[..., Any] = functools.lru_cache(maxsize=100)(compile)


def _is_flagged(value: Any, flag: str) -> bool:
    """Snakemake's function of this name, without its slow question for an abstract class."""
    flags = getattr(value, "flags", None)
    return bool(flags and flags.get(flag))


# What Snakemake's parser makes of a file, by path, text, and how many rules stand before it.
_PARSED: dict[tuple[str, str, int], tuple[str, int, Mapping[int, int]]] = {}


def _parse(path: Any, workflow: Any, linemap: dict[int, int], rulecount: int) -> tuple[str, int]:
    """Snakemake's parser, asked once for a text: it takes a quarter of the time of a plan."""
    from snakemake.parser import parse

    name = path.get_path_or_uri(secret_free=True)
    key = name, Path(name).read_text(), rulecount
    if key not in _PARSED:
        lines: dict[int, int] = {}
        _PARSED[key] = (*parse(path, workflow, lines, rulecount=rulecount), lines)
    code, n_rules, lines = _PARSED[key]
    linemap |= lines
    return code, n_rules
