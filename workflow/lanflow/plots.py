"""Figures, drawn without a screen."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe & Ito's palette: told apart by colour-blind readers too.
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#666666"

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
    """A figure in the house's style as a PNG.

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


def _plain_ticks(value: float, _position: int | None) -> str:
    """Label 1, 2 and 5 of a logarithmic axis as plain numbers."""
    return f"{value:g}" if f"{value:e}"[0] in "125" else ""


def draw_training_curve(history: Sequence[Mapping[str, float]], *, title: str, loss: str) -> bytes:
    """Loss of both sides over epochs, and the learning rate below.

    Parameters
    ----------
    history
        Epochs: epoch, train_loss, val_loss, learning_rate.
    title
        What was trained.
    loss
        Name and unit of the loss, for the axis.

    Returns
    -------
    bytes
        A PNG.
    """
    epochs = [entry["epoch"] + 1 for entry in history]
    best = min(history, key=lambda entry: entry["val_loss"])
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        losses, rates = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        marker = "o" if len(history) <= 30 else None
        losses.plot(
            epochs,
            [e["train_loss"] for e in history],
            color=BLUE,
            marker=marker,
            ms=3,
            label="training",
        )
        losses.plot(
            epochs,
            [e["val_loss"] for e in history],
            color=ORANGE,
            marker=marker,
            ms=3,
            label="validation",
        )
        losses.plot(
            best["epoch"] + 1,
            best["val_loss"],
            "*",
            color=ORANGE,
            ms=13,
            markeredgecolor="black",
            label=f"best: {best['val_loss']:.4g} in epoch {best['epoch'] + 1:.0f}",
        )
        losses.set_yscale("log")
        for axis in (losses.yaxis.set_major_formatter, losses.yaxis.set_minor_formatter):
            axis(_plain_ticks)
        losses.set_ylabel(loss)
        losses.set_title(title, loc="left", fontweight="bold")
        losses.legend(frameon=False)
        rates.step(epochs, [e["learning_rate"] for e in history], where="mid", color=GREY)
        rates.set_yscale("log")
        rates.yaxis.set_major_formatter(_plain_ticks)
        rates.yaxis.set_minor_formatter("")
        rates.set_ylabel("learning rate")
        rates.set_xlabel("epoch")
        rates.xaxis.get_major_locator().set_params(integer=True)
        return _png(figure)
