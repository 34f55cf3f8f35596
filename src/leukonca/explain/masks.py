"""Masks that say where in an image the cell is: found by name, checked, and cut as the image was."""

from collections import defaultdict
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from leukonca.data.images import SUFFIXES, read_image
from leukonca.data.preprocessing import Preprocessing, centre_view, preprocess_kinds
from leukonca.data.walk import walk_images
from leukonca.errors import DataError, UsageError
from leukonca.explain.where import REGIONS


class Masks(Protocol):
    """Whatever gives masks."""

    def read(self, name: Path, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The mask of an image, checked.

        Args:
            name: the image's path.
            image: uint8 [H, W, 3].

        Returns:
            uint8 [H, W], see `leukonca.explain.where.REGIONS`.

        Raises:
            DataError: there is none that fits.
        """


class StainMasks:
    """Masks guessed from the stain, for images that have none; see `leukonca.explain.segmentation`."""

    def read(self, name: Path, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See `Masks`."""
        from leukonca.explain.segmentation import segment  # scikit-image is slow to import

        return segment(image)


class MaskFolder:
    """Masks of many images.

    A mask belongs to the image of the same name, whatever the ending; where several have that name, to the one whose
    folders have the most names in common with the image's, counted from the file upwards.

    Args:
        folder: searched at any depth.

    Raises:
        UsageError: no folder, or one without images.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise UsageError(f"--mask {folder}: not a folder; name the folder that holds the masks")
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for name in sorted(walk_images(str(self.folder), lambda *_: None)):
            self._by_name[Path(name).stem].append(Path(name))
        if not self._by_name:
            raise UsageError(f"--mask {folder}: holds no mask ({', '.join(SUFFIXES)})")

    def find(self, image: Path) -> Path:
        """The mask of an image.

        Raises:
            DataError: there is none, or several fit equally well.
        """
        found = self._by_name.get(image.stem, [])
        if not found:
            raise DataError(f"no mask of that name in {self.folder}")
        alike = [_names_in_common(path, image) for path in found]
        best = [path for path, names in zip(found, alike, strict=True) if names == max(alike)]
        if len(best) > 1:
            raise DataError(f"{len(best)} masks fit equally well: {best[0]} and {best[1]} in {self.folder}")
        return self.folder / best[0]

    def read(self, name: Path, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See `Masks`; a mask of another size, or with other values, is refused."""
        path = self.find(name)
        return check_mask(read_image(path), image.shape[:2], name=str(path))


def check_mask(pixels: NDArray[np.uint8], size: tuple[int, ...], *, name: str) -> NDArray[np.uint8]:
    """A mask as it must be: of the image's size, with the values 255 nucleus, 128 cytoplasm, 0 the rest.

    Args:
        pixels: uint8 [H, W], or [H, W, 3] with three equal colors.
        size: of the image, height and width.
        name: for the messages.

    Raises:
        DataError: it is not so.
    """
    if pixels.shape[:2] != size:
        raise DataError(
            f"{name}: the mask is {pixels.shape[1]} x {pixels.shape[0]} pixels, the image {size[1]} x {size[0]}; "
            "a mask must be of its image's size"
        )
    if pixels.ndim == 3:
        if (pixels != pixels[:, :, :1]).any():
            raise DataError(f"{name}: a colored mask; {_WANTED}")
        pixels = pixels[:, :, 0]
    odd = sorted(set(np.unique(pixels).tolist()) - set(REGIONS.values()))
    if odd:
        shown = ", ".join(map(str, odd[:5])) + (", ..." if len(odd) > 5 else "")
        raise DataError(f"{name}: the mask holds the values {shown}; {_WANTED}")
    if not pixels.any():
        raise DataError(f"{name}: the mask is empty: no cell is marked in it")
    return pixels


def cut_mask(mask: NDArray[np.uint8], settings: Preprocessing, image_um: float | None) -> NDArray[np.uint8]:
    """The mask of what the automaton sees: every kind of pixel goes the image's own way, then the strongest wins.

    Args:
        mask: uint8 [H, W].
        settings: as for the image.
        image_um: as for the image.

    Returns:
        uint8 [grid, grid].
    """
    kinds = REGIONS["background"], REGIONS["cytoplasm"], REGIONS["nucleus"]
    square = preprocess_kinds(mask, kinds, settings, image_um)
    return centre_view(square[:, :, None], settings)[:, :, 0]


_WANTED = "expected 255 nucleus, 128 cytoplasm, 0 the rest, and nothing else (save masks as PNG)"


def _names_in_common(mask: Path, image: Path) -> int:
    count = 0
    for ours, theirs in zip(reversed(mask.parent.parts), reversed(image.parent.parts), strict=False):
        if ours != theirs:
            break
        count += 1
    return count
