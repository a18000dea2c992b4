import io

import matplotlib as mpl
import matplotlib.figure
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from lanflow.core.figures import BLUE, ORANGE, draw_training_curve


def history(n_epochs: int, *, val_loss: float = 1.0) -> list[dict[str, float]]:
    return [
        {
            "epoch": float(i),
            "train_loss": 2.0 / i,
            "val_loss": val_loss / i,
            "learning_rate": 0.01 * 0.5 ** (i - 1),
        }
        for i in range(1, n_epochs + 1)
    ]


def draw(epochs: list[dict[str, float]], *, title: str = "ddm lan (jax)") -> np.ndarray:
    """Decode a PNG to an array of shape (height, width, colours)."""
    figure = draw_training_curve(epochs, title=title, loss="Huber")
    image: np.ndarray = imread(io.BytesIO(figure.png()))
    return image[:, :, :3]


def n_pixels_of(image: np.ndarray, colour: str) -> int:
    return int((np.abs(image - np.array(to_rgb(colour))) < 0.02).all(axis=2).sum())


@pytest.mark.parametrize("n_epochs", [1, 2, 31, 400])
def test_both_losses_are_drawn_for_any_number_of_epochs(n_epochs: int) -> None:
    image = draw(history(n_epochs))
    height, width, _ = image.shape
    assert (width, height) == (768, 528)
    assert n_pixels_of(image, BLUE) > 20
    assert n_pixels_of(image, ORANGE) > 20


def test_a_loss_of_zero_and_equal_losses_can_be_drawn() -> None:
    draw(history(3, val_loss=0.0))
    draw([history(1)[0]] * 3)


def test_the_same_history_gives_the_same_bytes() -> None:
    first, second = (draw_training_curve(history(5), title="t", loss="l").png() for _ in range(2))
    assert first == second
    assert first.startswith(b"\x89PNG")
    assert b"matplotlib" not in first


def test_history_title_and_axis_change_the_picture() -> None:
    pictures = {
        draw_training_curve(history(5), title="t", loss="l").png(),
        draw_training_curve(history(6), title="t", loss="l").png(),
        draw_training_curve(history(5), title="u", loss="l").png(),
        draw_training_curve(history(5), title="t", loss="m").png(),
    }
    assert len(pictures) == 4


def test_drawing_leaves_matplotlibs_settings_alone() -> None:
    before = dict(mpl.rcParams)
    draw(history(2))
    assert dict(mpl.rcParams) == before


def test_a_notebook_shows_a_figure_by_itself_without_pyplot() -> None:
    figure = draw_training_curve(history(3), title="t", loss="l")
    assert isinstance(figure, mpl.figure.Figure)
    assert figure._repr_png_().startswith(b"\x89PNG")
