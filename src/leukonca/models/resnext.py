"""The paper's large baseline: ResNeXt-50 32x4d, with the names and shapes of torchvision's parameters.

Source: Xie et al. 2017 (arXiv 1611.05431), table 1; on blood cells Matek et al. 2019 (doi 10.1038/s42256-019-0101-9).
"""

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from leukonca.data.preprocessing import Preprocessing
from leukonca.errors import ModelError, UsageError
from leukonca.models.architecture import AnyArchitecture
from leukonca.models.classifier import Classifier, check_images, class_names
from leukonca.models.config import ModelConfig
from leukonca.models.foreign import read_tensors
from leukonca.models.presets import ResNeXtArchitecture
from leukonca.taxonomy import CLASSES

EXPANSION = 4
"""A block puts out so many times its stage's base width."""

ASIDE = "num_batches_tracked"
"""A counter that files older than it do not hold; nothing is computed from it."""


class ResNeXt(Classifier):
    """A residual network of grouped convolutions.

    Args:
        architecture: widths, blocks, groups; None: ResNeXt-50 32x4d.
        classes: names of the outputs.

    Example:
        >>> ResNeXt()(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 13])
    """

    def __init__(self, architecture: ResNeXtArchitecture | None = None, *, classes: tuple[str, ...] = CLASSES) -> None:
        super().__init__()
        a = architecture or ResNeXtArchitecture()
        self.config = ModelConfig(
            architecture=a, classes=class_names(None, classes), preprocessing=Preprocessing(grid=a.grid)
        )
        self.conv1 = nn.Conv2d(3, a.width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(a.width)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(a, 0)
        self.layer2 = _stage(a, 1)
        self.layer3 = _stage(a, 2)
        self.layer4 = _stage(a, 3)
        self.fc = nn.Linear(a.stage_width(3) * EXPANSION, len(classes))
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")

    @classmethod
    def from_architecture(
        cls, architecture: AnyArchitecture, *, classes: tuple[str, ...] = CLASSES, engine: str = "auto"
    ) -> Self:
        """A model with new random weights (torch's global generator draws them)."""
        if not isinstance(architecture, ResNeXtArchitecture):
            raise UsageError(f"{architecture.title}: a ResNeXt is needed here, for example preset 'resnext'")
        if engine not in ("auto", cls.engine):
            raise UsageError(f"engine {engine!r}: a ResNeXt has no engines but torch; leave it at auto")
        return cls(architecture, classes=classes)

    def forward(self, images: Tensor, seed: Any = 0) -> Tensor:
        """Logits [B, classes] of normalised images [B, 3, H, W]; nothing is random, so the seed has no effect.

        Raises:
            UsageError: wrong shape or dtype.
            DataError: images that are not finite.
        """
        check_images(images)
        images = images.contiguous(memory_format=torch.channels_last)  # processors are a quarter faster so
        state = self.maxpool(self.relu(self.bn1(self.conv1(images))))  # [B, width, H/4, W/4]
        state = self.layer2(self.layer1(state))  # [B, 8 width, H/8, W/8]
        state = self.layer4(self.layer3(state))  # [B, 32 width, H/32, W/32]
        logits: Tensor = self.fc(state.mean(dim=(-2, -1)))
        return logits


class _Bottleneck(nn.Module):
    """One by one, three by three in groups, one by one; added to what came in."""

    def __init__(self, a: ResNeXtArchitecture, come: int, stage: int, stride: int) -> None:
        super().__init__()
        inner, out = a.inner_width(stage), a.stage_width(stage) * EXPANSION
        self.conv1 = nn.Conv2d(come, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=stride, padding=1, groups=a.groups, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU()
        self.downsample: nn.Sequential | None = None
        if come != out or stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(come, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, come: Tensor) -> Tensor:
        state = self.relu(self.bn1(self.conv1(come)))
        state = self.relu(self.bn2(self.conv2(state)))
        short = come if self.downsample is None else self.downsample(come)
        added: Tensor = self.relu(self.bn3(self.conv3(state)) + short)
        return added


def _stage(a: ResNeXtArchitecture, stage: int) -> nn.Sequential:
    """The blocks of a stage, 0-3; the first halves the grid, except in stage 0."""
    out = a.stage_width(stage) * EXPANSION
    come = a.stage_width(stage - 1) * EXPANSION if stage else a.width
    first = _Bottleneck(a, come, stage, stride=2 if stage else 1)
    return nn.Sequential(first, *(_Bottleneck(a, out, stage, stride=1) for _ in range(a.blocks[stage] - 1)))


def import_resnext(
    path: str | Path, *, architecture: ResNeXtArchitecture | None = None, classes: tuple[str, ...] = CLASSES
) -> ResNeXt:
    """A ResNeXt with weights in the form of torchvision's `resnext50_32x4d`, for example to train on from there.

    Only tensors are loaded; a file that holds anything else is refused. The last layer is kept if it has as many
    outputs as there are classes, and is new (torch's global generator draws it) if not. Such weights say nothing of
    colors: train, or set ``model.config``'s mean and std.

    Args:
        path: a ``torch.save`` or safetensors file of the state dict.
        architecture: what the file holds; None: ResNeXt-50 32x4d.
        classes: names of the outputs.

    Raises:
        ModelError: missing, damaged, not a state dict, or of another architecture.
    """
    path = Path(path)
    arrays = read_tensors(path)
    model = ResNeXt(architecture, classes=classes)
    own = model.weights()
    if arrays.get("fc.bias", np.empty(0)).shape != (len(classes),):
        arrays = {**arrays, "fc.weight": own["fc.weight"], "fc.bias": own["fc.bias"]}
    counters = {name: array for name, array in own.items() if name.endswith(ASIDE)}
    try:
        return ResNeXt.from_weights(model.config, {**counters, **arrays})
    except ModelError as error:
        raise ModelError(f"{path}: not of this ResNeXt: {error}") from error
