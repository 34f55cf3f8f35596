"""BloodMNIST's files: all images of the three official parts as arrays in one ``.npz``, read image by image.

Source: Yang et al. 2023, MedMNIST v2 (doi 10.1038/s41597-022-01721-8); files at Zenodo record 10519652.
"""

import hashlib
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from leukonca.data.cache import Decoded
from leukonca.data.preprocessing import Preprocessing, preprocess
from leukonca.errors import DataError, UsageError
from leukonca.progress import track

PARTS = ("test", "train", "val")
"""Names of the parts in a file, in code-point order, so that images are in the order of their paths."""

PATTERN = "bloodmnist*.npz"
MOST_IMAGES = 99_999
SIDES = range(8, 1025)

Shape = tuple[int, ...]


def find_archive(path: Path) -> Path:
    """The file that is meant by a path: itself, or the only one of BloodMNIST's in a folder.

    Raises:
        DataError: there is none.
        UsageError: there are several.
    """
    path = Path(path)
    if path.is_file():
        return path
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; `leukonca data get bloodmnist` fetches it")
    found = sorted(path.glob(PATTERN))
    if not found:
        raise DataError(f"{path}: holds no {PATTERN}; `leukonca data get bloodmnist` fetches it")
    if len(found) > 1:
        raise UsageError(f"{path}: holds {', '.join(file.name for file in found)}; name one of these files")
    return found[0]


def is_archive(path: Path) -> bool:
    """Whether a path looks like BloodMNIST: a file ``.npz``, or a folder with one of its files."""
    path = Path(path)
    return (path.is_file() and path.suffix.lower() == ".npz") or (path.is_dir() and any(path.glob(PATTERN)))


def list_archive(file: Path, labels: Sequence[str]) -> tuple[str, ...]:
    """One path an image, ``PART/NUMBER LABEL`` as in ``train/00017 immature granulocytes``, sorted.

    Args:
        file: the ``.npz``.
        labels: names of the labels, in the order of their numbers.

    Raises:
        DataError: missing, damaged, or not of BloodMNIST's layout; the message says what is wrong with it.
    """
    paths = []
    with _opened(file) as archive:
        for part in PARTS:
            numbers = _labels(file, archive, part)
            with archive.open(f"{part}_images.npy") as stored:
                shape = _image_shape(file, part, stored)
            if shape[0] != len(numbers):
                raise _strange(file, f"{shape[0]} images and {len(numbers)} labels of part {part}")
            if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(labels):
                raise _strange(file, f"labels of part {part} from {numbers.min()} to {numbers.max()}")
            paths += [f"{part}/{i:05} {labels[number]}" for i, number in enumerate(numbers.tolist())]
    if not paths:
        raise DataError(f"{file}: holds no image")
    return tuple(paths)


def read_archive(
    file: Path, preprocessing: Preprocessing, image_um: float | None, *, count: int, label: str, quiet: bool = False
) -> Iterator[Decoded]:
    """Crop and resize all images, in the order of `list_archive`, behind a progress bar.

    Args:
        file: the ``.npz``.
        preprocessing: field and size of the squares.
        image_um: what a side of an image shows, um.
        count: how many there are.
        label: words beside the bar.
        quiet: no bar.

    Yields:
        Each square, with the SHA-256 of the pixels it was made of.

    Raises:
        DataError: see `list_archive`.
    """
    for pixels in track(_images(file), label, count, quiet=quiet):
        yield Decoded(preprocess(pixels, preprocessing, image_um), hashlib.sha256(pixels.tobytes()).hexdigest())


def _images(file: Path) -> Iterator[NDArray[np.uint8]]:
    """Every image, uint8 [side, side, 3]; one at a time, as a file of 224 pixels holds 2.6 GB."""
    with _opened(file) as archive:
        for part in PARTS:
            with archive.open(f"{part}_images.npy") as stored:
                count, *shape = _image_shape(file, part, stored)
                size = int(np.prod(shape))
                for _ in range(count):
                    pixels = stored.read(size)
                    if len(pixels) != size:
                        raise _strange(file, f"part {part} is cut off")
                    yield np.frombuffer(pixels, dtype=np.uint8).reshape(shape)


@contextmanager
def _opened(file: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except KeyError as error:
        raise _strange(file, f"{error.args[0] if error.args else error}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise _strange(file, str(error)) from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error})") from error


def _header(file: Path, what: str, stored: IO[bytes]) -> tuple[Shape, np.dtype[Any]]:
    """Shape and type of a stored array; nothing is unpickled, whatever the header says."""
    version = np.lib.format.read_magic(stored)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, columns_first, kind = read(stored)
    if columns_first or kind.hasobject:
        raise _strange(file, f"{what} are stored in another way")
    return shape, kind


def _image_shape(file: Path, part: str, stored: IO[bytes]) -> Shape:
    shape, kind = _header(file, f"images of part {part}", stored)
    fits = len(shape) == 4 and shape[0] <= MOST_IMAGES and shape[1] == shape[2] in SIDES and shape[3] == 3
    if kind != np.uint8 or not fits:
        raise _strange(file, f"images of part {part} are {kind} {list(shape)}, not uint8 [N, side, side, 3]")
    return shape


def _labels(file: Path, archive: zipfile.ZipFile, part: str) -> NDArray[np.int64]:
    """The labels of a part, int64 [N]."""
    with archive.open(f"{part}_labels.npy") as stored:
        shape, kind = _header(file, f"labels of part {part}", stored)
        if not np.issubdtype(kind, np.integer) or shape not in ((shape[0], 1), (shape[0],)) or shape[0] > MOST_IMAGES:
            raise _strange(file, f"labels of part {part} are {kind} {list(shape)}, not integers [N, 1]")
        stated = stored.read(shape[0] * kind.itemsize)
    if len(stated) != shape[0] * kind.itemsize:
        raise _strange(file, f"labels of part {part} are cut off")
    return np.frombuffer(stated, dtype=kind).astype(np.int64)


def _strange(file: Path, fact: str) -> DataError:
    return DataError(f"{file}: not a whole file of BloodMNIST ({fact}); `leukonca data get bloodmnist` fetches it")
