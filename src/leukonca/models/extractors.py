"""Where an AE-CFE's features come from: 256 x 14 x 14 numbers in [-1, 1] a cell, with a picture of the cell alone."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from leukonca.errors import ModelError, UsageError
from leukonca.models.aecfe_architecture import FEATURE_SIDE, FEATURES, AECFEArchitecture, ExtractorName
from leukonca.models.foreign import read_tensors

CROP_SIDE = 128
"""Side of the picture of the cell, pixels."""

LEAST_SPREAD = 1e-6
"""Of a feature; where all cells are the same, as outside of a tight image, nothing is divided by less."""


class StainExtractor(nn.Module):
    """Finds the nucleus by its stain, cuts the cell out, and describes it with a few fixed random convolutions.

    Needs no weights of others. The convolutions stay as they were drawn, as those of the paper's extractor stay as they
    were trained: learned together with the autoencoder, their features become the same for every cell, which is
    easiest to keep. What they say at each place is standardised by what they say of cells to learn from
    (`standardise`), so that differences between cells count and not what all have in common.

    Nuclei are the only large things on a smear that absorb red light, so optical density of red says where the cell is
    and how large.
    """

    mean: Tensor
    """Of every feature at every place over the cells to learn from, [1, 256, 14, 14]; and likewise `spread`."""

    spread: Tensor

    REACH = 2.2
    """Half a side of the crop, in root mean square distances of the stain from its centre: of an even disc it is
    1.6 radii, so the cytoplasm is in it."""

    def __init__(self, architecture: AECFEArchitecture) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 4, stride=2, padding=1),  # 64 x 64
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, stride=2, padding=1),  # 32 x 32
            nn.ReLU(),
            nn.Conv2d(64, 128, 4, stride=2, padding=1),  # 16 x 16
            nn.ReLU(),
            nn.Conv2d(128, FEATURES, 3),  # 14 x 14
        )
        self.stem.requires_grad_(False)
        side = FEATURE_SIDE
        self.mean = nn.Parameter(torch.zeros(1, FEATURES, side, side), requires_grad=False)
        self.spread = nn.Parameter(torch.ones(1, FEATURES, side, side), requires_grad=False)

    @torch.no_grad()
    def standardise(self, batches: Iterable[Tensor]) -> None:
        """Take mean and spread of what the convolutions say of images [B, 3, H, W] in 0..1; 2 images at least."""
        count, total, squares = 0, torch.zeros_like(self.mean), torch.zeros_like(self.mean)
        for images in batches:
            said = self.stem(2 * self.crop(images) - 1).double()
            count += len(said)
            total = total + said.sum(dim=0, keepdim=True)
            squares = squares + said.square().sum(dim=0, keepdim=True)
        mean = total / count
        variance = (squares / count - mean.square()).clamp(min=0)
        self.mean.copy_(mean)
        self.spread.copy_(variance.sqrt().clamp(min=LEAST_SPREAD))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, 256, 14, 14] and crops [B, 3, 128, 128] in 0..1 of images [B, 3, H, W] in 0..1."""
        crops = self.crop(images)
        return torch.tanh((self.stem(2 * crops - 1) - self.mean) / (2 * self.spread)), crops

    @torch.no_grad()
    def crop(self, images: Tensor) -> Tensor:
        """The cell in the middle, [B, 3, H, W] -> [B, 3, 128, 128]; continued by reflection at the borders."""
        centre, half = self.locate(images)
        steps = (torch.arange(CROP_SIDE, device=images.device) + 0.5) * (2 / CROP_SIDE) - 1
        x = (centre[:, 0, None] + half[:, None] * steps)[:, None, :].expand(-1, CROP_SIDE, -1)
        y = (centre[:, 1, None] + half[:, None] * steps)[:, :, None].expand(-1, -1, CROP_SIDE)
        places = torch.stack([x, y], dim=-1).to(images)  # [B, 128, 128, 2]
        return functional.grid_sample(images, places, mode="bilinear", padding_mode="reflection", align_corners=False)

    def locate(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Centre (x, y) [B, 2] and half side [B] of the cell's square, in units where the image spans -1..1."""
        density = -images[:, 0].clamp(min=1 / 255).log()  # [B, H, W]
        excess = (density - density.flatten(1).median(dim=1).values[:, None, None]).clamp(min=0) ** 2
        height, width = density.shape[1:]
        y = ((torch.arange(height, device=images.device) + 0.5) * (2 / height) - 1)[:, None]
        x = ((torch.arange(width, device=images.device) + 0.5) * (2 / width) - 1)[None, :]
        # Neighbors at the border are stained as well; the cell that is meant is in the middle.
        weight = excess * torch.exp(-(x**2 + y**2) / (2 * 0.5**2)) + 1e-9  # where nothing is stained: the middle
        total = weight.sum(dim=(1, 2))
        centre = torch.stack([(weight * x).sum(dim=(1, 2)) / total, (weight * y).sum(dim=(1, 2)) / total], dim=1)
        square = (x - centre[:, 0, None, None]) ** 2 + (y - centre[:, 1, None, None]) ** 2
        spread = ((weight * square).sum(dim=(1, 2)) / total).sqrt()
        return centre, (self.REACH * spread).clamp(0.3, 1.0)


class MaskRCNNExtractor(nn.Module):
    """torchvision's Mask R-CNN as the paper uses one: the features that its mask branch sees of the surest box.

    Its weights are given (`load_detector`) and stay as they are; they are saved with the model. The detector should
    have been trained to find white blood cells.

    Raises:
        UsageError: torchvision is not installed.
    """

    def __init__(self, architecture: AECFEArchitecture) -> None:
        super().__init__()
        try:
            from torchvision.models.detection import maskrcnn_resnet50_fpn
        except ImportError as error:
            raise UsageError(
                f"extractor maskrcnn needs torchvision, which cannot be imported ({error}): install the one that "
                "belongs to your torch, or use extractor stain"
            ) from error
        self.detector = maskrcnn_resnet50_fpn(
            weights=None, weights_backbone=None, num_classes=architecture.detector_classes
        )
        self.detector.requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """As `StainExtractor.forward`; an image in which nothing is found is taken as a whole."""
        from torchvision.ops import roi_align

        detector = self.detector.eval()  # also while the autoencoder is trained
        sized, _ = detector.transform(list(images))
        maps = detector.backbone(sized.tensors)
        proposals, _ = detector.rpn(sized, maps)
        found, _ = detector.roi_heads(maps, proposals, sized.image_sizes)
        whole = [images.new_tensor([[0, 0, width, height]]) for height, width in sized.image_sizes]
        boxes = [
            one["boxes"][:1] if len(one["boxes"]) else all_of_it for one, all_of_it in zip(found, whole, strict=True)
        ]
        features = detector.roi_heads.mask_roi_pool(maps, boxes, sized.image_sizes)  # [B, 256, 14, 14]
        low, high = features.amin(dim=(1, 2, 3), keepdim=True), features.amax(dim=(1, 2, 3), keepdim=True)
        scaled = 2 * (features - low) / (high - low).clamp(min=1e-12) - 1
        height, width = images.shape[-2:]
        own = [
            box * box.new_tensor([width / w, height / h] * 2)
            for box, (h, w) in zip(boxes, sized.image_sizes, strict=True)
        ]
        return scaled, roi_align(images, own, output_size=CROP_SIDE, aligned=True)


EXTRACTORS: Mapping[ExtractorName, Callable[[AECFEArchitecture], nn.Module]] = MappingProxyType(
    {"stain": StainExtractor, "maskrcnn": MaskRCNNExtractor}
)
"""Name, as in the architecture and in results, -> module."""


def load_detector(extractor: nn.Module, path: Path) -> None:
    """Give a `MaskRCNNExtractor` its weights: a state dict of torchvision's `maskrcnn_resnet50_fpn`.

    Raises:
        ModelError: missing, damaged, or of another network.
    """
    detector: Any = extractor.get_submodule("detector")
    arrays = read_tensors(path)
    try:
        detector.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    except RuntimeError as error:
        raise ModelError(f"{path}: not of this Mask R-CNN ({str(error).splitlines()[0]})") from error
