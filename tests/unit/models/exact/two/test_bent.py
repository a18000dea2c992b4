import numpy as np
import pytest

from lanflow.models.analytic import Diffusion
from lanflow.models.density import Array
from lanflow.models.exact.course import Process
from lanflow.models.exact.two.bent import Bent, ratio_to, step_times
from lanflow.models.solver import STEP


def particle(v: float, z: float, a: float, bend: float) -> tuple[Process, Bent]:
    """One between boundaries that fall like a Gaussian, or stand still."""
    process = Process(
        lambda t: a * np.exp(-bend * t**2), lambda t: np.full_like(t, v), z, leak=0.0, until=20.0
    )
    return process, Bent(process.course, np.array([v, 0.0]), np.array([z, 0.5]))


def angle(slope: float) -> tuple[Process, Bent]:
    process = Process(
        lambda t: 1.2 - slope * t, lambda t: np.full_like(t, 0.8), 0.3, leak=0.0, until=20.0
    )
    return process, Bent(process.course, np.array([0.8, -0.5]), np.array([0.3, 0.5]))


@pytest.mark.parametrize("slope", [0.0, 0.4, -0.1])
def test_between_straight_boundaries_it_is_the_exact_likelihood(slope: float) -> None:
    process, both = angle(slope)
    steps = step_times(process, STEP, is_fed=False)
    logs = both.log_arrivals(steps)
    for kind, (v, z) in enumerate([(0.8, 0.3), (-0.5, 0.5)]):
        for row, side in enumerate((-1, 1)):
            known = Diffusion(v, 1.2, z, slope).log_density(steps[::2], side)
            likely = known > known.max() - 6
            np.testing.assert_allclose(logs[kind, row][likely], known[likely], atol=3e-3)
            late = likely & (steps[::2] > 0.3)
            np.testing.assert_allclose(logs[kind, row][late], known[late], atol=3e-4)


def law(v: float, rate: float, x: Array) -> tuple[Array, Array]:
    """Two solutions of h'' / 2 + v h' = rate h: exp(-rate t) h(X) has the same mean always."""
    root = np.sqrt(v**2 + 2 * rate)
    return np.exp((root - v) * x), np.exp((-root - v) * x)


@pytest.mark.parametrize("bend", [0.05, 0.5, 3.0])
@pytest.mark.parametrize(("v", "z"), [(0.0, 0.5), (1.5, 0.3), (-3.0, 0.6)])
def test_bent_boundaries_obey_the_law_of_a_stopped_particle(
    v: float, z: float, bend: float
) -> None:
    a, rate = 1.4, 0.7
    process, both = particle(v, z, a, bend)
    steps = step_times(process, STEP / 2, is_fed=False)
    t, densities = steps[::2], np.exp(both.log_arrivals(steps))[0]
    b = process.boundary(t)
    for at_end, at_start in zip(
        zip(law(v, rate, -b), law(v, rate, b), strict=True),
        law(v, rate, np.array(a * (2 * z - 1))),
        strict=True,
    ):
        flow = sum(part * end for part, end in zip(densities, at_end, strict=True))
        mean = np.trapezoid(flow * np.exp(-rate * t), t)
        assert mean == pytest.approx(at_start, rel=2e-3)


def test_as_many_arrive_as_are_fed() -> None:
    process, both = particle(0.7, 0.4, 1.2, 0.3)
    steps = step_times(process, STEP, is_fed=True)

    def rates(t: Array) -> Array:
        return np.exp(-((t - 0.6) ** 2) / 0.02) / np.sqrt(0.02 * np.pi) * np.array([[1.0], [0.5]])

    arrivals = np.exp(both.log_arrivals(steps, rates))
    fed = np.trapezoid(arrivals.sum(axis=1), steps[::2])
    np.testing.assert_allclose(fed, [1, 0.5], rtol=2e-3)


def test_a_ratio_is_constant_outside_of_what_is_solved() -> None:
    times = np.linspace(0.1, 2, 40)
    logs = -3 / times
    ratio = ratio_to(logs - 0.1 * times, logs, times)
    np.testing.assert_allclose(ratio(np.array([0.5, 1.0])), [0.05, 0.1], atol=1e-6)
    first = times[np.argmax(logs > logs.max() - 12)]
    np.testing.assert_allclose(ratio(np.array([1e-3, 9.0])), [0.1 * first, 0.2], atol=1e-6)
