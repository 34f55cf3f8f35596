"""All settings of a training run, and the recipes by name."""

import math
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, get_args

from leukonca.data.augmentation import Augmentation
from leukonca.data.background import Beyond
from leukonca.data.preprocessing import Preprocessing
from leukonca.data.stain import Stain
from leukonca.errors import UsageError
from leukonca.models.architecture import AnyArchitecture
from leukonca.models.presets import preset
from leukonca.models.registry import kind_of

OPTIONAL = ("draws", "muon_rate", "clip", "small_grid", "field_um", "nucleus_um", "teacher_share")
"""Settings that may be none."""

Schedule = Literal["exponential", "cosine"]
Loss = Literal["cross_entropy", "binary_cross_entropy", "focal"]


@dataclass(frozen=True)
class Recipe:
    """What a training run needs to be repeated, beside the images. The defaults are the paper's.

    Raises:
        UsageError: a setting that cannot be meant.

    Source: Deutges et al. 2024, section 3, and the authors' code for what the paper leaves out.
    """

    architecture: AnyArchitecture = field(default_factory=lambda: preset("paper"))
    augmentation: Augmentation = field(default_factory=lambda: Augmentation(shift=0.0, scale=0.0))
    field_um: float | None = None
    """Side of the square that the automaton sees, um; none: the whole image, as in the paper."""
    margin: int = 0
    """Pixels kept around that square, so that turned and shifted views show real surroundings."""
    stain_normalisation: Stain = "plain"
    """What is done to each image's colors before they are normalised. Stretched: optical densities between the image's
    own background and nucleus. Lightness: the same of lightness, for images with more or less of a veil."""
    nucleus_um: float | None = None
    """Diameter of a usual nucleus, um: images of unknown scale are cut so that theirs has it; none: used whole."""
    beyond: Beyond = "reflection"
    """How an image goes on where the field reaches beyond its edges."""
    epochs: int = 32
    draws: int | None = None
    """Images drawn per epoch; none: as many as there are training images."""
    batch_size: int = 16
    learning_rate: float = 4e-4
    muon_rate: float | None = None
    """Learning rate of the matrices within the network, which Muon then trains; it rises and falls with the other.
    None: Adam trains all."""
    schedule: Schedule = "exponential"
    """Exponential: times `decay` every step, as in the paper. Cosine: down to zero over the whole run."""
    decay: float = 0.9999
    warmup: int = 0
    """Steps over which the learning rate rises from zero."""
    clip: float | None = None
    """Largest norm of the gradient; none: not limited."""
    loss: Loss = "cross_entropy"
    """Binary: over one sigmoid a class, what the authors' code computes. Focal: with gamma 2, as in aNCA."""
    label_smoothing: float = 0.0
    """Of the cross-entropy alone."""
    teacher_share: float | None = None
    """Share of the loss that follows the probabilities of a teacher (--teacher); the labels have the rest.
    None: there is no teacher."""
    balance: bool = True
    """Draw every class equally often, with replacement; --no-balance draws every image once an epoch."""
    average: float = 0.0
    """Decay per step of the running average of the weights that is tested and saved; 0: the weights themselves."""
    small_grid: int | None = None
    """Side of the views in the first `small_grid_epochs` epochs, pixels; the same field, fewer cells."""
    small_grid_epochs: int = 0
    validation_images: int = 500
    """At most so many validation images are looked at after each epoch."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "validation_images", "draws"):
            self._check(name, whole=True, least=1)
        for name in ("margin", "warmup", "small_grid_epochs"):
            self._check(name, whole=True, least=0)
        patch = self.architecture.patch
        self._check("small_grid", whole=True, least=2 * patch, most=self.architecture.grid)
        for name in ("learning_rate", "muon_rate", "decay", "clip", "field_um", "nucleus_um"):
            self._check(name, above=0)
        self._check("teacher_share", above=0, most=1)
        for name in ("label_smoothing", "average"):
            self._check(name, least=0, below=1)
        for name, kind in (
            ("schedule", Schedule),
            ("loss", Loss),
            ("stain_normalisation", Stain),
            ("beyond", Beyond),
        ):
            choices = get_args(kind)
            if getattr(self, name) not in choices:
                raise UsageError(f"{name} is {getattr(self, name)!r}: there are {', '.join(choices)}")
        if self.muon_rate is not None and not self.architecture.has_hidden_matrices:
            raise UsageError(
                f"muon_rate is {self.muon_rate:g}: {self.architecture.words} has no matrices for it; leave it out"
            )
        if not isinstance(self.balance, bool):
            raise UsageError(f"balance is {self.balance!r}: must be true or false")
        if self.label_smoothing and self.loss != "cross_entropy":
            raise UsageError(f"label_smoothing is {self.label_smoothing}: loss {self.loss} has none; set it to 0")
        if self.augmentation.levels and self.stain_normalisation == "plain":
            raise UsageError(
                f"levels is {self.augmentation.levels:g}: plain colors have no levels; set it to 0, or stretch them "
                "(stain_normalisation)"
            )
        if self.small_grid_epochs and self.small_grid is not None and self.small_grid % patch:
            raise UsageError(f"small_grid {self.small_grid}: must be a multiple of patch, {patch}")
        if self.small_grid_epochs and self.small_grid is None:
            raise UsageError("small_grid_epochs needs small_grid")

    def _check(
        self,
        name: str,
        *,
        whole: bool = False,
        least: float = -math.inf,
        above: float = -math.inf,
        below: float = math.inf,
        most: float = math.inf,
    ) -> None:
        value = getattr(self, name)
        if value is None and name in OPTIONAL:
            return
        kind = int if whole else (int, float)
        number = isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)
        if number and least <= value <= most and above < value < below:
            return
        bounds = {"at least": least, "above": above, "below": below, "at most": most}
        words = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if math.isfinite(bound))
        raise UsageError(f"{name} is {value!r}: must be a {'whole ' if whole else ''}number, {words}")

    @property
    def preprocessing(self) -> Preprocessing:
        """How images are cropped and resized."""
        return Preprocessing(
            grid=self.architecture.grid,
            margin=self.margin,
            field_um=self.field_um,
            stain=self.stain_normalisation,
            nucleus_um=None if self.field_um is None else self.nucleus_um,  # whole images are cut by nothing
            beyond=self.beyond,
        )

    def on_whole_images(self) -> "Recipe":
        """The same for images whose scale nobody knows."""
        return replace(self, field_um=None, nucleus_um=None)

    def grid_of(self, epoch: int) -> int:
        """Side of the views in an epoch, counted from 0."""
        small = self.small_grid is not None and epoch < self.small_grid_epochs
        return self.small_grid if small and self.small_grid is not None else self.architecture.grid


COMPACT = Recipe(
    architecture=preset("compact"),
    augmentation=Augmentation(
        shift=0.05,
        scale=0.5,
        stain=0.3,
        mixing=0.25,
        redness=1.4,
        levels=0.2,
        blur=0.035,
        noise=0.03,
        cut=0.7,
        mild=0.5,
    ),
    field_um=22.0,
    margin=20,
    stain_normalisation="lightness",
    nucleus_um=9.9,
    beyond="background",
    epochs=16,
    learning_rate=2e-3,
    muon_rate=3e-3,
    schedule="cosine",
    warmup=200,
    clip=1.0,
    label_smoothing=0.05,
    average=0.998,
)
"""For processors, and for microscopes that were not seen; chosen by measurement (docs/experiments.md)."""

RECIPES = MappingProxyType(
    {
        "paper": Recipe(),
        "compact": COMPACT,
        "tiny": Recipe(
            architecture=preset("tiny"),
            augmentation=Augmentation(shift=0.04, scale=0.05),
            epochs=8,
            learning_rate=3e-3,
            schedule="cosine",
            warmup=20,
            clip=1.0,
            average=0.98,
        ),
        "resnext": Recipe(architecture=preset("resnext")),
        "resnext-small": replace(
            COMPACT,
            architecture=preset("resnext-small"),
            epochs=4,
            batch_size=32,
            learning_rate=1e-3,
            muon_rate=None,
            warmup=100,
        ),
    }
)
"""One recipe a preset. `paper` is the paper's own.
`resnext` and `resnext-small` see what `paper` and `compact` see, so that it is the model that differs."""


def recipe_for(name: str) -> Recipe:
    """The recipe of a preset.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in RECIPES:
        raise UsageError(f"preset {name!r}: there are {', '.join(RECIPES)}")
    return RECIPES[name]


def to_json(recipe: Recipe) -> dict[str, Any]:
    """As plain JSON types, to be written beside the results.

    Without a teacher nothing is said of one, so that a run from before there were any can still be resumed.
    """
    settings = asdict(recipe)
    if recipe.teacher_share is None:
        del settings["teacher_share"]
    return {"kind": kind_of(recipe.architecture), **settings}
