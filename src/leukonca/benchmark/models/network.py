"""Runner of models that are trained by `leukonca.training.loop`, whatever their kind."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leukonca.benchmark.models.runner import Material, Run, Runner
from leukonca.data.preprocessing import Preprocessing
from leukonca.errors import UsageError
from leukonca.training.recipe import Recipe, recipe_for, to_json
from leukonca.training.recipe_files import from_json

if TYPE_CHECKING:
    from leukonca.models.classifier import Classifier


def _plain(recipe: Recipe) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(to_json(recipe)))  # tuples become lists, as in a file
    return plain


class Network(Runner):
    """One recipe a size; a subclass names them."""

    recipes: Mapping[str, str]
    """Size -> name of the recipe."""

    def settings(self, size: str) -> dict[str, Any]:
        """The recipe, as JSON."""
        return _plain(recipe_for(self.recipes[size]))

    def checked(self, settings: Mapping[str, Any], *, scale_known: bool) -> dict[str, Any]:
        """The recipe again, whole images where nothing says what they show."""
        recipe = from_json(settings)
        if recipe.teacher_share is not None:
            raise UsageError(f"teacher_share is {recipe.teacher_share:g}: a benchmark has no teachers; leave it out")
        return _plain(recipe if scale_known else recipe.on_whole_images())

    def preprocessing(self, settings: Mapping[str, Any]) -> Preprocessing:
        """That of the recipe."""
        return from_json(settings).preprocessing

    def fit(self, settings: Mapping[str, Any], material: Material, folder: Path, run: Run) -> "Classifier":
        """See `Runner.fit`; other centers are not used."""
        from leukonca.training.loop import train

        return train(
            material.cells,
            material.split,
            from_json(settings),
            folder,
            seed=run.seed,
            engine=self.engine(run),
            device=run.device,
            resume=True,
            synthetic=material.synthetic,
            quiet=run.quiet,
        )
