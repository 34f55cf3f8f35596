"""``leukonca train``: a model from one center's images, tested on the fold that it never saw."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from leukonca.automaton.names import EngineName
from leukonca.cli.common import (
    Common,
    CommonOptions,
    Device,
    command_line,
    join_repeated,
    parse,
    say,
    split_named_folder,
)
from leukonca.errors import UsageError
from leukonca.files import check_folder

if TYPE_CHECKING:
    from leukonca.training.pretrained import Pretrained

DONE, SOME_SKIPPED = 0, 4
Preset = Literal["paper", "compact", "tiny", "resnext", "resnext-small"]
DEFAULT_PRESET: Preset = "compact"
STARTS = ("--preset", "--recipe", "--pretrained")
"""Options that decide the defaults of the others."""


def run(arguments: Sequence[str]) -> int:
    """Exit code of ``leukonca train`` with these arguments."""
    from leukonca.cli.loading import DataOptions, Patients
    from leukonca.training.other_recipes import read_others
    from leukonca.training.recipe import Recipe, recipe_for
    from leukonca.training.recipe_files import Plan, find_recipe, read_plan

    if sum(word == "--data" or word.startswith("--data=") for word in arguments) > 1:
        raise UsageError("train: --data is given twice; a model is trained on one center")

    arguments = join_repeated(arguments, "--teacher")

    # Preset, recipe file or model decide the defaults of all other options, so they are read before them.
    for name, what in (
        ("--recipe", "a TOML file or a shipped model's name"),
        ("--pretrained", "a model's name or folder"),
    ):
        if _given(arguments, name) and not _option(arguments, name):
            raise UsageError(f"train: {name} is empty; give {what}")
    starts = {name: value for name in STARTS if (value := _option(arguments, name))}
    if len(starts) > 1:
        raise UsageError(f"train: {' and '.join(starts)} both say where to start from; give one")
    how, named = next(iter(starts.items()), ("--preset", DEFAULT_PRESET))
    begun = _begun(named) if how == "--pretrained" else None
    if begun is not None:
        plan = Plan(begun.recipe)
    else:
        plan = read_plan(find_recipe(named)) if how == "--recipe" else Plan(recipe_for(named))
    title = f"{how.removeprefix('--')} {named}"

    def verb(
        data: Annotated[str, tyro.conf.arg(metavar="NAME=DIR")],
        common: CommonOptions = Common(seed=plan.seed),  # noqa: B008  (frozen)
        options: Annotated[DataOptions, tyro.conf.arg(name="")] = DataOptions(),  # noqa: B008  (frozen)
        recipe: Annotated[Recipe, tyro.conf.arg(name="")] = plan.recipe,
        preset: Preset = DEFAULT_PRESET,
        recipe_file: Annotated[Path | None, tyro.conf.arg(name="recipe", metavar="FILE.toml|MODEL")] = None,
        pretrained: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None,
        teacher: Annotated[tuple[str, ...], tyro.conf.arg(metavar="MODEL...")] = (),
        patients: Patients = None,
        fold: int = plan.fold,
        folds: int = plan.folds,
        out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
        resume: bool = False,
        engine: EngineName = "auto",
        device: Device = "cpu",
    ) -> int:
        """Train on one center, test on the fold that was never looked at; writes a model folder with a report.

        Args:
            data: The center and its folder; `leukonca data list` names the centers.
            common: Options of every verb.
            options: How the images are read.
            recipe: Settings of the training; the preset gives their defaults.
            preset: Architecture and recipe to start from; every other option replaces one setting of it.
            recipe_file: A recipe to start from instead, seed and fold included: a TOML file, or a shipped model's.
            pretrained: A model to begin as in place of random weights (fine-tuning): a shipped one's name or a folder.
                Its recipe, with fewer and smaller steps, is then the start of all settings.
            teacher: Models of the same images, fold and seed whose probabilities it learns from, beside the labels
                (distillation; --teacher-share, then 0.6 by default).
            patients: Whose cell each image is, so that no patient is both trained on and tested: "folders" within
                those of the classes (monocyte/patient 7/3.png), or a CSV file with the columns path and patient.
            fold: The part of the images that is kept for the test, counted from 0.
            folds: How many parts.
            out: Folder of the run, which becomes the model folder; by default runs/NAME-PRESET-foldK.
            resume: Go on where an interrupted run stopped.
            engine: Of the automaton; auto takes the fastest that fits.
            device: Where torch trains.
        """
        from leukonca.cli.loading import check_map, open_center, scale_of
        from leukonca.data.official import has_official_split, split_for
        from leukonca.data.splits import told_patients
        from leukonca.models.config import scale_for
        from leukonca.report.chain import BEGINNING, TEACHERS, train_chain
        from leukonca.report.evaluation import center_results
        from leukonca.report.run import write_run_report  # noqa: F401  (a missing library shows before the training)
        from leukonca.report.summary import summary_table
        from leukonca.training.distributed import is_first
        from leukonca.training.pretrained import read_pretrained
        from leukonca.training.teacher import check_share, with_share

        common = replace(common, quiet=common.quiet or not is_first())
        center, directory = split_named_folder(data)
        check_map(options.map_file, [center])
        official = has_official_split(center)
        fold_name = "" if official else f"-fold{fold}"
        if official and not _given(arguments, "--fold"):
            fold = 0  # a recipe's is of folds that this center has not
        if _given(arguments, "--teacher") and not (teacher and all(teacher)):
            raise UsageError("train: --teacher is empty; give the names or folders of models")
        teachers = [read_pretrained(model) for model in teacher]
        changed = replace(plan, recipe=recipe)
        others = read_others(find_recipe(named), changed, teachers=not teachers)
        taught = bool(teachers) or others.teach
        settings = with_share(recipe, taught=taught)
        check_share(settings, taught=taught)
        start = f"from-{begun.name}" if begun else recipe_file.stem if recipe_file else preset
        start += "-taught" if teachers else ""
        begins = "" if start.startswith(center) else f"{center}-"
        folder = out or Path("runs") / f"{begins}{start}{fold_name}"
        check_folder(folder)
        if folder.resolve().is_relative_to(directory.resolve()):
            raise UsageError(f"{folder}: lies in the folder of the images; choose another --out")
        if options.image_um is not None and recipe.field_um is None:
            say(f"{title} uses whole images, so --image-um has no effect; --field-um cuts", quiet=common.quiet)
        assumed_um = scale_for(begun.model.config, None) if begun else None
        shown_um = scale_of(data, options, assumed_um)
        if recipe.field_um is not None and shown_um is None:
            if begun is None or recipe.nucleus_um is None:
                settings = settings.on_whole_images()
                others = others.on_whole_images()
            cut = "whole images are used" if settings.field_um is None else "images are cut by their nucleus"
            say(f"{center}: no scale is known, so {cut}; --image-um tells it", quiet=common.quiet)
        elif begun and shown_um is not None and scale_of(data, options) is None:
            what = f"its images are taken to show {shown_um:g} um, as those of {begun.name}"
            say(f"{center}: {what}; --image-um tells it", quiet=common.quiet)
        if settings.field_um is not None and shown_um is not None and settings.field_um > shown_um:
            rest = "reflection" if settings.beyond == "reflection" else "flat background"
            say(
                f"{center}: its images show {shown_um:g} um, and {settings.field_um:g} um are looked at: the rest is "
                f"their {rest}; --field-um {shown_um:g} takes them as they are",
                quiet=common.quiet,
            )
        opened_for = partial(open_center, data, options=options, assumed_um=assumed_um, patients=patients)
        opened = opened_for(settings.preprocessing, quiet=common.quiet)
        cells = opened.cells
        split = split_for(cells, fold=fold, folds=folds, seed=common.seed)
        of_patients = f"; patients: {told_patients(split, cells)}" if cells.patients else ""
        say(
            f"{center}: {len(split.train)} images to train on, {len(split.validation)} to watch, "
            f"{len(split.test)} for the test{of_patients}\nrun: {folder}",
            quiet=common.quiet,
        )
        if others.beginning is not None:
            say(f"begins as: {folder / BEGINNING / others.beginning.name}", quiet=common.quiet)
        for name in others.teachers:
            say(f"teacher: {folder / TEACHERS / name}", quiet=common.quiet)
        evaluation = train_chain(
            cells,
            split,
            settings,
            folder,
            others=others,
            open_for=lambda views: opened_for(views, quiet=True, tell=False).cells,
            pretrained=begun,
            teachers=teachers,
            command=command_line(),
            name=opened.name,
            synthetic=opened.synthetic,
            seed=common.seed,
            engine=engine,
            device=device,
            resume=resume,
            quiet=common.quiet,
        )
        say(summary_table(center_results([evaluation]), synthetic=opened.synthetic), quiet=common.quiet)
        say(f"\nmodel:  {folder}\nreport: {folder / 'report.html'}", quiet=common.quiet)
        return SOME_SKIPPED if opened.left_out else DONE

    return parse("train", verb, arguments)


def _begun(model: str) -> "Pretrained":
    from leukonca.training.pretrained import read_pretrained

    return read_pretrained(model)


def _given(arguments: Sequence[str], option: str) -> bool:
    return any(word.partition("=")[0] == option for word in arguments)


def _option(arguments: Sequence[str], option: str) -> str:
    """The value of an option, read ahead of all others; the last one counts, and none is empty."""
    value = ""
    for index, word in enumerate(arguments):
        if word == option and index + 1 < len(arguments):
            value = arguments[index + 1]
        elif word.startswith(option + "="):
            value = word.partition("=")[2]
    return value
