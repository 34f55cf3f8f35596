"""``leukonca train``: an automaton from one center's images, tested on the fold that it never saw."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from leukonca.cli.common import CommonOptions, command_line, parse, say, split_named_folder

DONE, SOME_SKIPPED = 0, 4
Preset = Literal["paper", "compact", "tiny"]
DEFAULT_PRESET: Preset = "compact"


def run(arguments: Sequence[str]) -> int:
    """Exit code of ``leukonca train`` with these arguments."""
    from leukonca.training.recipe import Recipe, recipe_for

    # The preset decides the defaults of all other options, so it is read before them.
    defaults = recipe_for(_option(arguments, "--preset", DEFAULT_PRESET))

    def verb(
        data: Annotated[str, tyro.conf.arg(metavar="NAME=DIR")],
        common: CommonOptions,
        recipe: Annotated[Recipe, tyro.conf.arg(name="")] = defaults,
        preset: Preset = DEFAULT_PRESET,
        fold: int = 0,
        folds: int = 5,
        out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
        resume: bool = False,
        image_um: Annotated[float | None, tyro.conf.arg(metavar="UM")] = None,
        skip_unmatched: bool = False,
        skip_unreadable: bool = False,
        engine: str = "auto",
        device: str = "cpu",
    ) -> int:
        """Train on one center, test on the fold that was never looked at; writes a model folder with a report.

        Args:
            data: The center and its folder; `leukonca data list` names the centers.
            common: Options of every verb.
            recipe: Settings of the training; the preset gives their defaults.
            preset: Architecture and recipe to start from; every option below replaces one setting of it.
            fold: The part of the images that is kept for the test, counted from 0.
            folds: How many parts.
            out: Folder of the run, which becomes the model folder; by default runs/NAME-PRESET-foldK.
            resume: Go on where an interrupted run stopped.
            image_um: What the images' shorter side shows, um, where the center does not say.
            skip_unmatched: Leave out files that no rule gives a label, instead of stopping.
            skip_unreadable: Leave out files that are no usable image, instead of stopping.
            engine: auto, reference, cpu or torch.
            device: Where torch trains: cpu, cuda ...
        """
        from leukonca.data.cells import load_cells
        from leukonca.data.splits import split_cells
        from leukonca.report.evaluation import center_results
        from leukonca.report.run import write_run_report  # noqa: F401  (a missing library shows before the training)
        from leukonca.report.summary import summary_table
        from leukonca.report.training import train_and_test

        center, directory = split_named_folder(data)
        folder = out or Path("runs") / f"{center}-{preset}-fold{fold}"
        cells = load_cells(
            center,
            directory,
            recipe.preprocessing,
            image_um=image_um,
            unmatched="skip" if skip_unmatched else "error",
            unreadable="skip" if skip_unreadable else "error",
            quiet=common.quiet,
        )
        split = split_cells(cells, fold=fold, folds=folds, seed=common.seed)
        say(
            f"{center}: {len(split.train)} images to train on, {len(split.validation)} to watch, "
            f"{len(split.test)} for the test\nrun: {folder}",
            quiet=common.quiet,
        )
        evaluation = train_and_test(
            cells,
            split,
            recipe,
            folder,
            command=command_line(),
            name=directory.resolve().name if center == "folder" else center,
            seed=common.seed,
            engine=engine,
            device=device,
            resume=resume,
            quiet=common.quiet,
        )
        say(summary_table(center_results([evaluation])), quiet=common.quiet)
        say(f"\nmodel:  {folder}\nreport: {folder / 'report.html'}", quiet=common.quiet)
        return SOME_SKIPPED if cells.skipped else DONE

    return parse("train", verb, arguments)


def _option(arguments: Sequence[str], option: str, default: str) -> str:
    """The value of an option, read ahead of all others; the last one counts."""
    value = default
    for index, word in enumerate(arguments):
        if word == option and index + 1 < len(arguments):
            value = arguments[index + 1]
        elif word.startswith(option + "="):
            value = word.partition("=")[2]
    return value
