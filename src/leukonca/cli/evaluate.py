"""``leukonca evaluate``: a model on the images of one or more centers."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from leukonca.cli.common import CommonOptions, command_line, parse, say, split_named_folder

DONE, SOME_SKIPPED = 0, 4


def run(arguments: Sequence[str]) -> int:
    """Exit code of ``leukonca evaluate`` with these arguments."""
    return parse("evaluate", _evaluate, arguments)


def _evaluate(
    model: Annotated[Positional[str], tyro.conf.arg(metavar="MODEL")],
    /,
    data: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=DIR...")],
    common: CommonOptions,
    fold: int | None = None,
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    normalisation: Literal["training", "target"] = "training",
    image_um: Annotated[float | None, tyro.conf.arg(metavar="UM")] = None,
    skip_unmatched: bool = False,
    skip_unreadable: bool = False,
    engine: str = "auto",
) -> int:
    """Test a model on images that it never saw; writes metrics.json, predictions.csv and report.html.

    On its training center these are the images of its test fold; on any other center, all images.

    Args:
        model: A model folder, or the name of a shipped model.
        data: Centers and their folders; several are tested one after the other.
        common: Options of every verb.
        fold: Test on this fold only, counted from 0.
        out: Folder for the results; by default "evaluation" inside the model folder.
        normalisation: Whose color statistics the images are normalised with. "target", the tested images' own, is
            the published protocol; it uses the unseen center.
        image_um: What the images' shorter side shows, um, where the center does not say.
        skip_unmatched: Leave out files that no rule gives a label, instead of stopping.
        skip_unreadable: Leave out files that are no usable image, instead of stopping.
        engine: auto, reference, cpu or torch.
    """
    from leukonca.data.cells import load_cells
    from leukonca.evaluation.holdout import held_out
    from leukonca.evaluation.run import evaluate_cells
    from leukonca.models.folder import find_model, load
    from leukonca.report.evaluation import center_results, read_history, write_evaluation
    from leukonca.report.summary import summary_table

    named = [split_named_folder(text) for text in data]
    folder = find_model(model)
    classifier = load(folder, engine=engine)
    names = _distinct(named)
    evaluations, skipped = [], 0
    for name, (center, directory) in zip(names, named, strict=True):
        cells = load_cells(
            center,
            directory,
            classifier.config.preprocessing,
            image_um=image_um or (classifier.config.image_um if center == "folder" else None),
            unmatched="skip" if skip_unmatched else "error",
            unreadable="skip" if skip_unreadable else "error",
            quiet=common.quiet,
        )
        skipped += len(cells.skipped)
        indices, note = held_out(cells, classifier.config, folder, fold)
        evaluations.append(
            evaluate_cells(
                classifier,
                cells,
                indices,
                name=name,
                note=note,
                normalisation=normalisation,
                seed=common.seed,
                quiet=common.quiet,
            )
        )
    target = out or folder / "evaluation"
    write_evaluation(
        target,
        classifier,
        evaluations,
        title=f"{folder.name} on {', '.join(names)}",
        command=command_line(),
        history=read_history(folder),
        synthetic=bool(classifier.config.data.get("synthetic")),
    )
    say(summary_table(center_results(evaluations)), quiet=common.quiet)
    say(f"\nreport: {target / 'report.html'}", quiet=common.quiet)
    return SOME_SKIPPED if skipped else DONE


def _distinct(named: Sequence[tuple[str, Path]]) -> list[str]:
    """Names to show: the center's, with the folder's where the center says little or stands twice."""
    count = Counter(center for center, _ in named)
    shown = [
        f"{directory.resolve().name}"
        if center == "folder"
        else center
        if count[center] == 1
        else f"{center} {directory}"
        for center, directory in named
    ]
    return [name if shown.count(name) == 1 else f"{name} ({named[i][1]})" for i, name in enumerate(shown)]
