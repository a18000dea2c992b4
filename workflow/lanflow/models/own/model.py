"""Models of the user's own: what a models file says, checked and completed for ssm-simulators.

Two kinds. A boundary and/or a drift of time on ssm-simulators' particle is simulated by its
simulators, and has labels from the solver. A simulator of one's own is any function of the
parameters that gives rts and choices (:class:`~lanflow.models.own.simulator.OwnSimulator`), and has
labels from a kernel density.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from lanflow.core.errors import UserError
from lanflow.core.names import is_name
from lanflow.core.settings import suggest
from lanflow.models.definition import THEIRS
from lanflow.models.generation import neutral
from lanflow.models.models_file import DEADLINE, EXPECTED, ModelsFile
from lanflow.models.own.simulator import (
    EXTRA,
    OF_A_RUN,
    OwnSimulator,
    arguments_of,
    numpy_seeded,
)
from lanflow.models.own.values import GivenValues, centre

# Keys of a model. ssm-simulators' own descriptions have all of them; most may be left out.
_KEYS = (
    *("name", "params", "param_bounds", "choices", "nchoices", "boundary", "boundary_name"),
    *("boundary_params", "drift", "drift_fun", "drift_name", "drift_params", "simulator"),
    *("parameter_transforms", "default_params", "n_params", "n_particles", "param_bounds_dict"),
    *("simulator_fixed_params", "simulator_param_mappings"),
)
_N_TRIED = 8
_KEYS_OF_FUNCTIONS = (
    *("boundary", "boundary_name", "boundary_params", "drift", "drift_name", "drift_params"),
    *("simulator", "parameter_transforms"),
)
# ssm-simulators' simulators of one particle between two boundaries, and whether the parameter g
# pulls it to zero.
PARTICLES = {
    "ddm_flexbound": False,
    "ddm_flex": False,
    "ornstein_uhlenbeck": True,
    "ddm_flex_leak": True,
}


@dataclass(frozen=True, eq=False)
class OwnModel:
    """A model of a models file.

    Attributes
    ----------
    config
        In ssm-simulators' form, for its simulators.
    record
        The same for training files: names in place of functions.
    """

    config: Mapping[str, Any]
    record: Mapping[str, Any]


@cache
def own_models(file: ModelsFile) -> Mapping[str, OwnModel]:
    """The models that a file defines, by name.

    A file may also register models with ssm-simulators (``register_model_config``).

    Raises
    ------
    UserError
        Naming file, model and key.
    """
    from ssms.config import get_model_registry

    registry = get_model_registry()
    known = set(registry.list_models())
    definitions = list(file.run())
    fresh = sorted(set(registry.list_models()) - known)
    definitions += [{**registry.get(name), "name": name} for name in fresh]
    if not definitions:
        raise UserError(f"{file}: defines no model; {EXPECTED}")
    models: dict[str, OwnModel] = {}
    for definition in definitions:
        name = _name_of(definition, file, known)
        if name in models:
            raise UserError(f"{file}: model {name!r} is defined twice")
        models[name] = _Definition(definition, name, file).complete()
    return models


def _name_of(definition: Mapping[str, Any], file: ModelsFile, known: set[str]) -> str:
    name = definition.get("name")
    if not isinstance(name, str) or not is_name(name):
        raise UserError(f"{file}: a model's key 'name' is {name!r}; expected a plain name")
    if DEADLINE in name:
        raise UserError(
            f"{file}: model {name!r}: name: leave {DEADLINE!r} out; every model has a variant of "
            "that ending, with the deadline as its last parameter"
        )
    if name in known:
        raise UserError(
            f"{file}: model {name!r}: name: is a model of ssm-simulators; give yours a name of its "
            "own"
        )
    if not file.mentions(name):
        raise UserError(
            f"{file}: model {name!r}: name: write it out in the file, where a study looks for it"
        )
    return name


class _Definition(GivenValues):
    """One model of a file, while it is checked: its functions, and all together."""

    def complete(self) -> OwnModel:
        """The model as ssm-simulators needs it."""
        for key in self._given:
            if key not in _KEYS:
                raise UserError(
                    f"{self._file}: model {self._name!r}: unknown key {key!r}"
                    f"{suggest(str(key), _KEYS)}"
                )
        params = self._parameters()
        space = self._bounds(params)
        boundary, drift = self._function("boundary", params), self._function("drift", params)
        if boundary is None and self._is_particle():
            boundary = self._of_theirs("boundary", "constant", params)
        transforms = self._transforms()
        simulator, is_own = self._simulator(params, boundary, drift, transforms)
        choices = self._choices(is_particle=getattr(simulator, "__name__", "") in PARTICLES)
        config: dict[str, Any] = {
            "name": self._name,
            "params": params,
            "param_bounds": [[space[name][side] for name in params] for side in (0, 1)],
            "param_bounds_dict": space,
            "n_params": len(params),
            "default_params": self._defaults(params, space),
            "nchoices": len(choices),
            "choices": choices,
            "n_particles": self._given.get("n_particles", 1),
            "simulator": simulator,
            "parameter_transforms": transforms,
        }
        functions = {"boundary": boundary, "drift": drift}
        for part, function in functions.items():
            if function is not None:
                config |= function.config(part, f"{self._name}@{self._file.sha256[:16]}")
        theta = dict(zip(params, config["default_params"], strict=True))
        if is_own:
            own = OwnSimulator(simulator, tuple(params), tuple(choices), self._where("simulator"))
            own.simulate(theta, n_samples=_N_TRIED, delta_t=0.001, max_t=20.0, random_state=1)
            config["simulator"] = own
        else:
            self._try_theirs(config, theta)
        return OwnModel(config, self._record(config, functions, simulator))

    def _function(self, part: str, params: list[str]) -> "_OfTime | None":
        """The boundary or the drift: a function of the file's, or the name of one of theirs."""
        keys = (part, f"{part}_fun", f"{part}_name")
        given = next((self._given[k] for k in keys if self._given.get(k) is not None), None)
        if given is None:
            return None
        if not isinstance(given, str) and not callable(given):
            self._refuse(part, f"is {given!r:.100}; expected a function of time, or a name")
        named = str(self._given.get(f"{part}_name") or getattr(given, "__name__", given))
        if isinstance(given, str) or not _is_of_the_user(given):
            return self._of_theirs(part, named, params)
        made = _OfTime(given, named, tuple(self._taken(part, given, params)), is_own=True)
        self._try(part, made, params)
        return made

    def _of_theirs(self, part: str, name: str, params: list[str]) -> "_OfTime":
        """A boundary or drift that ssm-simulators knows by its name."""
        from ssms.config import get_boundary_registry, get_drift_registry

        registry = get_boundary_registry() if part == "boundary" else get_drift_registry()
        if not registry.is_registered(name):
            listed = registry.list_boundaries() if part == "boundary" else registry.list_drifts()
            self._refuse(part, f"{name!r} is none of ssm-simulators'{suggest(name, listed)}")
        entry = registry.get(name)
        missing = [taken for taken in entry["params"] if taken not in params]
        if missing and self._is_particle():
            self._refuse("params", f"the {part} {name!r} needs {missing[0]!r}")
        takes = tuple(taken for taken in entry["params"] if taken in params)
        return _OfTime(entry["fun"], name, takes, is_own=_is_of_the_user(entry["fun"]))

    def _is_particle(self) -> bool:
        """True if one of ssm-simulators' simulators of one particle is taken."""
        given = self._given.get("simulator")
        return given is None or (
            not _is_of_the_user(given) and getattr(given, "__name__", "") in PARTICLES
        )

    def _taken(self, part: str, function: Callable[..., Any], params: list[str]) -> list[str]:
        """The parameters that a function of time of the user's takes: those of its signature."""
        given = self._given.get(f"{part}_params")
        named, needed, takes_all = arguments_of(function)
        if "t" not in named:
            self._refuse(part, f"{_shown(function)} must take the time as its argument t")
        takes = list(given) if given is not None else [n for n in named if n in params and n != "t"]
        unknown = [n for n in takes if n not in params or not (takes_all or n in named)]
        unknown += [n for n in needed if n != "t" and n not in takes]
        if unknown:
            self._refuse(
                part,
                f"{_shown(function)} takes {unknown[0]!r}, which is not among params "
                f"({', '.join(params)})",
            )
        return takes

    def _try(self, part: str, function: "_OfTime", params: list[str]) -> None:
        """Call a function of the user's once, in the middle of the bounds."""
        middle = centre(self._bounds(params))
        times = np.array([0.0, 0.5, 1.0])
        try:
            made = function.function(t=times, **{name: middle[name] for name in function.takes})
            values = np.broadcast_to(np.asarray(made, float), times.shape)
        except Exception as e:  # whatever a function of a user's raises
            hint = ""
            with contextlib.suppress(Exception):
                for time in times:
                    function.function(t=time, **{name: middle[name] for name in function.takes})
                hint = "; t is an array of times: use numpy's functions, and np.where for if"
            said = f"{type(e).__name__}: {e}{hint}"
            self._refuse(part, f"{_shown(function.function)} fails: {said}")
        if not np.isfinite(values).all() or (part == "boundary" and values[0] <= 0):
            what = "a positive number at t = 0" if part == "boundary" else "numbers"
            self._refuse(part, f"{_shown(function.function)} gives {values}; expected {what}")

    def _try_theirs(self, config: Mapping[str, Any], theta: Mapping[str, float]) -> None:
        """Simulate a few trials by a simulator of ssm-simulators, which may need what is not there.

        It says so nowhere: ``ddm_flex_leak2`` wants a drift for each of two inputs.
        """
        from ssms.basic_simulators import Simulator

        try:
            with numpy_seeded(1):
                Simulator(model=neutral(config)).simulate(
                    theta=dict(theta), n_samples=_N_TRIED, random_state=1
                )
        except Exception as e:  # whatever it raises of what it was not made for
            at = ", ".join(f"{name} {value:g}" for name, value in theta.items())
            name, said = config["simulator"].__name__, f"{type(e).__name__}: {e}"
            self._refuse("simulator", f"{name} of ssm-simulators fails at {at}: {said}")

    def _simulator(
        self,
        params: list[str],
        boundary: "_OfTime | None",
        drift: "_OfTime | None",
        transforms: dict[str, list[Any]],
    ) -> tuple[Any, bool]:
        """The simulating function, and whether it is the user's own."""
        from ssms.config import model_config as catalogue

        given = self._given.get("simulator")
        if given is None:
            if not any(key.startswith(("boundary", "drift")) for key in self._given):
                self._refuse("simulator", "is missing; give one, or a boundary, or a drift")
            given = catalogue["ddm" if drift is None else "gamma_drift"]["simulator"]
        if not callable(given):
            self._refuse("simulator", f"is {given!r:.100}; expected a function")
        if _is_of_the_user(given):
            self._check_own_simulator(given, params, boundary, drift)
            return given, True
        named = arguments_of(given)[0]
        for part, function in (("boundary", boundary), ("drift", drift)):
            if function is not None and f"{part}_fun" not in named:
                self._refuse(
                    part,
                    f"the simulator {given.__name__} takes none; leave 'simulator' out for the one "
                    "that does",
                )
        if given.__name__ in PARTICLES and not self._given.get("parameter_transforms"):
            self._check_particle(given, params, boundary, drift)
            transforms["simulation"] = _defaults_of_a_particle(params, drift is not None)
        return given, False

    def _check_particle(
        self,
        simulator: Any,
        params: list[str],
        boundary: "_OfTime | None",
        drift: "_OfTime | None",
    ) -> None:
        """Every parameter has a use, and those that the particle needs are there."""
        needed = {"t"} | ({"v"} if drift is None else set())
        if PARTICLES[simulator.__name__]:
            needed |= {"g"}
        for name in sorted(needed - set(params)):
            self._refuse("params", f"the simulator {simulator.__name__} needs {name!r}")
        used = needed | {"z"}
        used |= {name for each in (boundary, drift) if each is not None for name in each.takes}
        for name in params:
            if name not in used:
                self._refuse(
                    "params",
                    f"{name!r} is used by nothing: neither boundary, drift, nor the simulator "
                    f"{simulator.__name__}",
                )

    def _check_own_simulator(
        self,
        function: Callable[..., Any],
        params: list[str],
        boundary: "_OfTime | None",
        drift: "_OfTime | None",
    ) -> None:
        if boundary is not None or drift is not None:
            part = "drift" if boundary is None else "boundary"
            self._refuse(part, "goes with a simulator of ssm-simulators'; yours has its own")
        named, needed, takes_all = arguments_of(function)
        for name in (*params, "n_samples"):
            if name not in named and not takes_all:
                self._refuse("simulator", f"{_shown(function)} does not take {name!r}")
        given = {*params, *OF_A_RUN, *EXTRA}
        for name in needed:
            if name not in given:
                self._refuse(
                    "simulator",
                    f"{_shown(function)} takes {name!r}, which is neither among params nor "
                    f"{', '.join((*OF_A_RUN, 'rng'))}",
                )

    def _record(
        self, config: Mapping[str, Any], functions: Mapping[str, Any], simulator: Any
    ) -> dict[str, Any]:
        """The description in training files: no code, but the text that it comes from."""
        record = {k: v for k, v in config.items() if k not in _KEYS_OF_FUNCTIONS}
        module = self._file.name.removesuffix(".py")
        for part, function in functions.items():
            if function is not None:
                at = module if function.is_own else function.function.__module__
                called = getattr(function.function, "__name__", part)
                record[part] = f"{at}.{called}"
                record[f"{part}_name"] = function.name
                record[f"{part}_params"] = list(function.takes)
        at = module if _is_of_the_user(simulator) else simulator.__module__
        record["simulator"] = f"{at}.{getattr(simulator, '__name__', 'simulator')}"
        record["models_file"] = {
            "name": self._file.name,
            "sha256": self._file.sha256,
            "text": self._file.text,
        }
        return record


@dataclass(frozen=True)
class _OfTime:
    """A boundary or a drift: a function of time and of some parameters."""

    function: Callable[..., Any]
    name: str
    takes: tuple[str, ...]
    is_own: bool

    def config(self, part: str, of: str) -> dict[str, Any]:
        """ssm-simulators' keys; what is the user's own is registered there under a name of its own.

        Its simulators look drifts up by name, and boundaries that take no parameters.
        """
        from ssms.config import (
            get_boundary_registry,
            get_drift_registry,
            register_boundary,
            register_drift,
        )

        name = self.name
        if self.is_own:
            name = f"{of}.{self.name}"
            registry, register = (
                (get_boundary_registry(), register_boundary)
                if part == "boundary"
                else (get_drift_registry(), register_drift)
            )
            if not registry.is_registered(name):
                register(name=name, function=self.function, params=list(self.takes))
        return {part: self.function, f"{part}_name": name, f"{part}_params": list(self.takes)}


def _defaults_of_a_particle(params: list[str], has_drift: bool) -> list[Any]:
    """Defaults of what a model may leave out: z in the middle, and v where there is a drift."""
    from ssms.transforms import SetDefaultValue

    values = {"z": 0.5} | ({"v": 0.0} if has_drift else {})
    return [SetDefaultValue(name, value) for name, value in values.items() if name not in params]


def _is_of_the_user(function: Any) -> bool:
    return str(getattr(function, "__module__", "")).partition(".")[0] not in THEIRS


def _shown(function: Any) -> str:
    return f"{getattr(function, '__name__', 'the function')}()"
