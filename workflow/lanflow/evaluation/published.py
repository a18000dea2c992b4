"""Limits of the accuracy gate: what networks that others have published reach.

``published.json`` holds their evaluations, each with where it comes from and its sha256; the page
``docs/published.md`` shows them, and the command at its top makes both anew.
"""

import json
import math
from functools import cache
from pathlib import Path
from statistics import median_high
from typing import Literal

from lanflow.core.settings import Settings, parse_settings
from lanflow.evaluation.record import Evaluation

PUBLISHED_PATH = Path(__file__).with_name("published.json")

# Numbers that have a limit. That of a mean difference is never below the usual one: of one network
# it is small by chance.
_LIMITED = ("mean_abs_error", "median_abs_error", "p99_abs_error", "abs_mean_difference")

# Nats. A network that is farther from the model of its name was trained on another.
_OF_ANOTHER_MODEL = 0.5


class PublishedNetwork(Settings):
    """A network that others have published, and what its evaluation found."""

    file: str
    path: str
    origin: str
    sha256: str
    remark: str
    evaluation: Evaluation

    @property
    def is_limit(self) -> bool:
        """True if its errors are limits: of a likelihood network, against a good reference."""
        scores = self.evaluation.scores
        if self.evaluation.network_type != "lan" or scores is None:
            return False
        is_exact = self.evaluation.reference.source in ("analytic", "solver")
        return is_exact and (scores.mean_abs_error or 0) < _OF_ANOTHER_MODEL


class Published(Settings):
    """Content of ``published.json``."""

    published_version: Literal[1]
    licence: str
    machine: str
    networks: list[PublishedNetwork]


@cache
def read_published() -> Published:
    """The published networks' evaluations, which are a part of the package."""
    content = json.loads(PUBLISHED_PATH.read_text())
    return parse_settings(Published, content, str(PUBLISHED_PATH))


def accuracy_limits(model: str) -> dict[str, float]:
    """The largest errors of a likelihood network that passes, nats.

    Of a model that a network was published of, that network's errors (of several, of the one with
    the smallest mean error). Of any other model, each number that is in the middle of those of the
    published ones. The limit of the mean difference is at least that of the middle. All are rounded
    up to two digits.

    Parameters
    ----------
    model
        Its name.
    """
    return limits_of(read_published(), model)


def limits_of(published: Published, model: str) -> dict[str, float]:
    """The limits for a model by the published networks."""
    best = _best_of_models(published)
    usual = {key: median_high(each[key] for each in best.values()) for key in _LIMITED}
    limits = dict(best.get(model, usual))
    limits["abs_mean_difference"] = max(limits["abs_mean_difference"], usual["abs_mean_difference"])
    return {key: _round_up(value) for key, value in limits.items()}


def _best_of_models(published: Published) -> dict[str, dict[str, float]]:
    """The errors of the best network of each model that sets limits."""
    best: dict[str, dict[str, float]] = {}
    for network in filter(lambda each: each.is_limit, published.networks):
        scores = network.evaluation.scores
        assert scores is not None
        found = scores.model_dump() | {"abs_mean_difference": abs(scores.mean_difference or 0)}
        numbers = {key: float(found[key]) for key in _LIMITED}
        known = best.get(network.evaluation.model)
        if known is None or numbers["mean_abs_error"] < known["mean_abs_error"]:
            best[network.evaluation.model] = numbers
    return best


def limited_models(published: Published) -> list[str]:
    """The models that have limits of their own."""
    return sorted({each.evaluation.model for each in published.networks if each.is_limit})


def _round_up(value: float) -> float:
    """The least number of two digits that is not below."""
    scale: float = 10.0 ** (1 - math.floor(math.log10(value)))
    return math.ceil(round(value * scale, 6)) / scale
