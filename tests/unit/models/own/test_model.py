import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanflow.core.errors import UserError
from lanflow.models.model import ModelNotAtHandError
from lanflow.models.models_file import ModelsFile
from lanflow.models.own.model import own_models
from lanflow.models.simulators import find_model, process_of, simulate
from lanflow.models.solver import Solution
from lanflow.models.sources import best_source, label_source, make_density
from tests.own_models import models_file
from tests.readme import blocks

HEAD = """\
import numpy as np
def bound(t, a, tau): return a * np.exp(-t / tau)
def drift(t, v, k): return v + k * t
def simulator(m, t, n_samples, rng):
    return t + rng.exponential(m, n_samples), rng.choice([0, 1], n_samples)
def always(rt, n_samples): return np.full(n_samples, rt), np.zeros(n_samples)
"""
BOUND = {
    "name": '"mine"',
    "params": '["v", "a", "t", "tau"]',
    "param_bounds": "[[-1, 0.5, 0.1, 1], [1, 2, 0.5, 5]]",
    "boundary": "bound",
}
SIMULATOR = {
    "name": '"mine"',
    "params": '["m", "t"]',
    "param_bounds": "[[0.5, 0.1], [2, 0.5]]",
    "choices": "[0, 1]",
    "simulator": "simulator",
}


def text_of(base: Mapping[str, str], **changed: str | None) -> str:
    """The file of one model, with keys replaced; those that are None are left out."""
    keys = {key: value for key, value in {**base, **changed}.items() if value is not None}
    return f"{HEAD}MODEL = {{{', '.join(f'{k!r}: {v}' for k, v in keys.items())}}}\n"


def of(base: Mapping[str, str], **changed: str | None) -> ModelsFile:
    return models_file(text_of(base, **changed))


def test_a_file_holds_several_models_each_with_its_best_labels() -> None:
    file = models_file()
    ramp, race = (find_model(name, file) for name in ("exp_ramp", "lognormal_race"))
    assert (best_source(ramp), best_source(race)) == ("solver", "kde")
    assert ramp.choices == (-1, 1)
    assert race.choices == (0, 1)
    assert dict(race.bounds)["sigma"] == (0.2, 0.8)


def test_the_solver_gives_the_density_of_an_own_boundary_and_drift() -> None:
    file = models_file()
    model = find_model("exp_ramp", file)
    theta = {"v": 0.8, "a": 1.2, "z": 0.4, "t": 0.3, "tau": 2.0, "k": 0.5}
    process = process_of(model, theta, 20.0)
    times = np.linspace(0, 3, 7)
    np.testing.assert_allclose(process.boundary(times), 1.2 * np.exp(-times / 2))
    np.testing.assert_allclose(process.drift(times), 0.8 * (1 + 0.5 * times))
    density = make_density("solver", model, theta, 20.0)
    rts = np.array([0.5, 0.9, 1.7], np.float32)
    for choice in (-1, 1):
        known = Solution(process).log_density(rts.astype(float) - 0.3, choice)
        np.testing.assert_allclose(density.evaluate(rts, np.full(3, choice)), known, rtol=1e-6)
    rts_made, choices = simulate(model, theta, 20_000, seed=1)
    upper = density.mass(1.0)[1]
    assert np.mean((choices == 1) & (rts_made < 1.0)) == pytest.approx(upper, abs=0.02)


@pytest.mark.parametrize(
    ("boundary", "source"),
    [
        ("a - np.minimum(t, tau) * 0.1", "solver"),  # a kink
        ("a * np.where(t < tau, 1, np.exp(-(t - tau)))", "solver"),
        ("a * np.where(t < tau, 1, 0.6)", "kde"),
        ("np.where(t < tau, a, 0)", "kde"),
        ("np.where(t < 1 + 1e-6 * tau, a, a + 0.2)", "kde"),
    ],
)
def test_a_boundary_may_bend_but_one_that_leaps_gets_kernel_densities(
    boundary: str, source: str
) -> None:
    file = of(BOUND, boundary=f"lambda t, a, tau: {boundary}")
    model = find_model("mine", file)
    assert best_source(model) == source
    theta = {"v": 0.5, "a": 1.2, "t": 0.2, "tau": 1.1}
    if source == "solver":
        assert make_density("solver", model, theta, 20.0).mass(20.0).sum() <= 1.002
    else:
        with pytest.raises(UserError, match=r"the boundary leaps at 1(\.1)? s"):
            make_density("solver", model, theta, 20.0)


def test_a_straight_own_boundary_has_the_likelihood_of_angle() -> None:
    text = text_of(BOUND, params='["v", "a", "z", "t", "theta"]', boundary="straight")
    text = text.replace(BOUND["param_bounds"], "[[-1, 1, 0.3, 0.1, 0], [1, 2, 0.7, 0.5, 0.5]]")
    file = models_file("def straight(t, a, theta): return a - t * np.tan(theta)\n" + text)
    theta = {"v": 0.5, "a": 1.5, "z": 0.5, "t": 0.2, "theta": 0.3}
    rts, choices = np.array([0.4, 1.0, 2.5]), np.array([1, -1, 1])
    ours = make_density("solver", find_model("mine", file), theta, 20.0).evaluate(rts, choices)
    known = make_density("analytic", find_model("angle"), theta, 20.0).evaluate(rts, choices)
    np.testing.assert_allclose(ours, known, atol=2e-3)


def test_a_model_may_leave_out_the_start_and_v_where_the_drift_is_its_own() -> None:
    bounds = "[[0.5, 0.1, -1, 0], [2, 0.5, 1, 1]]"
    file = of(BOUND, params='["a", "t", "w", "k"]', param_bounds=bounds, boundary='"constant"')
    text = file.text.replace("def drift(t, v, k): return v", "def drift(t, w, k): return w")
    model = find_model(
        "mine", models_file(text.replace("'boundary':", "'drift': drift, 'boundary':"))
    )
    theta = {"a": 1.0, "t": 0.2, "w": 0.5, "k": 0.3}
    assert process_of(model, theta, 20.0).start == 0.5
    _, choices = simulate(model, theta, 5000, seed=1)
    upper = make_density("solver", model, theta, 20.0).choice_probabilities[1]
    assert np.mean(choices == 1) == pytest.approx(upper, abs=0.02)


def test_the_variant_with_a_deadline_is_there_for_both_kinds() -> None:
    file = models_file()
    for name in ("exp_ramp_deadline", "lognormal_race_deadline"):
        model = find_model(name, file)
        assert model.has_deadline
        theta = {**model.bounds.centre(), "deadline": 0.8}
        rts, _ = simulate(model, theta, 500, seed=1)
        assert 0 < np.mean(rts == -999) < 1
        assert rts.max() < 0.8


def test_parameters_may_be_bound_by_one_another_and_constrained() -> None:
    head = "from ssms.transforms import SwapIfLessConstraint\n"
    keys = {
        "param_bounds": '{"m": (0.5, 2), "t": (0.1, "m")}',
        "parameter_transforms": '{"sampling": [SwapIfLessConstraint("m", "t")]}',
    }
    model = find_model("mine", models_file(head + text_of(SIMULATOR, **keys)))
    assert model.bounds["t"] == (0.1, 2.0)


def test_a_model_that_the_file_registers_with_ssm_simulators_is_taken() -> None:
    text = """
from ssms.config import ModelConfigBuilder, register_model_config
def shrinking(t, a, rate): return a / (1 + rate * t)
mine = ModelConfigBuilder.from_model("ddm", param_bounds=None)
mine.pop("param_bounds_dict", None)
mine.update(
    params=["v", "a", "z", "t", "rate"], n_params=5, boundary=shrinking, boundary_name="shrinking",
    boundary_params=["a", "rate"], default_params=[0.0, 1.0, 0.5, 0.3, 0.5],
    param_bounds=[[-2, 0.5, 0.2, 0.1, 0], [2, 2, 0.8, 0.6, 1]],
)
register_model_config("registered_by_a_test", mine)
"""
    text = text.replace(", param_bounds=None", "").replace(
        'mine.pop("param_bounds_dict", None)\n', 'del mine["param_bounds_dict"]\n'
    )
    model = find_model("registered_by_a_test", models_file(text))
    assert model.name == "registered_by_a_test"
    assert label_source("auto", model) == "solver"


def test_another_process_finds_the_model_by_its_file() -> None:
    model = find_model("exp_ramp", models_file()).with_bounds({"v": (-1.0, 1.0)}, "x")
    again = pickle.loads(pickle.dumps(model))
    assert again.bounds == model.bounds
    assert again.models_file == model.models_file
    assert again.definition == model.definition


def test_a_model_that_the_file_lacks_is_told_with_those_that_it_has() -> None:
    with pytest.raises(ModelNotAtHandError) as caught:
        find_model("mime", of(BOUND))
    assert str(caught.value).startswith("model 'mime' is neither in my_model.py (mine) nor one of")
    assert str(caught.value).endswith("; did you mean 'mine'?")


def test_a_damaged_file_is_told_even_if_it_does_not_mention_the_model() -> None:
    damaged = models_file("def bound(t) return t")
    with pytest.raises(UserError, match=r"^my_model.py:1: SyntaxError"):
        find_model("mine", damaged)
    assert find_model("ddm", damaged).models_file is None


@pytest.mark.parametrize(
    ("base", "changed", "said"),
    [
        (BOUND, {"name": None}, "a model's key 'name' is None; expected a plain name"),
        (BOUND, {"name": '"a/b"'}, "a model's key 'name' is 'a/b'; expected a plain name"),
        (BOUND, {"name": '"angle"'}, "model 'angle': name: is a model of ssm-simulators"),
        (BOUND, {"name": '"my_deadline"'}, "model 'my_deadline': name: leave '_deadline' out"),
        (BOUND, {"name": '"my" + "ne"'}, "model 'myne': name: write it out in the file"),
        (BOUND, {"bondary": "bound"}, "unknown key 'bondary'; did you mean 'boundary'?"),
        (BOUND, {"params": None}, "params: is None; expected a list of names"),
        (BOUND, {"params": '["v", "a", "t", "rt"]'}, "params: 'rt' cannot be the name"),
        (BOUND, {"params": '["v", "a", "t", "t"]'}, "params: a name stands twice"),
        (BOUND, {"n_params": "3"}, "n_params: is 3, but params has 4"),
        (BOUND, {"param_bounds": None}, "param_bounds: is missing"),
        (BOUND, {"param_bounds": "[[-1, 0.5, 0.1], [1, 2, 0.5]]"}, "with 4 numbers each"),
        (BOUND, {"param_bounds": '{"v": (0, 1)}'}, "param_bounds: must have each of params"),
        (
            BOUND,
            {"param_bounds": "[[1, 0.5, 0.1, 1], [1, 2, 0.5, 5]]"},
            "v is (1.0, 1.0); the first",
        ),
        (BOUND, {"param_bounds": "[['q', 0.5, 0.1, 1], [1, 2, 0.5, 5]]"}, "expected two numbers"),
        (BOUND, {"boundary": "3"}, "boundary: is 3; expected a function of time, or a name"),
        (BOUND, {"boundary": '"angel"'}, "boundary: 'angel' is none of ssm-simulators'; did you"),
        (BOUND, {"boundary": '"angle"'}, "params: the boundary 'angle' needs 'theta'"),
        (BOUND, {"boundary": "lambda a, tau: a"}, "must take the time as its argument t"),
        (BOUND, {"boundary": "lambda t, a, b: a"}, "takes 'b', which is not among params (v, a,"),
        (BOUND, {"boundary": "lambda t, a, tau: a / 0"}, "fails: ZeroDivisionError"),
        (
            BOUND,
            {"boundary": "lambda t, a, tau: a if t < tau else 0 * t"},
            "; t is an array of times: use numpy's functions, and np.where for if",
        ),
        (BOUND, {"boundary": "lambda t, a, tau: -a"}, "expected a positive number at t = 0"),
        (BOUND, {"boundary": "lambda t, a: a + 0 * t"}, "params: 'tau' is used by nothing"),
        (BOUND, {"choices": "[0, 1]"}, "choices: are [0, 1]; this simulator gives -1 (lower)"),
        (BOUND, {"boundary": None}, "simulator: is missing; give one, or a boundary, or a drift"),
        (BOUND, {"boundary": None, "drift": '"gama_drift"'}, "drift: 'gama_drift' is none of"),
        (
            BOUND,
            {"simulator": "__import__('cssm').ddm_flexbound", "drift": "lambda t, v: v"},
            "drift: the simulator ddm_flexbound takes none; leave 'simulator' out",
        ),
        (
            BOUND,
            {
                "simulator": "__import__('cssm').ddm_flex_leak2",
                "choices": "[-1, 1]",
                "drift": '"constant"',
            },
            "simulator: ddm_flex_leak2 of ssm-simulators fails at v 0, a 1.25, t 0.3, tau 3: ",
        ),
        (SIMULATOR, {"choices": None}, "choices: expected a list of at least two different whole"),
        (SIMULATOR, {"choices": "[0.5, 1]"}, "choices: expected a list of at least two"),
        (SIMULATOR, {"nchoices": "3"}, "nchoices: is 3, but choices are [0, 1]"),
        (SIMULATOR, {"choices": "[1, 2]"}, "returns the choice 0; the model's are [1, 2]"),
        (SIMULATOR, {"simulator": '"x"'}, "simulator: is 'x'; expected a function"),
        (SIMULATOR, {"simulator": "lambda m, n_samples: 1"}, "does not take 't'"),
        (SIMULATOR, {"simulator": "lambda m, t: 1"}, "does not take 'n_samples'"),
        (SIMULATOR, {"simulator": "lambda m, t, q, n_samples: 1"}, "takes 'q', which is neither"),
        (SIMULATOR, {"simulator": "lambda m, t, n_samples: 1"}, "returns int; expected (rts, ch"),
        (SIMULATOR, {"simulator": "lambda m, t, n_samples: m / 0"}, "fails at m 1.25, t 0.3: Zer"),
        (SIMULATOR, {"simulator": "lambda m, t, n_samples: ([1], [0])"}, "returns 1 rts and 1 ch"),
        (
            SIMULATOR,
            {"simulator": "lambda m, t, n_samples: always(np.nan, n_samples)"},
            "returns rts that are not finite",
        ),
        (
            SIMULATOR,
            {"simulator": "lambda m, t, n_samples: always(0.1, n_samples)"},
            "returns the rt 0.1 s, before the non-decision time t",
        ),
        (
            SIMULATOR,
            {"simulator": "lambda m, t, n_samples: always(-1.0, n_samples)"},
            "returns the rt -1 s, before the non-decision time t",
        ),
        (
            SIMULATOR | {"params": '["m"]', "param_bounds": '{"m": (0.5, 2)}'},
            {"simulator": "lambda m, n_samples: always(-0.5, n_samples)"},
            "returns the rt -0.5 s; expected seconds, -999 for a trial without an answer, or -1",
        ),
        (SIMULATOR, {"boundary": "bound"}, "boundary: bound() takes 'a'"),
        (SIMULATOR, {"parameter_transforms": "[1]"}, "parameter_transforms: expected"),
    ],
)
def test_what_is_wrong_is_told_in_one_line_that_names_file_model_and_key(
    base: Mapping[str, str], changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as caught:
        own_models(of(base, **changed))
    message = str(caught.value)
    assert message.startswith("my_model.py: ")
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize("how", ["rng=None", "random_state=0", "**more", ""])
def test_the_same_seed_gives_the_same_trials_however_a_simulator_draws(how: str) -> None:
    name = how.strip("*").partition("=")[0]
    draw = {
        "rng": "rng",
        "random_state": "np.random.default_rng(random_state)",
        "more": "np.random.default_rng(more['random_state'])",
        "": "np.random",
    }[name]
    text = (
        text_of(SIMULATOR)
        .replace("n_samples, rng)", f"n_samples{', ' + how if how else ''})")
        .replace("rng.", f"{draw}.")
    )
    model = find_model("mine", models_file(text))
    theta = {"m": 1.0, "t": 0.2}
    first, again, other = (simulate(model, theta, 50, seed=s)[0] for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_simulator_in_ssm_simulators_own_form_gets_arrays() -> None:
    theirs = """
def theirs(m, t, deadline, s, n_samples=1, n_trials=1, max_t=20, random_state=None, **kwargs):
    rng = np.random.default_rng(random_state)
    rts = np.stack([t[k] + rng.exponential(m[k], n_samples) for k in range(n_trials)], axis=1)
    return {"rts": rts[..., None], "choices": rng.choice([0, 1], rts.shape)[..., None]}
"""
    model = find_model("mine", models_file(theirs + text_of(SIMULATOR, simulator="theirs")))
    rts, choices = simulate(model, {"m": 1.0, "t": 0.2}, 100, seed=1)
    assert rts.shape == choices.shape == (100,)
    assert rts.min() >= 0.2


def test_the_model_in_the_readme_gets_the_solvers_labels(tmp_path: Path) -> None:
    (text,) = blocks("py")
    path = tmp_path / "my_model.py"
    path.write_text(text)
    model = find_model("collapsing", ModelsFile.read(path))
    assert label_source("auto", model) == "solver"
