"""Matplotlib figures as PNG files, drawn without a screen: the style and common parts."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

# The palette of Okabe & Ito (2008), which colour-blind readers can tell apart.
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#666666"
YELLOW = "#F0E442"
# Number of characters that fit over a panel.
_TITLE_LENGTH = 46
# Colours of a model's choices, in order.
CHOICE_COLOURS = (ORANGE, BLUE, GREEN, PURPLE, GREY)
DASHES = (0, (4, 2))

_STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "axes.axisbelow": True,
    "figure.dpi": 120,
}


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def draw_png(size: tuple[float, float], fill: Callable[[Figure], None]) -> bytes:
    """Draw a figure in lanflow's style as a PNG.

    Parameters
    ----------
    size
        Width and height in inches.
    fill
        Draws into the figure.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        fill(figure)
        return _png(figure)


def number(value: float, digits: int = 3) -> str:
    """Format a number for reading, with few digits and a typographic minus."""
    return f"{value:.{digits}g}".replace("-", "\N{MINUS SIGN}")


def choice_name(choice: float) -> str:
    """Format a choice for reading."""
    return f"choice {number(choice)}"


def choice_colour(i: int) -> str:
    """Return the colour of a model's i-th choice."""
    return CHOICE_COLOURS[i % len(CHOICE_COLOURS)]


def format_parameters(theta: Mapping[str, float]) -> str:
    """Format a parameter vector as the title of a panel, on two lines if it is long."""
    parts = [f"{name} = {number(value, 2)}" for name, value in theta.items()]
    if len(", ".join(parts)) <= _TITLE_LENGTH:
        return ", ".join(parts)
    half = -(-len(parts) // 2)
    return ", ".join(parts[:half]) + ",\n" + ", ".join(parts[half:])


def axis_label(name: str) -> str:
    """Return a parameter's label for an axis, with its unit if it has one."""
    return f"{name} (s)" if name in ("t", "st", "deadline") else name


def area_key(colour: str, label: str, *, alpha: float) -> Patch:
    """Make a legend's entry for a filled area."""
    return Patch(facecolor=colour, alpha=alpha, label=label, lw=0)


def line_key(colour: str, label: str, **style: Any) -> Line2D:
    """Make a legend's entry for a line or a marker."""
    return Line2D([], [], color=colour, label=label, **style)


def put_title(figure: Figure, title: str, *notes: str) -> None:
    """Put a title at the top left of a figure, with smaller notes under it."""
    height = figure.get_size_inches()[1]
    # A blank title reserves the space of all lines; the texts differ in weight and are put there.
    figure.suptitle(" " + "\n " * len(notes), x=0.01, ha="left", fontsize=11.5)
    figure.text(0.01, 1 - 0.06 / height, title, va="top", fontsize=12, fontweight="bold")
    for i, note in enumerate(notes):
        figure.text(0.01, 1 - (0.3 + 0.19 * i) / height, note, va="top", fontsize=9.5)


def put_legend(figure: Figure, keys: Sequence[Any], *, dark: bool = False) -> None:
    """Put one legend for all panels under them; light lines need a dark background."""
    style: Any = {"facecolor": "#414487", "labelcolor": "white", "framealpha": 1} if dark else {}
    figure.legend(
        handles=list(keys), loc="outside lower center", ncols=len(keys), frameon=dark, **style
    )


def _plain_ticks(value: float, _position: float | None) -> str:
    """Label the ticks 1, 2 and 5 of each decade of a logarithmic axis as plain numbers."""
    return f"{value:g}" if f"{value:e}"[0] in "125" else ""


def draw_training_curve(history: Sequence[Mapping[str, float]], *, title: str, loss: str) -> bytes:
    """Draw training and validation loss over epochs, and the learning rate below.

    Parameters
    ----------
    history
        Epochs, with keys epoch (counted from 0), train_loss, val_loss and learning_rate.
    title
        Name of what was trained.
    loss
        Name and unit of the loss, for the axis.

    Returns
    -------
    bytes
        A PNG.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        losses, rates = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        _draw_losses(losses, history)
        losses.set_ylabel(loss)
        losses.set_title(title, loc="left", fontweight="bold")
        losses.legend(frameon=False)
        _draw_learning_rate(rates, history)
        return _png(figure)


def _draw_losses(axes: Axes, history: Sequence[Mapping[str, float]]) -> None:
    """Draw training and validation loss, and mark the epoch of the smallest validation loss."""
    epochs = [entry["epoch"] for entry in history]
    marker = "o" if len(history) <= 30 else None
    for key, colour, label in (
        ("train_loss", BLUE, "training"),
        ("val_loss", ORANGE, "validation"),
    ):
        values = [entry[key] for entry in history]
        axes.plot(epochs, values, color=colour, marker=marker, ms=3, label=label)
    best = min(history, key=lambda entry: entry["val_loss"])
    axes.plot(
        best["epoch"],
        best["val_loss"],
        "*",
        color=ORANGE,
        ms=13,
        markeredgecolor="black",
        label=f"best: {best['val_loss']:.4g} in epoch {best['epoch']:.0f}",
    )
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(_plain_ticks)
    axes.yaxis.set_minor_formatter(_plain_ticks)


def _draw_learning_rate(axes: Axes, history: Sequence[Mapping[str, float]]) -> None:
    epochs = [entry["epoch"] for entry in history]
    axes.step(epochs, [entry["learning_rate"] for entry in history], where="mid", color=GREY)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(_plain_ticks)
    axes.yaxis.set_minor_formatter("")
    axes.set_ylabel("learning rate")
    axes.set_xlabel("epoch")
    axes.locator_params(axis="x", integer=True)
