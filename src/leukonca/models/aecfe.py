"""The paper's small baseline: an autoencoder whose latents are alike across centers, and a random forest on them.

Source: Salehi et al. 2022 (arXiv 2207.00501), and the authors' code for what the paper leaves out.
"""

from itertools import pairwise
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from leukonca.data.augment import centre_images
from leukonca.data.preprocessing import Preprocessing
from leukonca.errors import ModelError, UsageError
from leukonca.models.aecfe_architecture import FEATURES, AECFEArchitecture
from leukonca.models.architecture import AnyArchitecture
from leukonca.models.classifier import Classifier, check_images, class_names
from leukonca.models.config import ModelConfig
from leukonca.models.extractors import EXTRACTORS
from leukonca.models.folder import Weights
from leukonca.models.forest import Forest
from leukonca.taxonomy import CLASSES

FOREST = "forest."
"""What the names of the forest's arrays begin with in a model folder."""

BATCH = 32
"""Images worked on together; results do not depend on it."""


class RunNorm(nn.Module):
    """Normalises equal runs of the flattened channels x cells, then scales and shifts every channel.

    Unlike torch's group normalisation, a run may end in the midst of a channel, and the variance is the unbiased one.
    """

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, state: Tensor) -> Tensor:
        """[B, C, H, W] -> the same shape."""
        runs = state.reshape(len(state), self.groups, -1)  # [B, groups, C H W / groups]
        runs = (runs - runs.mean(dim=-1, keepdim=True)) / (runs.var(dim=-1, keepdim=True) + 1e-5).sqrt()
        return runs.reshape(state.shape) * self.scale + self.shift


class Autoencoder(nn.Module):
    """Features [B, 256, 14, 14] to latents, back to features, and on to a picture of the cell."""

    def __init__(self, a: AECFEArchitecture) -> None:
        super().__init__()
        widths, kernels, strides = (FEATURES, *a.encoder), (3, 3, 3, 2, 2), (1, 2, 1, 1, 1)
        layers: list[nn.Module] = []
        for (come, go), kernel, stride, groups in zip(pairwise(widths), kernels, strides, a.groups, strict=True):
            layers += [nn.Conv2d(come, go, kernel, stride=stride), nn.ReLU(), RunNorm(go, groups)]
        self.encoder = nn.Sequential(*layers, nn.Conv2d(a.encoder[-1], a.latent, 1), nn.Tanh())
        self.decoder = _upwards((a.latent, *a.decoder, FEATURES), (5, 4, 3), (1, 2, 1), nn.Tanh())
        self.image_decoder = _upwards((FEATURES, *a.image_decoder, 3), (5, 3, 3, 2, 1), (2, 2, 2, 1, 1), nn.Sigmoid())

    def encode(self, features: Tensor) -> Tensor:
        """Latents [B, latent] in [-1, 1] of features [B, 256, 14, 14]."""
        latents: Tensor = self.encoder(features).flatten(start_dim=1)
        return latents

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Latents [B, latent], features again [B, 256, 14, 14], and pictures [B, 3, 128, 128] in 0..1."""
        latents = self.encode(features)
        again = self.decoder(latents[:, :, None, None])
        return latents, again, self.image_decoder(again)


def _upwards(
    widths: tuple[int, ...], kernels: tuple[int, ...], strides: tuple[int, ...], last: nn.Module
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for (come, go), kernel, stride in zip(pairwise(widths), kernels, strides, strict=True):
        layers += [nn.ConvTranspose2d(come, go, kernel, stride=stride), nn.ReLU()]
    return nn.Sequential(*layers[:-1], last)


class AECFE(Classifier):
    """Extractor, autoencoder and forest. `leukonca.training.aecfe.train_aecfe` makes one.

    It takes colors as they are, so its config's mean is 0 and its std 1, whatever the center.

    Args:
        architecture: None: the paper's, with the extractor that needs no weights of others.
        classes: names of the outputs.
    """

    normalises = False

    def __init__(self, architecture: AECFEArchitecture | None = None, *, classes: tuple[str, ...] = CLASSES) -> None:
        super().__init__()
        a = architecture or AECFEArchitecture()
        self.config = ModelConfig(
            architecture=a,
            classes=class_names(None, classes),
            preprocessing=Preprocessing(grid=a.grid),
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
        )
        self.extractor = EXTRACTORS[a.extractor](a)
        self.autoencoder = Autoencoder(a)
        self.forest: Forest | None = None

    @classmethod
    def from_architecture(
        cls, architecture: AnyArchitecture, *, classes: tuple[str, ...] = CLASSES, engine: str = "auto"
    ) -> Self:
        """A model with new random weights (torch's global generator draws them) and no forest yet."""
        if not isinstance(architecture, AECFEArchitecture):
            raise UsageError(f"{architecture.title}: an AE-CFE is needed here")
        if engine not in ("auto", cls.engine):
            raise UsageError(f"engine {engine!r}: an AE-CFE has no engines but torch; leave it at auto")
        return cls(architecture, classes=classes)

    @classmethod
    def from_weights(cls, config: ModelConfig, weights: Weights, *, engine: str = "auto") -> Self:
        """As `Classifier.from_weights`, with the forest's arrays."""
        of_forest = {name.removeprefix(FOREST): array for name, array in weights.items() if name.startswith(FOREST)}
        rest = {name: array for name, array in weights.items() if not name.startswith(FOREST)}
        model = super().from_weights(config, rest, engine=engine)
        model.forest = Forest.from_arrays(of_forest, model.architecture.latent, len(config.classes))
        return model

    @property
    def architecture(self) -> AECFEArchitecture:
        """What the model is made of."""
        assert isinstance(self.config.architecture, AECFEArchitecture)
        return self.config.architecture

    def weights(self) -> Weights:
        """Copies of all parameters and of the forest's arrays as float32 arrays, by name."""
        of_forest = {} if self.forest is None else self.forest.arrays()
        return super().weights() | {f"{FOREST}{name}": array.copy() for name, array in of_forest.items()}

    @torch.no_grad()
    def latents(self, images: Tensor) -> NDArray[np.float32]:
        """What the forest sees of images in 0..1, [B, 3, H, W] -> float32 [B, latent]."""
        features, _ = self.extractor(images)
        found: NDArray[np.float32] = self.autoencoder.encode(features).float().cpu().numpy()
        return found

    def forward(self, images: Tensor, seed: Any = 0) -> Tensor:
        """Logarithms of the forest's probabilities, [B, classes], of images in 0..1; the seed has no effect.

        Raises:
            UsageError: wrong shape or dtype, or an attempt to train it like a network.
            ModelError: it has no forest yet.
            DataError: images that are not finite.
        """
        check_images(images)
        if self.training:
            raise UsageError("an AE-CFE is not trained by gradients alone: use leukonca.training.aecfe.train_aecfe")
        if self.forest is None:
            raise ModelError("this AE-CFE has no forest yet: train it")
        probabilities = self.forest.probabilities(self.latents(images), self.architecture.depth)
        return torch.from_numpy(probabilities).to(images.device).log()

    def probabilities(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Class probabilities of loaded cells.

        Args:
            squares: uint8 [N, side, side, 3], as `Cells.images`, margins included.

        Returns:
            float32 [N, classes]; each row sums to 1.
        """
        parts = [np.empty((0, len(self.config.classes)), np.float32)]
        for low in range(0, len(squares), BATCH):
            batch = torch.from_numpy(squares[low : low + BATCH].copy())
            images = centre_images(batch, self.config.preprocessing).to(self.device)  # [B, 3, grid, grid]
            parts.append(self(images).exp().cpu().numpy())
        joined: NDArray[np.float32] = np.concatenate(parts)
        return joined
