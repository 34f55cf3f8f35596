"""Which cells a report shows, and their pictures."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leukonca.report.content import CenterResult

_SIZES = ((90, 96), (75, 80), (60, 64), (40, 48))
"""JPEG quality and longest side of a thumbnail, tried in turn until it is small enough."""


@dataclass(frozen=True)
class Cell:
    """One test image as the page shows it: names of classes, the prediction's probability, the picture."""

    index: int
    path: str
    truth: str
    predicted: str
    probability: float
    picture: str  # data URI


@dataclass(frozen=True)
class Cells:
    """Wrong cells, the most confident first, and right ones, one of every class; of how many there are."""

    wrong: tuple[Cell, ...]
    right: tuple[Cell, ...]
    all_wrong: int
    all_right: int


def choose_cells(result: CenterResult, most: int, most_bytes: int, seed: int = 0) -> Cells | None:
    """Pick the cells to show.

    Args:
        result: a center's predictions.
        most: how many wrong, and how many right cells at most.
        most_bytes: of all their pictures together.
        seed: which right cell stands for its class: drawn, not picked, so that the page does not flatter.

    Returns:
        None when the result brings no thumbnails.
    """
    if result.thumbnails is None:
        return None
    predicted, confidence = result.probabilities.argmax(axis=1), result.probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != result.labels)
    right = np.flatnonzero(predicted == result.labels)
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:most]
    shuffled = np.random.default_rng(seed).permutation(right)
    classes, first = np.unique(result.labels[shuffled], return_index=True)
    typical = shuffled[first][: min(most, len(classes))]
    share = most_bytes // max(1, len(surest) + len(typical))
    return Cells(
        wrong=tuple(_cell(result, int(index), share) for index in surest),
        right=tuple(_cell(result, int(index), share) for index in typical),
        all_wrong=len(wrong),
        all_right=len(right),
    )


def _cell(result: CenterResult, index: int, most_bytes: int) -> Cell:
    assert result.thumbnails is not None
    names, row = result.metrics["class_names"], result.probabilities[index]
    return Cell(
        index=index,
        path=str(result.paths[index]),
        truth=names[int(result.labels[index])],
        predicted=names[int(row.argmax())],
        probability=float(row.max()),
        picture=picture(np.asarray(result.thumbnails[index]), most_bytes),
    )


def picture(pixels: NDArray[np.uint8], most_bytes: int) -> str:
    """A JPEG data URI of uint8 [side, side, 3] pixels, coarser if it must be to stay below `most_bytes`.

    No color subsampling: stains are what is judged.
    """
    image = Image.fromarray(pixels)
    for quality, side in _SIZES:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        data = io.BytesIO()
        image.save(data, format="JPEG", quality=quality, subsampling=0)
        if data.tell() <= most_bytes:
            break
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
