"""The classifier: an automaton, a pooling and a small head, as a `torch.nn.Module`."""

import math
from dataclasses import asdict, replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from leukonca.automaton import engines
from leukonca.automaton.fire import check_seeds
from leukonca.data.preprocessing import Preprocessing
from leukonca.errors import UsageError
from leukonca.models.architecture import AnyArchitecture
from leukonca.models.classifier import Classifier, check_images, class_names, is_count
from leukonca.models.config import ModelConfig
from leukonca.models.deterministic import as_deterministic
from leukonca.models.pooling import POOLINGS
from leukonca.models.presets import Architecture, PoolingName
from leukonca.models.presets import preset as named_preset
from leukonca.taxonomy import CLASSES


class NCAClassifier(Classifier):
    """A neural cellular automaton that classifies images of single cells.

    Source: Deutges et al. 2024 (arXiv 2404.05584), eq. 1-4 and section 2.

    Args:
        preset: `paper`, `compact` or `tiny`; the rest replaces single values of it.
        num_classes: outputs; 13 gives the harmonised classes, another number gives names class_0, class_1, ...
        classes: their names, instead of `num_classes`.
        channels, hidden, steps, fire_rate, grid, pooling, patch: see `Architecture`.
        engine: `auto`, `reference`, `cpu`, `torch` or `triton`; they give equal results.

    Raises:
        UsageError: values that describe no model.

    Example:
        >>> model = NCAClassifier(preset="tiny")
        >>> model(torch.zeros(2, 3, 24, 24), seed=0).shape
        torch.Size([2, 13])
    """

    output_layer = "head.2"

    def __init__(
        self,
        preset: str = "paper",
        *,
        num_classes: int | None = None,
        classes: tuple[str, ...] | None = None,
        channels: int | None = None,
        hidden: int | None = None,
        steps: int | None = None,
        fire_rate: float | None = None,
        grid: int | None = None,
        pooling: PoolingName | None = None,
        patch: int | None = None,
        engine: str = "auto",
    ) -> None:
        super().__init__()
        given: dict[str, Any] = {
            "channels": channels,
            "hidden": hidden,
            "steps": steps,
            "fire_rate": fire_rate,
            "grid": grid,
            "pooling": pooling,
            "patch": patch,
        }
        architecture = replace(
            automaton(named_preset(preset)), **{name: value for name, value in given.items() if value is not None}
        )
        self.config = ModelConfig(
            architecture=architecture,
            classes=class_names(num_classes, classes),
            preprocessing=Preprocessing(grid=architecture.grid),
        )
        self.engine = engines.check_engine(engine)
        n, width = architecture.channels, architecture.hidden
        self.kernels = nn.Parameter(_uniform((2, n, 3, 3), fan_in=9))
        self.kernel_bias = nn.Parameter(_uniform((2, n), fan_in=9))
        self.hidden_weight = nn.Parameter(_uniform((width, 3 * n), fan_in=3 * n))
        self.hidden_bias = nn.Parameter(_uniform((width,), fan_in=3 * n))
        self.update_weight = nn.Parameter(torch.zeros(n, width))
        if POOLINGS[architecture.pooling].attends:
            self.attention = nn.Parameter(torch.zeros(architecture.cells, architecture.cells))
        self.head = nn.Sequential(nn.Linear(n, width), nn.ReLU(), nn.Linear(width, len(self.config.classes)))

    @classmethod
    def from_architecture(
        cls, architecture: AnyArchitecture, *, classes: tuple[str, ...] = CLASSES, engine: str = "auto"
    ) -> Self:
        """A model with new random weights (torch's global generator draws them)."""
        return cls(classes=classes, engine=engine, **asdict(automaton(architecture)))

    @property
    def architecture(self) -> Architecture:
        """What the automaton and head are made of."""
        return automaton(self.config.architecture)

    @property
    def rule(self) -> engines.Parameters:
        """The automaton's parameters, in the order that every engine takes them."""
        return self.kernels, self.kernel_bias, self.hidden_weight, self.hidden_bias, self.update_weight

    def rollout(self, images: Tensor, steps: int | None = None, seed: Any = 0, *, record: bool = False) -> Tensor:
        """Let the automaton run.

        Args:
            images: float [B, 3, H, W], normalised; any H, W >= 2.
            steps: how many; None: as in the architecture.
            seed: of the fire masks: one integer in [0, 2^32) for all images, or one an image.
            record: return every step's state.

        Returns:
            The state after the last step, [B, C, H, W]; [steps, B, C, H, W] if `record`. Where a cell holds a patch of
            p x p pixels, H / p and W / p, rounded up.

        Raises:
            UsageError: wrong shape, dtype, device, seed or number of steps.
            DataError: images that are not finite.
        """
        check_images(images)
        steps = self.architecture.steps if steps is None else steps
        if not is_count(steps):
            raise UsageError(f"steps is {steps!r}: must be a whole number of at least 1")
        seeds = check_seeds(seed.cpu().numpy() if isinstance(seed, Tensor) else seed, len(images))
        return engines.run(
            self.engine,
            _patches(images, self.architecture.patch),
            self.rule,
            steps=steps,
            fire_rate=self.architecture.fire_rate,
            seeds=seeds,
            record=record,
        )

    def features(self, images: Tensor, steps: int | None = None, seed: Any = 0) -> Tensor:
        """One value of every channel, pooled over all cells of the last state, [B, C]; arguments as `rollout`."""
        pooling = POOLINGS[self.architecture.pooling]
        return pooling.of_tensor(self.rollout(images, steps, seed), self.attention if pooling.attends else None)

    def deterministic(self) -> Self:
        """A copy in which every cell fires, and nothing is random (see `as_deterministic`); in evaluation mode."""
        config, weights = as_deterministic(self.config, self.weights())
        return type(self).from_weights(config, weights, engine=self.engine).to(self.device)

    def forward(self, images: Tensor, seed: Any = 0) -> Tensor:
        """Logits [B, classes] of normalised images [B, 3, H, W]; arguments and errors as `rollout`."""
        logits: Tensor = self.head(self.features(images, seed=seed))
        return logits


def automaton(architecture: AnyArchitecture) -> Architecture:
    """The architecture, if it is that of an automaton.

    Raises:
        UsageError: it is of another kind of model.
    """
    if not isinstance(architecture, Architecture):
        raise UsageError(f"{architecture.title}: an automaton is needed here, for example preset 'compact'")
    return architecture


def _patches(images: Tensor, patch: int) -> Tensor:
    """As `leukonca.models.patches.to_patches`, of any H and W.

    Pixels that a last patch or a second one lacks repeat the image's last ones.
    """
    if patch == 1:
        return images
    down, across = (max(2 * patch, -(-side // patch) * patch) - side for side in images.shape[-2:])
    if down or across:
        images = functional.pad(images, (0, across, 0, down), mode="replicate")
    return functional.pixel_unshuffle(images, patch)


def _uniform(shape: tuple[int, ...], fan_in: int) -> Tensor:
    """Torch's own default for convolutions and linear layers, which the authors' code uses."""
    bound = 1 / math.sqrt(fan_in)
    return torch.empty(shape).uniform_(-bound, bound)
