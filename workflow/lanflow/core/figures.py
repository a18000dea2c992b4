"""Matplotlib figures, drawn without a screen, and their PNG files: the style and common parts."""

import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

# The palette of Okabe & Ito (2008), which colour-blind readers can tell apart.
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#666666"
# Number of characters that fit over a panel.
_TITLE_LENGTH = 46
# Characters an inch of a figure's title, and of the smaller notes under it; inches a line.
_TITLE_DENSITY, _NOTE_DENSITY = 9.0, 14.0
_TITLE_HEIGHT, _NOTE_HEIGHT = 0.24, 0.19
# Inches of a legend's entry: its symbol and the space around it, and a character.
_KEY_WIDTH, _KEY_CHARACTER = 0.75, 0.085
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


class Drawing(Figure):
    """A matplotlib figure in lanflow's style.

    A notebook shows it by itself, and ``savefig`` writes it in any format. It has nothing to do
    with pyplot, which therefore does not keep it.
    """

    def png(self) -> bytes:
        """Return the figure as a PNG; the same numbers always give the same bytes."""
        buffer = io.BytesIO()
        canvas: Any = FigureCanvasAgg(self)
        with mpl.rc_context(_STYLE):
            # Not savefig, which draws twice, the first time for the layout alone.
            canvas.print_png(buffer, metadata={"Software": None})
        return buffer.getvalue()

    def _repr_png_(self) -> bytes:
        return self.png()


def draw(size: tuple[float, float], fill: Callable[[Drawing], None]) -> Drawing:
    """Draw a figure in lanflow's style.

    Parameters
    ----------
    size
        Width and height in inches.
    fill
        Draws into the figure.
    """
    with mpl.rc_context(_STYLE):
        figure = Drawing(figsize=size, layout="constrained")
        fill(figure)
        return figure


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
    """Format a parameter vector as the title of a panel, on as many lines as it needs."""
    parts = (
        f"{name}\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{number(x, 2)}" for name, x in theta.items()
    )
    return wrap_title(", ".join(parts))


def wrap_title(text: str) -> str:
    """Break the title of a panel into lines that fit over it; each line of the text by itself."""
    return "\n".join(textwrap.fill(line, _TITLE_LENGTH) for line in text.splitlines())


def axis_label(name: str) -> str:
    """Return a parameter's label for an axis, with its unit if it has one."""
    return f"{name} (s)" if name in ("t", "st", "deadline") else name


def light_colours() -> LinearSegmentedColormap:
    """Return colours from white to a blue on which black and orange lines are seen."""
    colours = mpl.colormaps["Blues"](np.linspace(0, 0.6, 256))
    return LinearSegmentedColormap.from_list("light", colours)


def area_key(colour: str, label: str, *, alpha: float) -> Patch:
    """Make a legend's entry for a filled area."""
    return Patch(facecolor=colour, alpha=alpha, label=label, lw=0)


def line_key(colour: str, label: str, **style: Any) -> Line2D:
    """Make a legend's entry for a line or a marker."""
    return Line2D([], [], color=colour, label=label, **style)


def put_title(figure: Figure, title: str, *notes: str, colour: str = "black") -> None:
    """Put a title at the top left of a figure and smaller notes under it; long ones are wrapped."""
    width, height = figure.get_size_inches()
    titles = textwrap.wrap(title, int(width * _TITLE_DENSITY))
    lines = [line for note in notes for line in textwrap.wrap(note, int(width * _NOTE_DENSITY))]
    # A blank title reserves the space of all lines; the texts differ in weight and are put there.
    blank = "\n".join(" " * (len(titles) + len(lines)))
    figure.suptitle(blank, x=0.01, ha="left", fontsize=11.5)
    top = 0.06
    for line in titles:
        figure.text(
            0.01, 1 - top / height, line, va="top", fontsize=12, fontweight="bold", color=colour
        )
        top += _TITLE_HEIGHT
    for line in lines:
        figure.text(0.01, 1 - top / height, line, va="top", fontsize=9.5)
        top += _NOTE_HEIGHT


def put_legend(figure: Figure, keys: Sequence[Any]) -> None:
    """Put one legend for all panels under them, on as many lines as it needs."""
    longest = max(len(str(key.get_label())) for key in keys)
    fitting = int(figure.get_size_inches()[0] / (_KEY_WIDTH + _KEY_CHARACTER * longest))
    all_in_one = sum(_KEY_WIDTH + _KEY_CHARACTER * len(str(key.get_label())) for key in keys)
    n_columns = len(keys) if all_in_one <= figure.get_size_inches()[0] else max(fitting, 1)
    figure.legend(handles=list(keys), loc="outside lower center", ncols=n_columns, frameon=False)


def plain_ticks(value: float, _position: float | None) -> str:
    """Label the ticks 1, 2 and 5 of each decade of a logarithmic axis as plain numbers."""
    return f"{value:g}" if f"{value:e}"[0] in "125" else ""


def draw_training_curve(
    history: Sequence[Mapping[str, float]], *, title: str, loss: str
) -> Drawing:
    """Draw training and validation loss over epochs, and the learning rate below.

    Parameters
    ----------
    history
        Epochs, with keys epoch (counted from 0), train_loss, val_loss and learning_rate.
    title
        Name of what was trained.
    loss
        Name and unit of the loss, for the axis.
    """

    def fill(figure: Drawing) -> None:
        losses, rates = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        _draw_losses(losses, history)
        losses.set_ylabel(loss)
        losses.set_title(title, loc="left", fontweight="bold")
        losses.legend(frameon=False)
        _draw_learning_rate(rates, history)

    return draw((6.4, 4.4), fill)


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
    axes.yaxis.set_major_formatter(plain_ticks)
    axes.yaxis.set_minor_formatter(plain_ticks)


def _draw_learning_rate(axes: Axes, history: Sequence[Mapping[str, float]]) -> None:
    epochs = [entry["epoch"] for entry in history]
    axes.step(epochs, [entry["learning_rate"] for entry in history], where="mid", color=GREY)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(plain_ticks)
    axes.yaxis.set_minor_formatter("")
    axes.set_ylabel("learning rate")
    axes.set_xlabel("epoch")
    axes.locator_params(axis="x", integer=True)
