"""Runner of models that are trained by `leukonca.training.loop`, whatever their kind."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leukonca.benchmark.models.runner import Run, Runner
from leukonca.data.cells import Cells
from leukonca.data.preprocessing import Preprocessing
from leukonca.data.splits import Split
from leukonca.training.recipe import Recipe, recipe_for, to_json
from leukonca.training.recipe_files import from_json


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
        return _plain(recipe if scale_known else recipe.on_whole_images())

    def preprocessing(self, settings: Mapping[str, Any]) -> Preprocessing:
        """That of the recipe."""
        return from_json(settings).preprocessing

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
        from leukonca.evaluation.calibrate import calibrate
        from leukonca.training.loop import train

        model = train(
            cells,
            split,
            from_json(settings),
            folder,
            seed=run.seed,
            engine=self.engine(run),
            device=run.device,
            resume=True,
            synthetic=synthetic,
            quiet=run.quiet,
        )
        calibrate(model, cells, split, seed=run.seed, quiet=run.quiet)
        model.save(folder)
