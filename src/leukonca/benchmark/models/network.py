"""Runner of models that are trained by `leukonca.training.loop`, whatever their kind."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from leukonca.benchmark.models.runner import Run, Runner
from leukonca.data.augmentation import Augmentation
from leukonca.data.cells import Cells
from leukonca.data.preprocessing import Preprocessing
from leukonca.data.splits import Split
from leukonca.errors import UsageError
from leukonca.models.registry import architecture_from_json
from leukonca.training.recipe import Recipe, recipe_for, to_json


def _plain(recipe: Recipe) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(to_json(recipe)))  # tuples become lists, as in a file
    return plain


def recipe_of(settings: Mapping[str, Any]) -> Recipe:
    """The recipe that was written as plain JSON types.

    Raises:
        UsageError: settings that no recipe has, or values that cannot be meant.
    """
    values = dict(settings)
    try:
        architecture = architecture_from_json(values.pop("kind"), values.pop("architecture"))
        augmentation = Augmentation(**values.pop("augmentation"))
        return Recipe(architecture=architecture, augmentation=augmentation, **values)
    except (TypeError, KeyError) as error:
        raise UsageError(f"these are no settings of a training: {error}") from error


class Network(Runner):
    """One recipe a size; a subclass names them."""

    recipes: Mapping[str, str]
    """Size -> name of the recipe."""

    def settings(self, size: str) -> dict[str, Any]:
        """The recipe, as JSON."""
        return _plain(recipe_for(self.recipes[size]))

    def checked(self, settings: Mapping[str, Any], *, scale_known: bool) -> dict[str, Any]:
        """The recipe again, whole images where nothing says what they show."""
        recipe = recipe_of(settings)
        return _plain(recipe if scale_known else replace(recipe, field_um=None))

    def preprocessing(self, settings: Mapping[str, Any]) -> Preprocessing:
        """That of the recipe."""
        return recipe_of(settings).preprocessing

    def train(
        self,
        settings: Mapping[str, Any],
        cells: Cells,
        split: Split,
        folder: Path,
        *,
        others: Sequence[Cells] = (),
        synthetic: bool,
        run: Run,
    ) -> None:
        """See `Runner.train`; other centers are not used."""
        from leukonca.training.loop import train

        train(
            cells,
            split,
            recipe_of(settings),
            folder,
            seed=run.seed,
            engine=self.engine(run),
            device=run.device,
            resume=True,
            synthetic=synthetic,
            quiet=run.quiet,
        )
