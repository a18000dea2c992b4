"""The command ``lanflow``. A subcommand's file is loaded when the subcommand is called."""

from importlib import import_module
from typing import NamedTuple

import click

from lanflow import __version__
from lanflow.cli.command import WIDTH, Command
from lanflow.cli.running import declare, explain_unknown, hand_over, run

_ABOUT = "From simulations of a cognitive model to a trained likelihood network."
_EPILOG = (
    "'lanflow COMMAND --help' shows a command's options. jaxtrain and torchtrain are commands of "
    "their own, for scripts that were written for LANfactory's."
)


class Entry(NamedTuple):
    """A subcommand: the file of this folder and the function in it, and what it does."""

    file: str
    function: str
    about: str


# By panel of the help.
PANELS = {
    "Commands": {
        "generate": Entry("data", "generate", "simulate training files, as one MLflow run"),
        "train": Entry("train", "train", "train one network on simulated data, or several"),
        "evaluate": Entry("evaluate", "evaluate", "lead a network through its gates, and score it"),
        "convert": Entry(
            "evaluate", "convert", "make ONNX and a card of a network that LANfactory trained"
        ),
        "plot": Entry("evaluate", "plot", "draw how a network compares with its model"),
        "recover": Entry("evaluate", "recover", "find the parameters of simulated subjects again"),
        "register": Entry("publish", "register", "put networks into MLflow's model registry"),
        "bundle": Entry("publish", "bundle", "pack a network with all that belongs to it"),
        "publish": Entry("publish", "publish", "upload a network to the Hugging Face hub"),
        "sync": Entry(
            "cluster", "sync", "send runs to the MLflow store whose records wait beside the results"
        ),
        "site": Entry(
            "cluster", "site", "write what this cluster has of its own beside the profile, once"
        ),
    },
    "Steps of the workflow": {
        "prepare": Entry("data", "prepare", "create, upgrade and check the MLflow store, once"),
        "check-node": Entry(
            "cluster",
            "check_node_command",
            "check that jobs reach the store from this machine, and see its GPU",
        ),
        "query": Entry("data", "query", "list the runs and files of a data-generation experiment"),
        "manifest": Entry(
            "data", "manifest", "find training files and freeze what a network is trained on"
        ),
        "verify": Entry(
            "data", "verify", "check that a manifest's files are still what was frozen"
        ),
        "materialise": Entry(
            "data", "materialise", "pack a manifest's files into arrays for training"
        ),
        "audit": Entry("data", "audit", "measure what a data set holds, and warn of what it lacks"),
        "check-gates": Entry(
            "evaluate", "check_gates", "end with status 3 if a network did not pass its gates"
        ),
    },
}
COMMANDS = {name: entry for entries in PANELS.values() for name, entry in entries.items()}


class Program(click.Group):
    """``lanflow``: finds a subcommand by its name, and suggests one for a name that is none."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names of the subcommands."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> Command | None:
        """Load a subcommand."""
        return subcommand(cmd_name) if cmd_name in COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand of a command line.

        Raises
        ------
        click.UsageError
            If there is none of that name; the message suggests one.
        """
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(explain_unknown("command", args[0], list(COMMANDS), ctx), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the subcommands, panel by panel."""
        width = max(map(len, COMMANDS))
        for panel, entries in PANELS.items():
            with formatter.section(panel):
                formatter.write_dl([(name.ljust(width), e.about) for name, e in entries.items()])


def subcommand(name: str) -> Command:
    """Make the command of a name."""
    entry = COMMANDS[name]
    function = getattr(import_module(f"lanflow.cli.{entry.file}"), entry.function)
    return declare(name, function, about=f"{entry.about[0].upper()}{entry.about[1:]}.")


def program() -> Program:
    """Make the command ``lanflow``."""
    return Program(
        "lanflow",
        help=_ABOUT,
        epilog=_EPILOG,
        no_args_is_help=True,
        subcommand_metavar="COMMAND ...",
        options_metavar="",
        context_settings={"max_content_width": WIDTH},
        params=[
            click.Option(
                ["--version"],
                is_flag=True,
                expose_value=False,
                is_eager=True,
                callback=_show_version,
                help="show the version",
            )
        ],
    )


def _show_version(ctx: click.Context, _parameter: click.Parameter, is_asked: bool) -> None:
    if is_asked and not ctx.resilient_parsing:
        click.echo(f"lanflow {__version__}")
        ctx.exit()


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    if arguments is None:
        hand_over("lanflow.cli.main:main")
    return run(program(), "lanflow", arguments)
