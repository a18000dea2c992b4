"""Makes a command of a function: its annotated parameters are the options.

>>> def simulate(
...     *,
...     output: Annotated[Folder, "folder of the files"],
...     seed: Annotated[Seed, "of all draws"] = 1,
...     store: StoreOptions,
... ) -> Outcome: ...

A parameter without a default is required. The text beside its type is its help; an :class:`Option`
there says how its value is read and shown. An option of several commands is such a type with a
name (``Seed``). Options that belong together are an :class:`OptionGroup` (``StoreOptions``), which
the function gets as one object.

click parses the words. typer declares options like this, too, but loads pydantic to read any value:
a command with 32 options then takes six times as long to start as with argparse, with click twice.
"""

import functools
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    TypeGuard,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
)

import click

from lanflow.core.errors import short

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# Options that no panel holds come first, these last.
_LAST_PANEL = "Output and log"
WIDTH = 100


class Option(NamedTuple):
    """Settings by which an option is read and shown.

    Attributes
    ----------
    parse
        Makes the value from the word, and raises a ValueError with the reason for one that is not
        accepted. The type itself when left out.
    metavar
        What stands for the value in the help.
    names
        In place of the parameter's own.
    choices
        The words that are accepted, once parsed. Those of a ``Literal`` when left out.
    default_in_words
        Where the default is found out only as the command runs.
    panel
        The section of the help.
    spreads
        Whether several words may follow the option, ``--records a b``.
    is_argument
        Whether it is a word without the name of an option before it: :data:`Argument`.
    """

    parse: Callable[[str], Any] | None = None
    metavar: str = ""
    names: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    default_in_words: str = ""
    panel: str = ""
    spreads: bool = False
    is_argument: bool = False


Argument = functools.partial(Option, is_argument=True)


@dataclass_transform(kw_only_default=True, frozen_default=True)
class OptionGroup:
    """Options that belong together, as annotated attributes of a subclass.

    It is what a dataclass is without the functions that ``dataclass`` writes for each: they would
    take a tenth of the time in which a command starts.

    Attributes
    ----------
    panel
        The section of the help.
    """

    panel: ClassVar[str] = ""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class Outcome(NamedTuple):
    """The result of a command.

    Attributes
    ----------
    content
        For programs: one line of JSON.
    summary
        For people: what came out and where it is, in a few lines.
    status
        The exit status: 0, or 3 for a network that did not pass.
    """

    content: Mapping[str, Any]
    summary: str
    status: int = 0


LogLevel = Annotated[
    str,
    Option(
        parse=str.upper,
        names=("--log-level", "-l"),
        choices=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
        metavar="LEVEL",
        panel=_LAST_PANEL,
    ),
    "DEBUG, INFO, WARNING, ERROR or CRITICAL",
]
Json = Annotated[
    bool,
    Option(panel=_LAST_PANEL),
    "end with one line of JSON instead of a summary, which then goes to standard error",
]


class _Type(NamedTuple):
    """A parameter's annotation, taken apart."""

    kind: Any
    is_many: bool
    option: Option
    help: str


class Value(click.ParamType):  # type: ignore[type-arg]  # not generic in older versions
    """The value of an option, as click reads it."""

    def __init__(self, kind: Any, option: Option) -> None:
        is_literal = get_origin(kind) is Literal
        self._parse = option.parse or (str if is_literal else kind)
        self.choices = option.choices or (get_args(kind) if is_literal else ())
        self.name = option.metavar or "|".join(self.choices) or "TEXT"
        self._is_path = isinstance(kind, type) and issubclass(kind, Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value for a word; a default is one already."""
        if not isinstance(value, str):
            return value
        try:
            made = self._parse(value)
        except ValueError as e:
            self.fail(str(e), param, ctx)
        if self.choices and made not in self.choices:
            self.fail(f"{short(value)} is none of {', '.join(self.choices)}", param, ctx)
        return made

    def shell_complete(
        self, _ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> "list[CompletionItem]":
        """Return what a shell offers: the choices, or files."""
        from click.shell_completion import CompletionItem

        if self._is_path:
            return [CompletionItem(incomplete, type="file")]
        return [CompletionItem(word) for word in self.choices if word.startswith(incomplete)]


class CommandOption(click.Option):
    """An option of click's with its panel of the help."""

    def __init__(self, names: Sequence[str], *, panel: str, spreads: bool, **settings: Any) -> None:
        super().__init__(list(names), **settings)
        self.panel, self.spreads = panel, spreads


class CommandArgument(click.Argument):
    """An argument of click's that has a help."""

    def __init__(self, name: str, help_text: str, **settings: Any) -> None:
        super().__init__([name], **settings)
        self.help = help_text

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        """Return the name and the help."""
        return self.make_metavar(ctx), self.help or ""


class Command(click.Command):
    """A command of click's whose help has panels, and whose words are checked before they count."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words of a command line.

        Raises
        ------
        click.UsageError
            If a word is too many, or the value of an option is missing.
        """
        ctx.allow_extra_args = True
        super().parse_args(ctx, list(self._words(ctx, args)))
        if ctx.args and not ctx.resilient_parsing:
            words = ", ".join(map(short, ctx.args))
            raise click.UsageError(f"unexpected: {words}", ctx)
        return ctx.args

    def _words(self, ctx: click.Context, args: Sequence[str]) -> Iterator[str]:
        """Yield the words, with the option's name before each of the values that follow it."""
        options = [p for p in self.params if isinstance(p, CommandOption) and not p.is_flag]
        by_name = {name: option for option in options for name in option.opts}
        at = 0
        while at < len(args):
            word, at = args[at], at + 1
            option = by_name.get(word)
            if word == "--":
                yield from args[at - 1 :]
                return
            yield word
            if option is None:
                continue
            if (at == len(args) or _is_option(args[at])) and not ctx.resilient_parsing:
                raise click.BadParameter("needs a value", ctx, option)
            if at < len(args):
                yield args[at]
            at += 1
            while option.spreads and at < len(args) and not _is_option(args[at]):
                yield from (word, args[at])
                at += 1

    def format_arguments(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write nothing: the arguments are the first panel of :meth:`format_options`."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write arguments and options, panel by panel."""
        panels: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        last: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            name = getattr(parameter, "panel", _LAST_PANEL) or "Options"
            if isinstance(parameter, CommandArgument):
                name = "Arguments"
            rows = last if name == _LAST_PANEL else panels.setdefault(name, [])
            rows.append(record)
        for title, rows in (*panels.items(), (_LAST_PANEL, last)):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def make_command(
    name: str,
    function: Callable[..., Any],
    callback: Callable[..., Any],
    *,
    about: str,
    epilog: str = "",
) -> Command:
    """Make click's command for a function.

    Parameters
    ----------
    name
        Of the command.
    function
        Its annotated parameters are the options.
    callback
        Is called with the value of each option by the option's name.
    about, epilog
        What it does, for its help, and what the help ends with.
    """
    return Command(
        name,
        callback=callback,
        params=list(parameters_of(function)),
        help=about,
        epilog=epilog,
        context_settings={"max_content_width": WIDTH, "show_default": True},
    )


def parameters_of(function: Callable[..., Any], *, panel: str = "") -> Iterator[click.Parameter]:
    """Yield click's parameters for a function or a group of options.

    Parameters
    ----------
    function
        The function or the group.
    panel
        The section of the help, for options that have no other.
    """
    for name, annotation, default in _declared(function):
        if _is_group(annotation):
            yield from parameters_of(annotation, panel=annotation.panel or panel)
        else:
            yield _parameter(name, _take_apart(annotation), default, panel)


def bind(function: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a function: the values, and an object for each group of options."""
    return {
        name: annotation(**bind(annotation, values)) if _is_group(annotation) else values[name]
        for name, annotation, _ in _declared(function)
    }


def flat(group: OptionGroup) -> dict[str, Any]:
    """Return the values of a group of options, and of the groups in it, by their names."""
    found: dict[str, Any] = {}
    for name, annotation, _ in _declared(type(group)):
        value = getattr(group, name)
        found |= flat(value) if _is_group(annotation) else {name: value}
    return found


def _declared(owner: Callable[..., Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, annotation and default of each option; the default is ``...`` for none."""
    if _is_group(owner):  # options of the group that it extends come first
        groups = [kind for kind in reversed(owner.__mro__) if _is_group(kind)][1:]
        annotations = {n: a for kind in groups for n, a in kind.__annotations__.items()}
        defaults = {name: getattr(owner, name, ...) for name in annotations}
    else:
        annotations, defaults = owner.__annotations__, owner.__kwdefaults__ or {}
    for name, annotation in annotations.items():
        if name != "return":
            yield name, annotation, defaults.get(name, ...)


def _is_group(annotation: Any) -> TypeGuard[type[OptionGroup]]:
    return isinstance(annotation, type) and issubclass(annotation, OptionGroup)


def _take_apart(annotation: Any) -> _Type:
    """Find an option's type and what stands beside it, also inside ``| None`` and ``tuple``."""
    origin = get_origin(annotation)
    if origin is Annotated:
        kind, *beside = get_args(annotation)
        found = _take_apart(kind)
        for each in beside:
            if isinstance(each, str):
                found = found._replace(help=each)
            else:
                found = found._replace(option=_over(each, found.option))
        return found
    if origin in (Union, types.UnionType):
        return _take_apart(next(k for k in get_args(annotation) if k is not types.NoneType))
    if origin is tuple:
        return _take_apart(get_args(annotation)[0])._replace(is_many=True)
    return _Type(annotation, False, Option(), "")


def _over(option: Option, before: Option) -> Option:
    """Return an option with what only the one declared before it says."""
    return before._replace(**{name: said for name, said in option._asdict().items() if said})


def _parameter(name: str, found: _Type, default: Any, panel: str) -> click.Parameter:
    option, is_required = found.option, default is ...
    settings: dict[str, Any] = {"required": is_required}
    if not is_required:
        settings["default"] = default
    if found.kind is not bool:
        settings |= {"type": (value := Value(found.kind, option)), "metavar": value.name}
    if option.is_argument:
        settings["nargs"] = -1 if found.is_many else 1
        settings["metavar"] += "..." if found.is_many else ""
        if not is_required:
            settings["metavar"] = f"[{settings['metavar']}]"
        return CommandArgument(name, found.help, **settings)
    names = option.names or (f"--{name.replace('_', '-')}",)
    if found.kind is bool:
        settings["is_flag"] = True
        if default is not False:
            names = tuple(f"{each}/--no-{each[2:]}" for each in names)
        elif default is False:
            settings["show_default"] = False
    elif found.is_many:
        settings["multiple"] = True
    if default in (None, ()):
        settings["show_default"] = option.default_in_words or False
    return CommandOption(
        (name, *names),
        panel=option.panel or panel,
        spreads=option.spreads,
        help=found.help,
        **settings,
    )


def _is_option(word: str) -> bool:
    """Tell whether a word is the name of an option, not a value: ``-1`` and ``-`` are values."""
    return word.startswith("-") and len(word) > 1 and not word[1].isdigit()
