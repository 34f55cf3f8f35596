"""``leukonca train``: an automaton from one center's images, tested on the fold it never saw."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from leukonca.cli.common import Common, parse, say, split_named_folder


def run(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    from leukonca.data.cells import load_cells
    from leukonca.data.splits import split_cells
    from leukonca.training.loop import train
    from leukonca.training.recipe import Recipe, recipe_for

    name = _option(arguments, "--preset", "compact")

    def verb(
        data: Annotated[str, tyro.conf.arg(metavar="NAME=DIR")],
        recipe: Recipe = recipe_for(name),  # noqa: B008  (built anew in every call)
        common: Common = Common(),  # noqa: B008
        preset: Literal["paper", "compact", "tiny"] = "compact",
        fold: int = 0,
        folds: int = 5,
        out: Path = Path("runs/run"),
        resume: bool = False,
        image_um: float | None = None,
        skip_unmatched: bool = False,
        engine: str = "auto",
        device: str = "cpu",
    ) -> int:
        """Train on four fifths of a center's images and test on the fifth that was never looked at.

        Args:
            data: the center and its folder; centers: see leukonca data list.
            preset: settings to start from; all others below replace single ones.
            fold: the part that is kept for the test, counted from 0.
            folds: how many parts.
            out: folder of the run, which becomes the model folder.
            resume: go on after an interruption.
            image_um: what the shorter side of an image shows, um, where the center does not say.
            skip_unmatched: leave out files that no rule gives a label, instead of stopping.
            engine: auto, reference or cpu.
            device: where torch trains.
        """
        center, folder = split_named_folder(data)
        cells = load_cells(
            center,
            folder,
            recipe.preprocessing,
            image_um=image_um,
            unmatched="skip" if skip_unmatched else "error",
            quiet=common.quiet,
        )
        split = split_cells(cells, fold=fold, folds=folds, seed=common.seed)
        train(
            cells, split, recipe, out, seed=common.seed, engine=engine, device=device, resume=resume, quiet=common.quiet
        )  # fmt: skip
        say(f"model: {out}", quiet=common.quiet)
        return 0

    return parse("train", verb, arguments)


def _option(arguments: Sequence[str], option: str, default: str) -> str:
    """The value of an option, read ahead because it decides the defaults of the others."""
    words = list(arguments)
    for index, word in enumerate(words):
        if word == option and index + 1 < len(words):
            return words[index + 1]
        if word.startswith(option + "="):
            return word.partition("=")[2]
    return default
