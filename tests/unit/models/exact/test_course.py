import numpy as np
import pytest

from tests.unit.models.exact.particle import process, switching


def test_jumps_of_the_drift_are_told_from_slopes() -> None:
    course = process(drift=switching).course
    before, after = course.jumps
    np.testing.assert_allclose(before, [0.3, 1.7], atol=1e-9)
    assert (before < [0.3, np.nextafter(1.7, 2)]).all()
    assert (after >= [0.3, 1.7]).all()
    assert np.isin(course.jumps, course.t).all()
    assert process(drift=lambda t: 3 * np.sin(20 * t)).course.jumps.size == 0


def test_a_straight_boundary_that_stands_in_for_one_that_leaps_begins_further_out() -> None:
    straight = process(a=1.2, slope=0.3).course
    assert straight.began(0.5) == pytest.approx(1.2, abs=1e-6)
    leaping = process(boundary=lambda t: 0.3 + 5 * t**0.1).course
    assert leaping.began(0.2) == pytest.approx(0.3 + 5 * 0.2**0.1 * 0.9, rel=1e-3)
    rising = process(boundary=lambda t: 0.3 + t**2).course
    assert rising.began(0.5) == pytest.approx(0.3)
