import io
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from leukonca.data import images
from leukonca.data.images import read_image
from leukonca.errors import DataError


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)


def save(path: Path, array: np.ndarray, mode: str | None = None, **options: object) -> Path:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm"])
def test_lossless_formats_come_back_as_written(tmp_path, picture, suffix):
    read = read_image(save(tmp_path / f"a.{suffix}", picture))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, picture)


def test_real_jpeg_decodes_as_pillow_decodes_it(shared_data):
    path = next((shared_data / "acevedo20-originals" / "basophil").glob("*.jpg"))
    read = read_image(path)
    assert read.shape == (363, 360, 3)
    np.testing.assert_array_equal(read, np.asarray(Image.open(path)))


def test_greyscale_has_three_equal_channels(tmp_path, picture):
    read = read_image(save(tmp_path / "a.png", picture[..., 0]))
    np.testing.assert_array_equal(read, np.repeat(picture[..., :1], 3, axis=2))


@pytest.mark.parametrize("suffix", ["png", "gif", "bmp"])
def test_palette(tmp_path, picture, suffix):
    colors = picture.reshape(-1, 3)[:4]
    indices = picture[..., 0] % 4
    image = Image.new("P", (17, 12))
    image.putpalette(colors.ravel().tolist())
    image.frombytes(indices.tobytes())
    image.save(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(read_image(tmp_path / f"a.{suffix}"), colors[indices])


def test_sixteen_bit_keeps_the_high_byte(tmp_path):
    values = np.arange(16 * 16, dtype=np.uint16).reshape(16, 16) * 257
    read = read_image(save(tmp_path / "a.png", values))
    np.testing.assert_array_equal(read[..., 0], values >> 8)


def test_float_tiff_from_zero_to_one(tmp_path):
    values = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.tif", values))[..., 1].ravel(), np.arange(256))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_transparency_lies_on_white(tmp_path, picture, suffix):
    alpha = np.full(picture.shape[:2], 128, np.uint8)
    alpha[:6] = 0
    alpha[9:] = 255
    read = read_image(save(tmp_path / f"a.{suffix}", np.dstack([picture, alpha])))
    share = alpha[..., None] / 255
    wanted = picture * share + 255 * (1 - share)
    np.testing.assert_allclose(read, wanted, atol=1)
    assert (read[:6] == 255).all()


def test_cmyk(tmp_path):
    red = np.full((16, 16, 3), (200, 30, 60), np.uint8)
    read = read_image(save(tmp_path / "a.tif", red, "CMYK"))
    np.testing.assert_allclose(read, red, atol=2)


def test_exif_rotation_is_applied(tmp_path, picture):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    read = read_image(save(tmp_path / "a.png", picture, exif=exif))
    np.testing.assert_array_equal(read, np.rot90(picture, -1))


def test_first_frame_counts(tmp_path, picture):
    second = Image.fromarray(255 - picture)
    Image.fromarray(picture).save(tmp_path / "a.tif", save_all=True, append_images=[second])
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), picture)


def test_bad_files_say_what_is_wrong(tmp_path, picture, shared_data):
    cell = next((shared_data / "acevedo20").glob("*/*.jpg")).read_bytes()
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "cut.jpg").write_bytes(cell[: len(cell) // 2])
    (tmp_path / "folder.jpg").mkdir()
    save(tmp_path / "tiny.png", picture[:1, :1])
    Image.new("L", (8001, 8000)).save(tmp_path / "large.png")
    Image.new("1", (20000, 20000)).save(tmp_path / "bomb.png")
    for name, fact in {
        "empty.jpg": "the file is empty",
        "text.jpg": "not an image",
        "cut.jpg": "damaged or truncated",
        "folder.jpg": "a folder",
        "tiny.png": "1 x 1 pixels",
        "large.png": "8001 x 8000 pixels",
        "bomb.png": "cell",
        "missing.png": "no such file",
    }.items():
        with pytest.raises(DataError, match=fact) as caught:
            read_image(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_files_are_read_or_refused(tmp_path_factory, data):
    kind = data.draw(st.sampled_from(["png", "jpeg", "tiff", "gif", "bmp", "webp"]))
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (10, 11, 3), dtype=np.uint8)).save(buffer, kind)
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        read = read_image(path)
    except DataError:
        return
    assert read.dtype == np.uint8
    assert read.ndim == 3
    assert read.shape[2] == 3


def test_overlapping_threads_leave_the_warning_filters_alone(tmp_path, picture, monkeypatch):
    path = save(tmp_path / "a.png", picture)
    both_inside, decode = threading.Barrier(2), images._to_rgb

    def noisy(image: Image.Image) -> np.ndarray:
        both_inside.wait(timeout=300)
        warnings.warn_explicit("an odd file", UserWarning, "Plugin.py", 1, module="PIL.Plugin")
        return decode(image)

    monkeypatch.setattr(images, "_to_rgb", noisy)
    before, failures = list(warnings.filters), []

    def work() -> None:
        for _ in range(20):
            try:
                read_image(path)
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert warnings.filters == before
