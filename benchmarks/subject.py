"""What the questions about explanations are asked of: a model, and cells that it has not learned from."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

import leukonca
from leukonca.data.cells import load_cells
from leukonca.data.centers import CENTERS
from leukonca.data.images import read_image
from leukonca.data.preprocessing import preprocess
from leukonca.data.splits import split_cells, write_split
from leukonca.evaluation.intervals import mean_interval
from leukonca.models.folder import find_model, weights_digest
from leukonca.models.inputs import inputs_of

CENTER = "acevedo20"
UM = CENTERS[CENTER].image_um

EMPTY_OF = 200
"""Images whose mean color stands for nothing where training leaves no such color."""

Row = dict[str, object]


@dataclass(frozen=True)
class Subject:
    """A model and where images are.

    Args:
        model: a run folder, or the name of a shipped model, trained on a fold of Acevedo-20.
        shared: the folder that holds ``acevedo20``, ``jtsc`` and ``jtsc-masks``.
        share: of the cells that every part would take.
    """

    model: str
    shared: Path
    share: float = 1.0

    @cached_property
    def module(self) -> leukonca.NCAClassifier:
        return leukonca.load(self.model)

    @cached_property
    def explainer(self) -> leukonca.Explainer:
        return leukonca.Explainer(self.module)

    @cached_property
    def predictor(self) -> leukonca.Predictor:
        return leukonca.Predictor(self.model)

    @cached_property
    def split(self) -> dict[str, list[str]]:
        """Paths of train, validation and test images, read from the run folder, or made again and checked."""
        kept = find_model(self.model) / "split.json"
        if kept.is_file():
            return json.loads(kept.read_text(encoding="utf-8"))
        config = self.module.config
        cells = load_cells(CENTER, self.shared / CENTER, config.preprocessing, quiet=True)
        facts = config.data
        made = split_cells(cells, fold=facts["fold"], folds=facts["folds"], seed=int(config.recipe["seed"]))
        with TemporaryDirectory() as folder:
            path = Path(folder) / "split.json"
            write_split(path, made, cells)
            text = path.read_bytes()
        if hashlib.sha256(text).hexdigest() != facts["split_sha256"]:
            raise SystemExit(f"{self.model}: has no split.json, and its split cannot be made again from {self.shared}")
        return json.loads(text)

    def explain(self, image: np.ndarray, **settings: object) -> leukonca.Explanation:
        """An image of Acevedo-20, whose scale is known."""
        return self.explainer(image, image_um=UM, **settings)

    @cached_property
    def empty_color(self) -> tuple[float, float, float]:
        """What nothing looks like: the training images' mean color; with stretched stain that of validation images."""
        config = self.module.config
        if config.preprocessing.stain == "plain":
            return config.normalisation()[0]
        squares = [preprocess(image, config.preprocessing, UM) for _, image in self.cells(EMPTY_OF)]
        red, green, blue = (np.mean(squares, axis=(0, 1, 2)) / 255).tolist()
        return red, green, blue

    def cells(self, count: int, part: str = "validation", seed: int = 0) -> list[tuple[str, np.ndarray]]:
        """Path and image of some cells, drawn without looking at their class."""
        paths = self.split[part]
        chosen = np.random.default_rng(seed).choice(len(paths), self.few(count), replace=False)
        return [(paths[i], read_image(self.shared / CENTER / paths[i])) for i in chosen.tolist()]

    def by_class(self, count: int, part: str = "validation", seed: int = 0) -> dict[str, list[str]]:
        """Paths of so many cells of every class, in the order of the classes."""
        center, found = CENTERS[CENTER], {}
        for path in self.split[part]:
            name = center.labels.get(center.own_label(path) or "")
            if name is not None:
                found.setdefault(name, []).append(path)
        rng = np.random.default_rng(seed)
        return {
            name: [str(path) for path in rng.permutation(sorted(found[name]))[:count]]
            for name in leukonca.CLASSES
            if name in found
        }

    def few(self, count: int) -> int:
        """So many of these cells; two at least, since there are intervals."""
        return max(2, round(self.share * count))

    def gradient(self, square: np.ndarray, target: str, seed: int = 0) -> np.ndarray:
        """How much the logit changes with each pixel: sum over the colors of the size of the gradient, [H, W].

        By autograd through the model's own engine: another way back than relevance takes.
        """
        x = torch.from_numpy(inputs_of(square[None], self.module.config)).requires_grad_()
        self.module(x, seed=seed)[0, self.module.config.classes.index(target)].backward()
        self.module.zero_grad(set_to_none=True)
        assert x.grad is not None
        return x.grad[0].abs().sum(0).numpy()

    @property
    def facts(self) -> Row:
        """Which model it was, for the reader of a table."""
        accuracy = self.module.config.metrics.get("accuracy", {})
        return {
            "model": self.model,
            "weights": weights_digest(self.module.weights())[:12],
            "accuracy": accuracy.get("value"),
        }


def spread(values: list[float] | np.ndarray) -> dict[str, float]:
    """Mean and its bootstrap interval over cells."""
    low, high = mean_interval(np.asarray(values, np.float64))
    return {"mean": float(np.mean(values)), "low": low, "high": high}
