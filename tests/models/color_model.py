"""The smallest other kind of model: names a class by an image's mean color. As docs/extending.md shows it."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from leukonca.data.preprocessing import Preprocessing
from leukonca.models.architecture import AnyArchitecture, check_counts
from leukonca.models.classifier import Classifier, check_images
from leukonca.models.config import ModelConfig
from leukonca.taxonomy import CLASSES


@dataclass(frozen=True)
class ColorArchitecture(AnyArchitecture):
    title: ClassVar[str] = "A linear model of the mean color"
    source: ClassVar[str] = "none"

    grid: int = 16

    def __post_init__(self) -> None:
        check_counts(self, {"grid": 2})

    def facts(self) -> dict[str, Any]:
        return {"grid": f"{self.grid} x {self.grid}"}


class ColorClassifier(Classifier):
    def __init__(self, architecture: ColorArchitecture, classes: tuple[str, ...]) -> None:
        super().__init__()
        self.config = ModelConfig(architecture, classes, Preprocessing(grid=architecture.grid))
        self.norm = nn.BatchNorm1d(3)  # holds a counter beside its numbers
        self.head = nn.Linear(3, len(classes))

    @classmethod
    def from_architecture(
        cls, architecture: AnyArchitecture, *, classes: tuple[str, ...] = CLASSES, engine: str = "auto"
    ) -> Self:
        assert isinstance(architecture, ColorArchitecture)
        return cls(architecture, classes)

    def forward(self, images: Tensor, seed: Any = 0) -> Tensor:
        check_images(images)
        return self.head(self.norm(images.mean(dim=(2, 3))))
