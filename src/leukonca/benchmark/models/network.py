"""Runner of models that are trained by `leukonca.training.loop`, whatever their kind."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from leukonca.benchmark.models.runner import Run, Runner, Tested
from leukonca.data.cells import Cells
from leukonca.data.preprocessing import Preprocessing
from leukonca.data.splits import Split
from leukonca.evaluation.protocol import Protocol
from leukonca.training.recipe import from_json, recipe_for, to_json


class Network(Runner):
    """One recipe a size; a subclass names them."""

    recipes: Mapping[str, str]
    """Size -> name of the recipe."""

    def settings(self, size: str) -> dict[str, Any]:
        """The recipe, as JSON."""
        return to_json(recipe_for(self.recipes[size]))

    def checked(self, settings: Mapping[str, Any], *, scale_known: bool) -> dict[str, Any]:
        """The recipe again, whole images where nothing says what they show."""
        recipe = from_json(dict(settings))
        return to_json(recipe if scale_known else replace(recipe, field_um=None))

    def preprocessing(self, settings: Mapping[str, Any]) -> Preprocessing:
        """That of the recipe."""
        return from_json(dict(settings)).preprocessing

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
            from_json(dict(settings)),
            folder,
            seed=run.seed,
            engine=run.engine,
            device=run.device,
            resume=True,
            synthetic=synthetic,
            quiet=run.quiet,
        )

    def test(self, folder: Path, cells: Cells, protocol: Protocol, fold: int, *, name: str, run: Run) -> Tested:
        """See `Runner.test`; which images may be tested is decided as in ``leukonca evaluate``."""
        from leukonca.evaluation.holdout import held_out
        from leukonca.evaluation.run import evaluate_cells
        from leukonca.models.folder import load

        model = load(folder, engine=run.engine, device=run.device)
        indices, note = held_out(cells, model.config, folder, fold if protocol.same_fold else None)
        evaluation = evaluate_cells(
            model,
            cells,
            indices,
            name=name,
            note=note,
            normalisation=protocol.normalisation,
            seed=run.seed,
            quiet=run.quiet,
        )
        return Tested(
            evaluation.paths, evaluation.labels, evaluation.probabilities, evaluation.metrics, evaluation.note
        )
