import io
import os
import struct
import threading
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from leukonca.data.images import read_image
from leukonca.errors import DataError

HEIGHT, WIDTH = 24, 32
RNG = np.random.default_rng(7)
COLOR = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
GREY16 = RNG.integers(0, 65536, (HEIGHT, WIDTH), dtype=np.uint16)
COLOR16 = RNG.integers(0, 65536, (HEIGHT, WIDTH, 3), dtype=np.uint16)
SMOOTH = np.stack(np.broadcast_arrays(np.arange(60, 60 + 4 * WIDTH, 4), np.arange(HEIGHT)[:, None] * 5, 90), -1)
SMOOTH = SMOOTH.astype(np.uint8)


def gray(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None].astype(np.uint8), 3, axis=2)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(rows: np.ndarray, color_type: int, depth: int, *, size: tuple[int, int] | None = None) -> bytes:
    """A PNG from the standard's description (ISO 15948), so that nothing here depends on Pillow's writer."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    width, height = size or rows.shape[1::-1]
    raw = b"".join(b"\0" + row.astype(f">u{depth // 8}").tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def tiff(values: np.ndarray, photometric: int, *, order: str = "<", planes: int = 1) -> bytes:
    """An uncompressed TIFF of one strip (or one a plane) from the TIFF 6.0 description."""
    samples = 1 if values.ndim == 2 else values.shape[2]
    stored = values.transpose(2, 0, 1) if planes == 2 else values
    data = stored.astype(values.dtype.newbyteorder(order)).tobytes()
    count = samples if planes == 2 else 1
    each = len(data) // count
    sample_format = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    tags = {
        256: (4, [values.shape[1]]),
        257: (4, [values.shape[0]]),
        258: (3, [8 * values.itemsize] * samples),
        259: (3, [1]),
        262: (3, [photometric]),
        273: (4, [8 + i * each for i in range(count)]),
        277: (3, [samples]),
        278: (4, [values.shape[0]]),
        279: (4, [each] * count),
        284: (3, [planes]),
        339: (3, [sample_format] * samples),
    }
    directory = 8 + len(data)
    beyond = directory + 2 + 12 * len(tags) + 4
    entries = more = b""
    for tag, (kind, numbers) in tags.items():
        raw = b"".join(struct.pack(order + ("H" if kind == 3 else "I"), number) for number in numbers)
        if len(raw) > 4:
            raw, more = struct.pack(order + "I", beyond + len(more)), more + raw
        entries += struct.pack(order + "HHI", tag, kind, len(numbers)) + raw.ljust(4, b"\0")
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", directory)
    return start + data + struct.pack(order + "H", len(tags)) + entries + bytes(4) + more


def on_white(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255.0
    return np.rint(color * share + 255 * (1 - share))


def from_ink(inks: np.ndarray) -> np.ndarray:
    return (255.0 - inks[..., :3]) * (255.0 - inks[..., 3:]) / 255.0


PALETTE = RNG.integers(0, 256, (4, 3), dtype=np.uint8)
INDICES = RNG.integers(0, 4, (HEIGHT, WIDTH), dtype=np.uint8)


def paletted() -> Image.Image:
    image = Image.fromarray(INDICES).convert("P")
    image.putdata(INDICES.ravel().tolist())
    image.putpalette(PALETTE.ravel().tolist())
    return image


def paletted_on_white() -> np.ndarray:
    return np.where((INDICES == 2)[..., None], 255, PALETTE[INDICES])


RGBA = np.dstack([COLOR, GREY])
OPAQUE = np.dstack([COLOR, np.full_like(GREY, 255)])
INKS = np.dstack([SMOOTH, np.full_like(GREY, 40)])
BITS = GREY > 127
UNIT = RNG.random((HEIGHT, WIDTH), dtype=np.float32)

GOOD: dict[str, tuple[bytes, np.ndarray, int]] = {
    "rgb png": (png(COLOR.reshape(HEIGHT, -1), 2, 8, size=(WIDTH, HEIGHT)), COLOR, 0),
    "rgb bmp": (encoded(Image.fromarray(COLOR), "BMP"), COLOR, 0),
    "rgb tiff in planes": (tiff(COLOR, 2, planes=2), COLOR, 0),
    "smooth jpeg": (encoded(Image.fromarray(SMOOTH), "JPEG", quality=98, subsampling=0), SMOOTH, 4),
    "lossless webp": (encoded(Image.fromarray(COLOR), "WEBP", lossless=True), COLOR, 0),
    "grey png": (png(GREY, 0, 8), gray(GREY), 0),
    "grey tiff, white is zero": (tiff(GREY, 0), gray(255 - GREY), 0),
    "one bit": (encoded(Image.fromarray(BITS), "PNG"), gray(255 * BITS), 0),
    "rgba tiff as Matek-19": (encoded(Image.fromarray(OPAQUE), "TIFF"), COLOR, 0),
    "rgba png": (encoded(Image.fromarray(RGBA), "PNG"), on_white(COLOR, GREY), 1),
    "grey and alpha": (encoded(Image.fromarray(RGBA[..., 2:]), "PNG"), on_white(gray(COLOR[..., 2]), GREY), 1),
    "palette": (encoded(paletted(), "PNG"), PALETTE[INDICES], 0),
    "palette with a transparent entry": (encoded(paletted(), "PNG", transparency=2), paletted_on_white(), 0),
    "gif with a transparent entry": (encoded(paletted(), "GIF", transparency=2), paletted_on_white(), 0),
    "cmyk tiff": (encoded(Image.fromarray(INKS, "CMYK"), "TIFF"), from_ink(INKS), 2),
    "cmyk jpeg": (encoded(Image.fromarray(INKS, "CMYK"), "JPEG", quality=98, subsampling=0), from_ink(INKS), 6),
    "16-bit grey png": (png(GREY16, 0, 16), gray(GREY16 >> 8), 0),
    "16-bit grey tiff": (tiff(GREY16, 1), gray(GREY16 >> 8), 0),
    "16-bit grey tiff, big end first": (tiff(GREY16, 1, order=">"), gray(GREY16 >> 8), 0),
    "16-bit grey tiff, white is zero": (tiff(GREY16, 0), gray(255 - (GREY16 >> 8)), 0),
    "16-bit grey pgm": (b"P5 %d %d 65535\n" % (WIDTH, HEIGHT) + GREY16.astype(">u2").tobytes(), gray(GREY16 >> 8), 0),
    "8-bit values in a 16-bit file": (tiff(GREY.astype(np.uint16), 1), gray(GREY), 0),
    "12-bit values in a 16-bit file": (tiff(GREY16 >> 4, 1), gray(GREY16 >> 12), 0),
    "16-bit rgb png": (png(COLOR16.reshape(HEIGHT, -1), 2, 16, size=(WIDTH, HEIGHT)), COLOR16 >> 8, 0),
    "16-bit rgb tiff": (tiff(COLOR16, 2), COLOR16 >> 8, 0),
    "16-bit rgb tiff, big end first": (tiff(COLOR16, 2, order=">"), COLOR16 >> 8, 0),
    "float tiff 0..1": (tiff(UNIT, 1), gray(np.rint(UNIT * 255)), 0),
    "float tiff 0..255": (tiff(UNIT * 255, 1), gray(np.rint(UNIT * 255)), 0),
    "32-bit tiff of 16-bit values": (tiff(GREY16.astype(np.int32), 1), gray(GREY16 >> 8), 0),
    "animated gif": (
        encoded(paletted(), "GIF", save_all=True, append_images=[Image.new("L", (WIDTH, HEIGHT), 9)], duration=50),
        PALETTE[INDICES],
        0,
    ),
    "tiff of several pages": (
        encoded(Image.fromarray(COLOR), "TIFF", save_all=True, append_images=[Image.fromarray(GREY)]),
        COLOR,
        0,
    ),
}


@pytest.mark.parametrize("kind", GOOD)
def test_pixels_are_those_that_were_written(kind: str, tmp_path: Path) -> None:
    data, expected, tolerance = GOOD[kind]
    path = tmp_path / "cell"
    path.write_bytes(data)
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_allclose(image.astype(float), expected, rtol=0, atol=tolerance)


# What must be done to the stored pixels for each value of the EXIF tag (EXIF 2.32, tag 274).
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
def test_exif_rotation_is_applied(kind: str, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / "cell"
    path.write_bytes(encoded(Image.fromarray(SMOOTH), kind, exif=exif, **({"quality": 98} if kind == "JPEG" else {})))
    upright = UPRIGHT[orientation](SMOOTH).astype(float)
    np.testing.assert_allclose(read_image(path).astype(float), upright, rtol=0, atol=8 if kind == "JPEG" else 0)


@pytest.mark.parametrize(
    "block", [b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0"]
)
def test_a_broken_exif_block_does_not_cost_the_pixels(block: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cell.jpg"
    path.write_bytes(encoded(Image.fromarray(SMOOTH), "JPEG", quality=98, subsampling=0, exif=block))
    np.testing.assert_allclose(read_image(path).astype(float), SMOOTH, rtol=0, atol=4)


def test_real_cells_are_as_pillow_alone_shows_them(shared_data: Path) -> None:
    folders = ("acevedo20-originals/basophil", "jtsc/monocyte", "bccd/basophil")
    paths = [sorted((shared_data / folder).iterdir())[0] for folder in folders]
    for path in paths:
        with Image.open(path) as image:
            np.testing.assert_array_equal(read_image(path), np.asarray(image.convert("RGB")))


JPEG = encoded(Image.fromarray(COLOR), "JPEG")
BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "text": (b"not a cell at all\n" * 50, "not an image"),
    "html": (b"<!doctype html><html><body>404</body></html>", "not an image"),
    "half a jpeg": (JPEG[: len(JPEG) // 2], "truncated"),
    "half a jpeg, padded with zeros": (JPEG[: len(JPEG) // 2].ljust(len(JPEG), b"\0"), "no end marker"),
    "half a png": (GOOD["rgb png"][0][:900], "truncated"),
    "half a tiff": (GOOD["rgba tiff as Matek-19"][0][:900], "truncated|not an image"),
    "a png with a wrong checksum": (GOOD["grey png"][0].replace(b"IDAT", b"IDAT\xff", 1), "damaged|not an image"),
    "one pixel": (png(GREY[:1, :1], 0, 8), "1 x 1 pixels; a cell needs at least 8"),
    "seven pixels high": (png(GREY[:7], 0, 8), "32 x 7 pixels"),
    "a strip": (png(np.zeros((4000, 8), np.uint8), 0, 8), "8 x 4000 pixels are a strip"),
    "a bomb": (png(GREY, 0, 8, size=(50_000, 50_000)), "too many pixels"),
    "a smaller bomb": (png(GREY, 0, 8, size=(9_000, 9_000)), "9000 x 9000 pixels are too many"),
    "negative values": (tiff(GREY.astype(np.int32) - 300, 1), "no known scale"),
    "values of 32 bits": (tiff(GREY16.astype(np.int32) * 1000, 1), "no known scale"),
    "floats of any size": (tiff(UNIT * 4000, 1), "no known scale"),
    "not a number": (tiff(np.where(UNIT > 0.9, np.float32("nan"), UNIT), 1), "no known scale"),
    "16-bit planes, which Pillow garbles": (tiff(COLOR16, 2, planes=2), "separate planes"),
    "lab colors": (encoded(Image.fromarray(COLOR, "LAB"), "TIFF"), "LAB"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 24\n%%EndComments\nshowpage\n", "EPS"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_say_what_is_wrong(kind: str, tmp_path: Path) -> None:
    data, reason = BAD[kind]
    path = tmp_path / "cell.jpg"
    path.write_bytes(data)
    with pytest.raises(DataError, match=reason) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).count(str(path)) == 1


def test_what_is_no_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "good.png").write_bytes(GOOD["grey png"][0])
    for name, reason in {
        "folder.jpg": "a folder",
        "broken.jpg": "a link to a file that is gone",
        "loop.jpg": "cannot be read",
        "pipe.jpg": "not a regular file",
        "missing.jpg": "no such file",
        "good.png/cell.jpg": "cannot be read",
        "x" * 300: "cannot be read",
        "nul\0.jpg": "null",
    }.items():
        with pytest.raises(DataError, match=reason):
            read_image(tmp_path / name)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(np.zeros((8000, 9000), np.uint8), 0, 8))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="too many"):
            read_image(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


CUTTABLE = {
    "jpeg": JPEG,
    "progressive jpeg": encoded(Image.fromarray(COLOR), "JPEG", progressive=True),
    "png": GOOD["rgb png"][0],
    "tiff": GOOD["16-bit rgb tiff"][0],
    "lzw tiff": encoded(Image.fromarray(COLOR), "TIFF", compression="tiff_lzw"),
    "bmp": GOOD["rgb bmp"][0],
    "gif": GOOD["gif with a transparent entry"][0],
    "webp": GOOD["lossless webp"][0],
}


@pytest.mark.parametrize("kind", CUTTABLE)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_refused_or_whole(kind: str, share: float, tmp_path: Path) -> None:
    data, path = CUTTABLE[kind], tmp_path / "cell"
    path.write_bytes(data)
    whole = read_image(path)
    path.write_bytes(data[: int(share * len(data))])
    try:
        cut = read_image(path)
    except DataError:
        return
    np.testing.assert_array_equal(cut, whole)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(sorted(CUTTABLE)),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damaged_bytes_give_an_image_or_a_data_error(
    kind: str, changes: list[tuple[float, int]], tmp_path: Path
) -> None:
    data = bytearray(CUTTABLE[kind])
    for share, value in changes:
        data[int(share * len(data))] = value
    path = tmp_path / "cell"
    path.write_bytes(data)
    try:
        image = read_image(path)
    except DataError:
        return
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3


def test_reading_in_many_threads_leaves_the_warning_filters_alone(tmp_path: Path) -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0" + struct.pack("<HHII", 282, 5, 1, 99_999) * 2
    path = tmp_path / "cell.jpg"
    path.write_bytes(encoded(Image.fromarray(COLOR), "JPEG", exif=exif))
    with pytest.warns(UserWarning, match="Truncated"), Image.open(path) as image:  # the file does make Pillow remark
        image.getexif()
    before = list(warnings.filters)
    failures: list[Exception] = []

    def read_often() -> None:
        try:
            for _ in range(30):
                read_image(path)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=read_often) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert list(warnings.filters) == before
