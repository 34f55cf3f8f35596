"""What is known about one prediction, as arrays that can be kept."""

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukonca.errors import DataError
from leukonca.evaluation.uncertainty import entropy
from leukonca.explain.where import QUANTILE, heat_map, region, shares_by_region
from leukonca.files import whole_file

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a model gives one image one class.

    The image has H x W pixels, the grid h x w cells; they are the same unless a cell holds a patch of pixels.

    Args:
        target: the class that is explained.
        predicted: the most probable class.
        classes: names, in the order of the probabilities.
        image: what the automaton saw, uint8 [H, W, 3].
        um_per_pixel: what a pixel of `image` shows, um; None: unknown.
        seed: of the run.
        probabilities: after the last step, [K].
        by_step: probabilities if the run had ended with that step, [steps, K].
        logit: of the target. It is the sum of `channels`, `head_bias` and `head_absorbed`.
        channels: relevance of each channel for the target, in units of the logit, [C].
        head_bias: what the biases of the two classifying layers gave.
        head_absorbed: what epsilon took there.
        state: the last one, [h, w, C].
        winners: row and column of the cell with each channel's largest value, int64 [C, 2].
        top: the channels with the largest relevance, of either sign, the largest first.
        history: the top channels after every step, [steps, len(top), h, w].
        epsilon: of the rule in the automaton, see `pixel_relevance`.
        pixels: relevance of each pixel's three image channels, [H, W, 3]; None: it was not asked for.
        read: relevance taken from the image by the look of each step, [steps]; None as above.
        direct: relevance that pooling took from the image's own channels.
        step_bias: what the biases gave in each step, [steps]; None as above.
        step_absorbed: what epsilon took in each step, [steps]; None as above.
        mask: uint8 [H, W]: 255 nucleus, 128 cytoplasm, 0 the rest; None: unknown.
        flag: of the answer, as in a prediction: "", "uncertain" or "unusual" (see `leukonca.evaluation.flags`).
        unusual: how unlike the training cells it is (see `leukonca.models.unusual`); None: the model cannot tell, or
            the run has not as many steps as in training.
        unusual_above: the score above which a cell is flagged; None: the model has no such threshold.
        prior: name of what was expected of the cells (`leukonca.evaluation.prior`), which the probabilities then
            contain and the logit and all relevance do not; empty: nothing.
        without_prior: the class that would be the most probable one without it; empty: there was none.
    """

    target: str
    predicted: str
    classes: tuple[str, ...]
    image: NDArray[np.uint8]
    um_per_pixel: float | None
    seed: int
    probabilities: Floats
    by_step: Floats
    logit: float
    channels: Floats
    head_bias: float
    head_absorbed: float
    state: Floats
    winners: NDArray[np.int64]
    top: tuple[int, ...]
    history: Floats
    epsilon: float
    pixels: Floats | None = None
    read: Floats | None = None
    direct: float = 0.0
    step_bias: Floats | None = None
    step_absorbed: Floats | None = None
    mask: NDArray[np.uint8] | None = None
    flag: str = ""
    unusual: float | None = None
    unusual_above: float | None = None
    prior: str = ""
    without_prior: str = ""

    @property
    def steps(self) -> int:
        """Of the run."""
        return len(self.by_step)

    @property
    def probability(self) -> float:
        """Of the class that is explained."""
        return float(self.probabilities[self.classes.index(self.target)])

    @property
    def uncertainty(self) -> float:
        """Entropy of the probabilities divided by log K: 0 for one certain class, 1 when all are equally likely."""
        return float(entropy(self.probabilities) / max(math.log(len(self.classes)), 1e-12))

    def order(self) -> NDArray[np.int64]:
        """All channels, the most relevant for the target first, those against it last."""
        return np.argsort(-self.channels, kind="stable").astype(np.int64)

    def heat(self, quantile: float = QUANTILE) -> Floats:
        """Where the channels look, weighted by their relevance, float32 [H, W]; see `heat_map`.

        A cell's relevance is shared by its pixels.
        """
        heat = self.enlarged(heat_map(self.state, self.channels, quantile))
        return (heat / self.patch**2).astype(np.float32)

    def region(self, channel: int, quantile: float = QUANTILE) -> NDArray[np.bool_]:
        """Pixels of the cells that a channel looks at, [H, W]; see `leukonca.explain.where.region`."""
        return self.enlarged(region(self.state[:, :, channel], quantile))

    def enlarged(self, values: NDArray[Any]) -> NDArray[Any]:
        """Every cell's value given to all of its pixels: [h, w] -> [H, W]."""
        return values.repeat(self.patch, axis=0).repeat(self.patch, axis=1)

    @property
    def patch(self) -> int:
        """Side of the square of pixels that a cell holds."""
        return len(self.image) // len(self.state)

    @property
    def winning_pixels(self) -> NDArray[np.float64]:
        """Row and column of the middle of each `winners` cell, in pixels, [C, 2]."""
        return self.patch * (self.winners.astype(np.float64) + 0.5) - 0.5

    def pixel_map(self) -> Floats | None:
        """Relevance of every pixel, its three colors added up, [H, W]; None: it was not asked for."""
        return None if self.pixels is None else self.pixels.sum(axis=2)

    def inside(self) -> dict[str, float] | None:
        """Share of the pixels' relevance (or of the heat map, where there is none) on nucleus, cytoplasm, background.

        None: no mask is known.
        """
        if self.mask is None:
            return None
        return shares_by_region(self.heat() if self.pixels is None else self.pixels, self.mask)

    def save(self, path: Path) -> None:
        """Write everything into one ``.npz`` file, whole or not at all; read it with `load`, or with NumPy.

        Arrays stay arrays; all other fields are in the entry ``facts``, as JSON text.

        Raises:
            UsageError, DataError: see `leukonca.files.whole_file`.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        arrays: dict[str, Any] = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
        facts = json.dumps({name: value for name, value in values.items() if name not in arrays})
        with whole_file(Path(path)) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, facts=np.array(facts), **arrays)

    @classmethod
    def load(cls, path: Path) -> "Explanation":
        """Read what `save` wrote; nothing is unpickled.

        Raises:
            DataError: no such file, or another one.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                values: dict[str, Any] = {name: file[name] for name in file.files}
            values |= json.loads(str(values.pop("facts")))
            values["classes"], values["top"] = tuple(values["classes"]), tuple(values["top"])
            return cls(**values)
        except FileNotFoundError as error:
            raise DataError(f"{path}: no such file") from error
        except Exception as error:  # of damaged archives: BadZipFile, KeyError, EOFError, ValueError, TypeError, ...
            raise DataError(f"{path}: not an explanation that leukonca wrote, or damaged ({error})") from error
