"""The film against the arrays that it shows, read back frame by frame."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from leukonca.explain.animation import FilmKind, animation, still
from leukonca.explain.explainer import Explainer

TILE, GAP, HEAD = 132, 8, 22


def tile(frame: np.ndarray, place: int) -> np.ndarray:
    left = place * (TILE + GAP)
    return frame[HEAD : HEAD + TILE, left : left + TILE]


@pytest.mark.parametrize("kind", ["webp", "gif"])
def test_every_frame_is_a_step(kind: FilmKind, model_folder: Path, cell: np.ndarray) -> None:
    why = Explainer(model_folder)(cell, steps=5, pixels=False)
    film = Image.open(io.BytesIO(animation(why, 2, kind=kind)))
    assert film.format == kind.upper()
    assert film.n_frames == 5
    assert film.info["loop"] == 0
    enlarged = np.arange(TILE) * 24 // TILE
    durations = []
    for step, frame in enumerate(ImageSequence.Iterator(film)):
        pixels = np.asarray(frame.convert("RGB"), int)
        durations.append(frame.info["duration"])
        assert np.abs(tile(pixels, 0) - why.image[enlarged][:, enlarged]).mean() < 6
        for place in range(2):
            history = why.history[:, place]
            grey = 255 * (history[step] - history.min()) / (history.max() - history.min())
            assert np.abs(tile(pixels, 1 + place)[:, :, 0] - grey[enlarged][:, enlarged]).mean() < 6
    assert durations[-1] == 1500 or sum(durations) == 4 * 800 + 1500  # some readers tell when a frame ends
    last = np.asarray(Image.open(io.BytesIO(still(why, 2))), int)
    assert np.abs(last - pixels).mean() < 6
