"""``leukonca evaluate``: a model on the images of one or more centers."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from leukonca.automaton.names import EngineName
from leukonca.cli.common import (
    CommonOptions,
    Device,
    Model,
    command_line,
    join_repeated,
    parse,
    say,
    split_named_folder,
)
from leukonca.cli.loading import DataOptions, Patients, check_map, open_center
from leukonca.errors import UsageError
from leukonca.files import check_folder

DONE, SOME_SKIPPED = 0, 4


def run(arguments: Sequence[str]) -> int:
    """Exit code of ``leukonca evaluate`` with these arguments."""
    return parse("evaluate", _evaluate, join_repeated(arguments, "--data"))


def _evaluate(
    model: Model,
    /,
    data: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=DIR...")],
    common: CommonOptions,
    fold: int | None = None,
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    normalisation: Literal["training", "target"] = "training",
    runs: int = 1,
    varied: bool = False,
    prior: Annotated[str | None, tyro.conf.arg(metavar="blood|FILE.toml")] = None,
    patients: Patients = None,
    corruptions: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="[KIND...]")] = None,
    corruption_images: Annotated[int, tyro.conf.arg(metavar="N")] = 500,
    options: Annotated[DataOptions, tyro.conf.arg(name="")] = DataOptions(),  # noqa: B008  (frozen)
    engine: EngineName = "auto",
    device: Device = "cpu",
) -> int:
    """Test a model on images that it never saw; writes metrics.json, predictions.csv and report.html.

    On its training center these are the images of its test fold; on any other center, all images.

    Args:
        model: A model folder, or the name of a shipped model.
        data: Centers and their folders; several are tested one after the other.
        common: Options of every verb.
        fold: Test on this fold only, counted from 0.
        out: Folder for the results; by default evaluation/MODEL-on-NAMES.
        normalisation: Whose color statistics the images are normalised with. "target", the tested images' own, is
            the published protocol; it uses the unseen center.
        runs: How often each image is run with other random firing; the probabilities are averaged.
        varied: Let each run see the images in another way: turned, mirrored, larger or smaller.
        prior: How often each class is expected, where that is known: "blood", in the blood of healthy adults, or a
            file with a line such as monocyte = 0.04 for each class; by default as the model was trained, as a rule each
            as often as any other.
        patients: Whose cell each image is, so that intervals are of patients, who differ more than their cells:
            "folders" within those of the classes (monocyte/patient 7/3.png), or a CSV file with the columns path and
            patient, for one center.
        corruptions: Test on corrupted images as well, at five strengths (blur, noise, jpeg ...); without a KIND, all.
            One run each, without a prior.
        corruption_images: How many images of each center are corrupted, drawn by the seed.
        options: How the images are read. A folder of unknown scale is taken to have that of the training images; for
            a model that says what a nucleus measures, each image is cut by its own nucleus.
        engine: Of the automaton; auto takes the fastest that fits.
        device: Where torch computes.
    """
    from leukonca.data.patients import FOLDERS
    from leukonca.evaluation.corruption import find_corruptions
    from leukonca.evaluation.holdout import held_out
    from leukonca.evaluation.prior import find_prior
    from leukonca.evaluation.robustness import robustness
    from leukonca.evaluation.run import evaluate_cells
    from leukonca.evaluation.runs import check_runs
    from leukonca.models.building import load
    from leukonca.models.config import scale_for
    from leukonca.models.folder import find_model
    from leukonca.report.evaluation import center_results, read_history, write_evaluation
    from leukonca.report.summary import summary_table

    if not data:
        raise UsageError("evaluate: --data needs at least one NAME=DIR")
    kinds = None if corruptions is None else [kind.name for kind in find_corruptions(corruptions or None)]
    if corruption_images < 1:
        raise UsageError(f"evaluate: --corruption-images {corruption_images}; give at least 1")
    centers = [split_named_folder(text) for text in data]
    check_map(options.map_file, [center for center, _ in centers])
    if patients not in (None, FOLDERS) and len(centers) > 1:
        raise UsageError(f"evaluate: --patients {patients}: a file is of one center; evaluate each by itself")
    names = _distinct(centers)
    folder = find_model(model)
    target = out or Path("evaluation") / f"{folder.resolve().name}-on-{'-'.join(map(_plain, names))}"
    check_folder(target)
    if (target / "config.json").exists():
        raise UsageError(f"{target}: a model folder, whose own test would be overwritten; choose another --out")
    classifier = load(folder, engine=engine, device=device)
    at_random = classifier.config.architecture.fires_at_random
    check_runs(runs, varied=varied, seed=common.seed, at_random=at_random)
    expected = find_prior(prior, classifier.config)
    tested = []  # every center is opened before the first is tested: a fault of the last costs no work
    for name, text in zip(names, data, strict=True):
        opened = open_center(
            text,
            classifier.config.preprocessing,
            options,
            assumed_um=scale_for(classifier.config, None),
            patients=patients,
            quiet=common.quiet,
        )
        indices, note = held_out(opened.cells, classifier.config, folder, fold)
        tested.append((name, opened, indices, note))
    evaluations = []
    for name, opened, indices, note in tested:
        evaluation = evaluate_cells(
            classifier,
            opened.cells,
            indices,
            name=name,
            note=note,
            normalisation=normalisation,
            runs=runs,
            varied=varied,
            prior=expected,
            seed=common.seed,
            synthetic=opened.synthetic,
            quiet=common.quiet,
        )
        if kinds is not None:
            evaluation.metrics["robustness"] = robustness(
                classifier,
                opened.cells,
                indices,
                kinds=kinds,
                images=corruption_images,
                normalisation=normalisation,
                seed=common.seed,
                quiet=common.quiet,
            ).facts()
        evaluations.append(evaluation)
    write_evaluation(
        target,
        classifier,
        evaluations,
        title=f"{folder.resolve().name} on {', '.join(names)}",
        command=command_line(),
        seed=common.seed,
        history=read_history(folder),
    )
    synthetic = any(each.synthetic for each in evaluations)
    say(summary_table(center_results(evaluations), synthetic=synthetic), quiet=common.quiet)
    say(f"\nreport: {target / 'report.html'}", quiet=common.quiet)
    return SOME_SKIPPED if any(opened.left_out for _, opened, _, _ in tested) else DONE


def _plain(name: str) -> str:
    """A name that can be part of a file's."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)


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
