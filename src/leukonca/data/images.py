"""One image file in, one uint8 RGB array out, or an error that says what is wrong with the file."""

import os
import stat
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from leukonca.errors import DataError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""File endings, in lower case, that count as images when a folder is searched."""

SMALLEST_SIDE = 8
"""Images below this many pixels a side hold no cell."""

MOST_PIXELS = 25_000_000
"""Images above this are refused before they are decoded: a decompression bomb, or a whole slide."""

MOST_ELONGATED = 10
"""Images whose longer side is more than this many times the shorter one are refused: a strip, not a cell."""

_JPEG_END = b"\xff\xd9"
_JPEG_TAIL = 65_536
_BITS_PER_SAMPLE, _PHOTOMETRIC, _PLANES = 258, 262, 284  # TIFF tags
_WHITE_IS_ZERO, _SEPARATE_PLANES = 0, 2


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode an image file as upright 8-bit RGB. Safe to call from several threads.

    Greyscale, palette and CMYK files are converted; transparency is laid on white, the color of an empty field;
    an EXIF rotation is applied; of several frames or pages the first counts; color profiles are not applied.

    16-bit values keep their high byte, so 12-bit data in a 16-bit file comes out dark: stretch it to the full range
    first. A grey 16-bit file without any value above 255 is taken as 8-bit data in a wide file. Floating-point
    files may run from 0 to 1 or from 0 to 255.

    Args:
        path: any file that Pillow reads.

    Returns:
        uint8 [H, W, 3].

    Raises:
        DataError: the file is missing, empty, truncated or no image; below 8 pixels a side, above 25 megapixels, or
            more than 10 times as long as wide; or it holds values without a known scale. The message is
            ``path: reason``.
    """
    path = Path(path)
    try:
        _check_file(path)
        with _quiet_pillow, Image.open(path) as image:
            _check_header(path, image)
            return _to_rgb(image)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error.__cause__
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: not an image that can be read, whatever its name says") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: far too many pixels for a single cell; cut the cells out first") from error
    except MemoryError as error:
        raise DataError(f"{path}: not enough memory to decode it") from error
    except Exception as error:  # what decoders raise on damaged files is endless: struct.error, ZeroDivisionError, ...
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error
        raise DataError(f"{path}: damaged or truncated image ({error})") from error


class _QuietPillow:
    """Silences Pillow's remarks on odd files while any thread is inside.

    `warnings.catch_warnings` saves and restores the filters of the whole process: two threads whose stays overlap
    would leave it changed for good. This adds one filter, for Pillow alone, and takes the same one away.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._filter: Any = None

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                before = list(warnings.filters)
                warnings.filterwarnings("ignore", module=r"PIL\.")
                self._filter = None if warnings.filters[0] in before else warnings.filters[0]

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._filter in warnings.filters:
                warnings.filters.remove(self._filter)  # type: ignore[attr-defined]


_quiet_pillow = _QuietPillow()


def _check_file(path: Path) -> None:
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise DataError("a link to a file that is gone" if path.is_symlink() else "no such file") from error
    if stat.S_ISDIR(status.st_mode):
        raise DataError("a folder, not an image")
    if not stat.S_ISREG(status.st_mode):
        raise DataError("not a regular file")
    if status.st_size == 0:
        raise DataError("the file is empty")


def _check_header(path: Path, image: Image.Image) -> None:
    """Refuse before decoding what would be decoded at great cost, or wrongly."""
    width, height = image.size
    if min(width, height) < SMALLEST_SIDE:
        raise DataError(f"{width} x {height} pixels; a cell needs at least {SMALLEST_SIDE} a side")
    if width * height > MOST_PIXELS:
        raise DataError(f"{width} x {height} pixels are too many for a single cell; cut the cells out first")
    if max(width, height) > MOST_ELONGATED * min(width, height):
        raise DataError(f"{width} x {height} pixels are a strip, not a single cell; cut the cells out first")
    if image.format == "EPS":  # Pillow would hand it to another program
        raise DataError("a drawing (EPS), not an image of pixels; save it as PNG")
    if image.format in ("JPEG", "MPO") and not _has_jpeg_end(path):
        raise DataError("damaged or truncated image (no end marker)")
    tags = getattr(image, "tag_v2", {})
    if tags.get(_PLANES) == _SEPARATE_PLANES and max(tags.get(_BITS_PER_SAMPLE, (8,))) > 8:  # Pillow garbles these
        raise DataError("16-bit colors in separate planes are not supported; save it as 8-bit RGB")


def _has_jpeg_end(path: Path) -> bool:
    """Whether the end marker is where it belongs; a copy that was cut off and padded with zeros has none.

    The decoder finds missing bytes itself, but paints padding grey without a word.
    """
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _JPEG_TAIL))
        return _JPEG_END in file.read()


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    white_is_zero = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    image.load()
    try:
        upright = ImageOps.exif_transpose(image)
    except Exception:  # a broken EXIF block says nothing about the pixels
        upright = image
    if upright.mode.startswith(("I", "F")):
        upright = Image.fromarray(_to_eight_bits(np.asarray(upright), white_is_zero=white_is_zero))
    elif upright.mode == "LAB":
        raise DataError("LAB colors are not supported; save it as RGB")
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, (255, 255, 255, 255)), layer)
    return np.array(upright.convert("RGB"), dtype=np.uint8)  # [H, W, 3]


def _to_eight_bits(values: NDArray[Any], *, white_is_zero: bool) -> NDArray[np.uint8]:
    """Grey values of 16 or 32 bits, or floats, [H, W] -> uint8 [H, W]; see `read_image` for the scales.

    Args:
        values: as decoded.
        white_is_zero: the file counts from white to black; Pillow turns only 8-bit values round.
    """
    low, high = values.min(), values.max()
    floating = np.issubdtype(values.dtype, np.floating)
    if not (low >= 0 and high <= (255 if floating else 65_535)):  # also false where there is a NaN
        raise DataError(f"values from {low} to {high} have no known scale; save it as 8-bit grey or RGB")
    if floating:
        eight = np.rint(values * 255.0 if high <= 1 else values)
    else:
        eight = values if high <= 255 else values.astype(np.int64) >> 8
    grey = eight.astype(np.uint8)
    return 255 - grey if white_is_zero else grey
