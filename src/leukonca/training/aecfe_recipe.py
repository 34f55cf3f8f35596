"""All settings of an AE-CFE's training, and the recipes by name; read and written without torch."""

from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_args

from leukonca.data.preprocessing import Preprocessing
from leukonca.errors import UsageError
from leukonca.models.aecfe_architecture import AECFEArchitecture
from leukonca.models.architecture import check_counts

Protocol = Literal["strict", "paper"]


@dataclass(frozen=True)
class AECFERecipe:
    """What a training needs to be repeated, beside the images. The defaults are the authors', but for `protocol`.

    Args:
        architecture: of extractor, autoencoder and forest.
        protocol: whose images the autoencoder sees, without labels. Strict: the training part of the source center,
            nothing of any other, so that the loss has no part between centers. Paper: all images of all centers, as
            published, those that are tested on included.
        field_um: side of the square that is seen, um; None: the whole image.
        epochs: of the autoencoder.
        draws: images an epoch; None: all there are.
        batch_size: images a step, of all centers mixed.
        learning_rate: of Adam.
        window: side of the window of the structural similarity, pixels.
        domain_weight: of the difference between centers in the loss.
        detector: file with the weights of extractor maskrcnn.

    Raises:
        UsageError: a setting that cannot be meant.

    Source: Salehi et al. 2022 (arXiv 2207.00501) and the authors' code.
    """

    architecture: AECFEArchitecture = field(default_factory=AECFEArchitecture)
    protocol: Protocol = "strict"
    field_um: float | None = None
    epochs: int = 150
    draws: int | None = None
    batch_size: int = 500
    learning_rate: float = 1e-3
    window: int = 10
    domain_weight: float = 5.0
    detector: str | None = None

    def __post_init__(self) -> None:
        counts = {"epochs": 1, "batch_size": 2, "window": 2} | ({} if self.draws is None else {"draws": 1})
        check_counts(self, counts)
        if self.protocol not in get_args(Protocol):
            raise UsageError(f"protocol is {self.protocol!r}: there are {', '.join(get_args(Protocol))}")
        for name in ("learning_rate", "field_um"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UsageError(f"{name} is {value!r}: must be a positive number")
        if not 0 <= self.domain_weight < float("inf"):
            raise UsageError(f"domain_weight is {self.domain_weight!r}: must be a number of at least 0")
        if (self.architecture.extractor == "maskrcnn") != (self.detector is not None):
            raise UsageError("extractor maskrcnn, and no other, needs detector: the file of its weights")

    @property
    def preprocessing(self) -> Preprocessing:
        """How images are cropped and resized."""
        return Preprocessing(grid=self.architecture.grid, field_um=self.field_um)


AECFE_RECIPES = MappingProxyType(
    {
        "aecfe": AECFERecipe(),
        "aecfe-small": AECFERecipe(
            architecture=AECFEArchitecture(image_decoder=(64, 32, 16, 8)),
            epochs=5,
            draws=3000,
            batch_size=64,
        ),
    }
)
"""`aecfe`: the paper's. `aecfe-small`: a narrower image decoder and fewer epochs, for CPUs."""


def aecfe_recipe_for(name: str) -> AECFERecipe:
    """The recipe of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in AECFE_RECIPES:
        raise UsageError(f"preset {name!r}: there are {', '.join(AECFE_RECIPES)}")
    return AECFE_RECIPES[name]


def to_json(recipe: AECFERecipe) -> dict[str, Any]:
    """As plain JSON types, to be written beside the results."""
    return {"kind": "aecfe", **asdict(recipe)}
