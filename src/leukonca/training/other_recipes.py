"""The recipes of other models that a recipe names: of its teachers, and of the model that it begins as."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from leukonca.errors import UsageError
from leukonca.models.registry import kind_of
from leukonca.training.recipe import Recipe
from leukonca.training.recipe_files import Plan, read_plan


@dataclass(frozen=True)
class Beginning:
    """The recipe of a model that another one begins as.

    Args:
        name: of its file without the ending.
        recipe: of its training.
        teachers: the recipes of the models that teach it, by name.
    """

    name: str
    recipe: Recipe
    teachers: Mapping[str, Recipe]

    def on_whole_images(self) -> "Beginning":
        """The same for images whose scale nobody knows."""
        teachers = {name: each.on_whole_images() for name, each in self.teachers.items()}
        return replace(self, recipe=self.recipe.on_whole_images(), teachers=teachers)


@dataclass(frozen=True)
class OtherRecipes:
    """The recipes of all models that are trained before the one that a recipe makes.

    Args:
        teachers: of models that teach it, by name.
        beginning: of the model that it begins as; None: it begins at random.
        teaches_itself: the model that it begins as is one of its teachers.
    """

    teachers: Mapping[str, Recipe]
    beginning: Beginning | None = None
    teaches_itself: bool = False

    @property
    def teach(self) -> bool:
        """Whether one of the models is a teacher."""
        return self.teaches_itself or bool(self.teachers)

    @property
    def all(self) -> list[Recipe]:
        """All of them, in no order."""
        first = self.beginning
        return [*self.teachers.values(), *([] if first is None else [first.recipe, *first.teachers.values()])]

    def on_whole_images(self) -> "OtherRecipes":
        """The same for images whose scale nobody knows."""
        teachers = {name: each.on_whole_images() for name, each in self.teachers.items()}
        return replace(self, teachers=teachers, beginning=self.beginning and self.beginning.on_whole_images())


def read_others(path: Path, plan: Plan, *, teachers: bool = True) -> OtherRecipes:
    """The recipes that a plan names.

    Args:
        path: of the plan's own file.
        plan: read from there.
        teachers: whether its teachers are wanted; the model that it begins as is in any case.

    Raises:
        UsageError: see `read_teachers` and `read_beginning`.
    """
    own = read_teachers(path, plan) if teachers else {}
    return OtherRecipes(own, read_beginning(path, plan), teachers and plan.teaches_itself)


def read_teachers(path: Path, plan: Plan) -> dict[str, Recipe]:
    """The recipes of the models that teach a plan's training, by the name of their file without its ending.

    The model that it begins as is none of these: see `read_beginning`.

    Args:
        path: of the plan's own file.
        plan: read from there.

    Raises:
        UsageError: as `read_plan`; a recipe that needs teachers itself, or that makes other views than the student's.
    """
    found = {}
    for name in plan.teachers:
        if plan.pretrained is not None and Path(name) == Path(plan.pretrained):
            continue
        teacher = read_plan(path.parent / name)
        if teacher.teachers or teacher.pretrained or teacher.recipe.teacher_share is not None:
            raise UsageError(f"{path.parent / name}: a teacher's own recipe needs other models; take one without")
        _check_views(path.parent / name, "a teacher with other views than its student's", teacher, path, plan)
        found[Path(name).stem] = teacher.recipe
    return found


def read_beginning(path: Path, plan: Plan) -> Beginning | None:
    """The recipe of the model that a plan's training begins as; None: it begins at random.

    Args:
        path: of the plan's own file.
        plan: read from there.

    Raises:
        UsageError: as `read_teachers`; a recipe that begins as a model itself, or makes weights that do not fit.
    """
    if plan.pretrained is None:
        return None
    file = path.parent / plan.pretrained
    first = read_plan(file)
    own, wanted = first.recipe.architecture, plan.recipe.architecture
    if first.pretrained is not None:
        raise UsageError(f"{file}: begins as another model itself; take one that begins at random")
    if kind_of(own) != kind_of(wanted):
        raise UsageError(f"{file}: of kind {kind_of(own)}, and {path.name}, which begins as it, of {kind_of(wanted)}")
    if other := own.unlike(wanted):
        raise UsageError(f"{file}: with {', '.join(other)} as in {path.name}, which begins as it; give both the same")
    _check_views(file, "other views than those of what begins as it", first, path, plan)
    if first.recipe.teacher_share is not None and not first.teachers:
        raise UsageError(
            f"{file}: teacher_share is {first.recipe.teacher_share:g}, and there is no teacher; leave it out"
        )
    return Beginning(file.stem, first.recipe, read_teachers(file, first))


def _check_views(file: Path, what: str, other: Plan, path: Path, plan: Plan) -> None:
    views = plan.recipe.preprocessing
    if other.recipe.preprocessing.in_pixels_of(views) != views:
        raise UsageError(
            f"{file}: {what} ({path.name}); give both the same field_um, stain_normalisation, nucleus_um and beyond, "
            "and, of the same grid, the same margin"
        )
