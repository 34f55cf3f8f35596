"""``leukonca calibrate``: temperatures and thresholds of a model that has none yet, and its test again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from leukonca.automaton.names import EngineName
from leukonca.cli.common import CommonOptions, Device, command_line, parse, say, split_named_folder
from leukonca.cli.loading import DataOptions, Patients, check_map, open_center
from leukonca.errors import UsageError

DONE, SOME_SKIPPED = 0, 4


def run(arguments: Sequence[str]) -> int:
    """Exit code of ``leukonca calibrate`` with these arguments."""
    if sum(word == "--data" or word.startswith("--data=") for word in arguments) > 1:
        raise UsageError("calibrate: --data is given twice; a model is calibrated on the center it was trained on")
    return parse("calibrate", _calibrate, arguments)


def _calibrate(
    model: Annotated[Positional[Path], tyro.conf.arg(metavar="MODEL")],
    /,
    data: Annotated[str, tyro.conf.arg(metavar="NAME=DIR")],
    common: CommonOptions,
    options: Annotated[DataOptions, tyro.conf.arg(name="")] = DataOptions(),  # noqa: B008  (frozen)
    patients: Patients = None,
    engine: EngineName = "auto",
    device: Device = "cpu",
) -> int:
    """Choose a model's temperatures and thresholds on its validation images, test it again, and write both into it.

    `leukonca train` does so at its end; this is for models that were trained before it did.

    Args:
        model: A model folder, which is changed: config, card, metrics, predictions and report. The weights stay.
        data: The center that it was trained on, and the same images.
        common: Options of every verb.
        options: How the images are read; as in the training.
        patients: Whose cell each image is, as in the training: "folders" or a CSV file.
        engine: Of the automaton; auto takes the fastest that fits.
        device: Where torch computes.
    """
    from leukonca.evaluation.calibrate import split_of
    from leukonca.models.building import load_without_score
    from leukonca.report.evaluation import center_results
    from leukonca.report.summary import summary_table
    from leukonca.report.training import calibrate_and_test
    from leukonca.training.guards import alone

    center, _ = split_named_folder(data)
    check_map(options.map_file, [center])
    if not model.expanduser().is_dir():
        raise UsageError(f"{model}: no such folder; a model is calibrated in its own folder")
    folder = model.expanduser()
    classifier = load_without_score(folder, engine=engine, device=device)
    config = classifier.config
    opened = open_center(
        data,
        config.preprocessing,
        options,
        assumed_um=config.image_um,
        patients=patients,
        quiet=common.quiet,
    )
    split = split_of(config, opened.cells)
    with alone(folder):
        evaluation = calibrate_and_test(
            classifier,
            opened.cells,
            split,
            folder,
            command=command_line(),
            name=opened.name,
            seed=common.seed,
            synthetic=opened.synthetic,
            quiet=common.quiet,
        )
    say(summary_table(center_results([evaluation]), synthetic=opened.synthetic), quiet=common.quiet)
    found = classifier.config
    temperatures = f"temperature {found.temperature:.3f}, of varied runs {found.temperature_of(varied=True):.3f}"
    say(f"\n{temperatures}, thresholds {_told(found.thresholds)}\nmodel: {folder}", quiet=common.quiet)
    return SOME_SKIPPED if opened.left_out else DONE


def _told(thresholds: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in thresholds.items()) or "none: too few validation images"
