"""The paper's small baseline: an autoencoder across centers, and a random forest."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leukonca.benchmark.models.runner import Material, Run, Runner
from leukonca.benchmark.settings import changed
from leukonca.data.preprocessing import Preprocessing
from leukonca.errors import UsageError
from leukonca.models.aecfe_architecture import AECFEArchitecture
from leukonca.models.registry import architecture_from_json
from leukonca.training.aecfe_recipe import AECFERecipe, aecfe_recipe_for

if TYPE_CHECKING:
    from leukonca.models.classifier import Classifier

RECIPES = {"paper": "aecfe", "compact": "aecfe-small", "tiny": "aecfe-small"}

TINY = {"grid": 32, "encoder": [8, 6, 6, 4, 4], "groups": [4, 2, 2, 2, 1], "latent": 8, "decoder": [6, 8]}
TINY |= {"image_decoder": [8, 6, 4, 4], "trees": 10, "epochs": 2, "draws": 64, "batch_size": 16}
"""What the smallest size changes: the least that still has all parts."""


class AECFE(Runner):
    """Where a protocol lets it, the autoencoder sees all centers; else the training part of the source alone."""

    adapts = True

    def settings(self, size: str) -> dict[str, Any]:
        """The recipe, as JSON, without what the protocol decides."""
        settings = _plain(aecfe_recipe_for(RECIPES[size]))
        return changed(settings, TINY) if size == "tiny" else settings

    def checked(self, settings: Mapping[str, Any], *, scale_known: bool) -> dict[str, Any]:
        """The recipe again, whole images where nothing says what they show."""
        recipe = recipe_of(settings)
        return _plain(recipe if scale_known else replace(recipe, field_um=None))

    def preprocessing(self, settings: Mapping[str, Any]) -> Preprocessing:
        """That of the recipe."""
        return recipe_of(settings).preprocessing

    def fit(self, settings: Mapping[str, Any], material: Material, folder: Path, run: Run) -> "Classifier":
        """See `Runner.fit`; with other centers, all images of all of them are seen without labels."""
        from leukonca.training.aecfe import train_aecfe

        return train_aecfe(
            [material.cells, *material.others],
            0,
            material.split,
            replace(recipe_of(settings), protocol="paper" if material.others else "strict"),
            folder,
            seed=run.seed,
            device=run.device,
            resume=True,
            synthetic=material.synthetic,
            quiet=run.quiet,
        )


def _plain(recipe: AECFERecipe) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(recipe)))  # tuples become lists, as in a file
    del plain["protocol"]
    return plain


def recipe_of(settings: Mapping[str, Any]) -> AECFERecipe:
    """The recipe that was written as plain JSON types.

    Raises:
        UsageError: settings that no recipe has, or values that cannot be meant.
    """
    values = dict(settings)
    try:
        architecture = architecture_from_json("aecfe", values.pop("architecture"))
        assert isinstance(architecture, AECFEArchitecture)
        return AECFERecipe(architecture=architecture, **values)
    except (TypeError, KeyError) as error:
        raise UsageError(f"these are no settings of an AE-CFE: {error}") from error
