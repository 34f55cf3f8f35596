"""One image file in, one uint8 RGB array out, or an error that says what is wrong with the file."""

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

MOST_PIXELS = 64_000_000
"""Images above this are refused before they are decoded: a decompression bomb, or a whole slide."""


class _NoWarnings:
    """Pillow's remarks on odd files are of no use: they are silenced while any thread decodes.

    `warnings.catch_warnings` alone saves and restores the filters of the whole process, so that two threads
    whose stays overlap would leave the process silenced for good.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._saved: warnings.catch_warnings[None] | None = None

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._saved = warnings.catch_warnings()
                self._saved.__enter__()
                warnings.simplefilter("ignore")

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._saved is not None:
                self._saved.__exit__(None, None, None)
                self._saved = None


_no_warnings = _NoWarnings()


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode an image file as upright 8-bit RGB.

    Greyscale, palette, CMYK and 16-bit files are converted; 16-bit values keep their high byte; transparency
    is laid on white, the colour of an empty field; an EXIF rotation is applied; of several frames the first
    counts. Safe to call from several threads.

    Args:
        path: any file that Pillow reads.

    Returns:
        uint8 [H, W, 3].

    Raises:
        DataError: the file is missing, empty, truncated, no image, below 8 pixels a side, or above 64
            megapixels.
    """
    path = Path(path)
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty")
        with _no_warnings, Image.open(path) as image:
            _check_size(path, image.size)
            return _to_rgb(image)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: a folder, not an image") from error
    except PermissionError as error:
        raise DataError(f"{path}: no permission to read it") from error
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: not an image that can be read, whatever its name says") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: too large to be one cell ({error})") from error
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        MemoryError,
        TypeError,
        IndexError,
        KeyError,
    ) as error:
        raise DataError(f"{path}: damaged or truncated image ({error})") from error


def _check_size(path: Path, size: tuple[int, int]) -> None:
    width, height = size
    if min(width, height) < SMALLEST_SIDE:
        raise DataError(f"{path}: {width} x {height} pixels; a cell needs at least {SMALLEST_SIDE} a side")
    if width * height > MOST_PIXELS:
        raise DataError(f"{path}: {width} x {height} pixels is no single cell; cut the cells out first")


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith(("I", "F")):
        upright = Image.fromarray(_to_eight_bits(np.asarray(upright)))
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, (255, 255, 255, 255)), layer)
    return np.array(upright.convert("RGB"), dtype=np.uint8)  # [H, W, 3]


def _to_eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    values = np.nan_to_num(values.astype(np.float64))
    brightest = values.max(initial=0.0)
    if brightest <= 1.0 and np.issubdtype(values.dtype, np.floating) and brightest > 0:
        values = values * 255.0
    elif brightest > 255.0:
        values = values / 257.0
    rounded: NDArray[np.uint8] = np.clip(np.round(values), 0, 255).astype(np.uint8)
    return rounded
