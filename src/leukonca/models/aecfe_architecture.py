"""What an AE-CFE is made of; read and written without torch."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from leukonca.errors import UsageError
from leukonca.models.architecture import AnyArchitecture, check_counts

ExtractorName = Literal["stain", "maskrcnn"]
"""Where the features of a cell come from; see `leukonca.models.extractors`."""

FEATURES, FEATURE_SIDE = 256, 14
"""Channels and side of the features that every extractor gives."""

SIDES = (12, 5, 3, 2, 1)
"""Of the grid after each normalised layer of the encoder."""


@dataclass(frozen=True)
class AECFEArchitecture(AnyArchitecture):
    """Autoencoder and forest; the defaults are the paper's, 3,969,141 parameters without the extractor.

    Args:
        extractor: of the features.
        grid: side of the images, pixels.
        encoder: channels of its five normalised layers.
        groups: of their normalisations; each divides channels x cells of its layer.
        latent: numbers that stand for a cell.
        decoder: channels of the first two layers of the feature decoder.
        image_decoder: channels of the first four layers of the image decoder.
        trees: of the forest.
        depth: of its trees, at most.
        detector_classes: that the detector of extractor maskrcnn was trained for, background included.

    Raises:
        UsageError: a value that describes no model.

    Source: Salehi et al. 2022 (arXiv 2207.00501).
    """

    title: ClassVar[str] = "An autoencoder across centers with a random forest (AE-CFE)"
    source: ClassVar[str] = "Salehi et al. 2022, arXiv 2207.00501"

    extractor: ExtractorName = "stain"
    grid: int = 128
    encoder: tuple[int, int, int, int, int] = (200, 150, 100, 70, 60)
    groups: tuple[int, int, int, int, int] = (32, 30, 10, 10, 20)
    latent: int = 50
    decoder: tuple[int, int] = (150, 200)
    image_decoder: tuple[int, int, int, int] = (200, 180, 150, 128)
    trees: int = 100
    depth: int = 16
    detector_classes: int = 91

    def __post_init__(self) -> None:
        if self.extractor not in get_args(ExtractorName):
            raise UsageError(f"extractor {self.extractor!r}: there are {', '.join(get_args(ExtractorName))}")
        check_counts(self, {"grid": 16, "latent": 1, "trees": 1, "depth": 1, "detector_classes": 2})
        for name, length in {"encoder": 5, "groups": 5, "decoder": 2, "image_decoder": 4}.items():
            value = getattr(self, name)
            whole = all(isinstance(part, int) and not isinstance(part, bool) and part >= 1 for part in value)
            if len(value) != length or not whole:
                raise UsageError(f"{name} is {value!r}: must be {length} whole numbers of at least 1")
        for channels, groups, side in zip(self.encoder, self.groups, SIDES, strict=True):
            if channels * side * side % groups or channels * side * side < 2 * groups:
                raise UsageError(f"{groups} groups do not divide {channels} channels of {side} x {side} cells")

    def facts(self) -> dict[str, Any]:
        """Extractor, latent and forest."""
        return {
            "extractor": self.extractor,
            "latent": self.latent,
            "trees": self.trees,
            "depth": self.depth,
            "input": f"{self.grid} x {self.grid}",
        }
