"""The arguments of NUTS, which PyMC takes in two forms."""

import pytest

from lanflow.evaluation.hssm import sampler


@pytest.mark.parametrize(
    ("version", "expected"),
    [("5.28.5", {"nuts_kwargs": {"dense_mass": True}}), ("6.4.0", {"dense_mass": True})],
)
def test_nuts_is_asked_for_covariances_as_each_pymc_takes_it(
    version: str, expected: dict[str, object]
) -> None:
    assert sampler._nuts(version) == expected
