"""A training with those that come before it: of the model that it begins as, and of its teachers."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from leukonca.data.cells import Cells
from leukonca.data.preprocessing import Preprocessing
from leukonca.data.splits import Split
from leukonca.errors import DataError
from leukonca.evaluation.run import Evaluation
from leukonca.models.presets import Architecture
from leukonca.report.training import train_and_test
from leukonca.training.distributed import join
from leukonca.training.guards import check_free, run_of, start_from
from leukonca.training.other_recipes import OtherRecipes
from leukonca.training.pretrained import Pretrained, read_pretrained
from leukonca.training.recipe import Recipe
from leukonca.training.teacher import with_share

BEGINNING, TEACHERS = "pretrained", "teachers"
"""Folders, within that of a run, of the runs that came before it."""


def train_chain(
    cells: Cells,
    split: Split,
    recipe: Recipe,
    folder: Path,
    *,
    others: OtherRecipes,
    open_for: Callable[[Preprocessing], Cells],
    pretrained: Pretrained | None = None,
    teachers: Sequence[Pretrained] = (),
    engine: str = "auto",
    seed: int = 0,
    device: str = "cpu",
    resume: bool = False,
    **settings: Any,
) -> Evaluation:
    """Train what a recipe needs, then the model that it makes; all of them on the same split.

    Args:
        cells: as the recipe's model sees them.
        split: of these cells.
        recipe: of the model that is wanted.
        folder: of its run; those before it lie within.
        others: recipes of what is trained before.
        open_for: loads the same cells as another preprocessing makes them.
        pretrained: a model that is there already, to begin as.
        teachers: models that are there already; named recipes come on top.
        engine: of automata.
        seed: of every one of these trainings.
        device: where to train.
        resume: go on where an interrupted run stopped, and take finished ones as they are.
        settings: see `leukonca.report.training.train_and_test`; `command` is needed.

    Raises:
        DataError: the files changed since `cells` were loaded; or see `train_and_test`.
        UsageError: the folder holds a run or a model already; a finished run before it has other settings, data or
            models behind it; or see there.
        ModelError: see there.
    """
    check_free(folder, resume=resume)  # before the hours that the others take
    views = {cells.preprocessing: cells}
    for wanted in (*(each.preprocessing for each in others.all), *_views_before(recipe, pretrained)):
        if wanted not in views:
            views[wanted] = _same_files(open_for(wanted), cells)

    def train_one(its_recipe: Recipe, its_folder: Path, **models: Any) -> Evaluation:
        its = views[its_recipe.preprocessing]
        common = {"seed": seed, "device": device, "resume": resume, **settings}
        return train_and_test(its, split, its_recipe, its_folder, **models, **common)

    def train_first(its_recipe: Recipe, its_folder: Path, **models: Any) -> Pretrained:
        if resume and (its_folder / "report.html").is_file():  # the last file that is written
            this = run_of(views[its_recipe.preprocessing], split, its_recipe, seed, **models)
            start_from(its_folder, this, resume=True)
        else:
            own = engine if isinstance(its_recipe.architecture, Architecture) else "auto"
            train_one(its_recipe, its_folder, engine=own, **models)
        join(device).agree(its_folder.name, 1)  # by now rank 0 has written it
        return read_pretrained(its_folder)

    def train_teachers(recipes: Mapping[str, Recipe], its_folder: Path) -> list[Pretrained]:
        return [train_first(each, its_folder / TEACHERS / name) for name, each in recipes.items()]

    first, taught = others.beginning, list(teachers)
    if first is not None:
        place = folder / BEGINNING / first.name
        before = train_teachers(first.teachers, place)
        pretrained = train_first(with_share(first.recipe, taught=bool(before)), place, teachers=before)
        taught += [pretrained] if others.teaches_itself else []
    taught += train_teachers(others.teachers, folder)
    cells_before = None if pretrained is None else views.get(pretrained.model.config.preprocessing)
    return train_one(recipe, folder, engine=engine, pretrained=pretrained, teachers=taught, cells_before=cells_before)


def _views_before(recipe: Recipe, pretrained: Pretrained | None) -> list[Preprocessing]:
    """What a trained model sees of the cells, if that differs from the new one's views in its pixels alone."""
    if pretrained is None:
        return []
    own = pretrained.model.config.preprocessing
    return [own] if own.in_pixels_of(recipe.preprocessing) == recipe.preprocessing else []


def _same_files(again: Cells, cells: Cells) -> Cells:
    if (again.paths, again.digests) != (cells.paths, cells.digests):
        raise DataError(f"{cells.center}: its files changed while they were read; run again once they stay as they are")
    return again
