from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leukonca.data.preprocessing import Preprocessing
from leukonca.data.synthetic import SYNTHETIC_CENTERS, SYNTHETIC_IMAGE_UM, synthetic_cells, write_synthetic
from leukonca.errors import DataError, UsageError
from leukonca.explain.masks import MaskFolder, check_mask, cut_mask


def disc(side: int = 12) -> np.ndarray:
    mask = np.zeros((side, side), np.uint8)
    mask[3:9, 3:9] = 128
    mask[4:7, 4:7] = 255
    return mask


def test_masks_are_found_by_name_and_by_folder(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "cells", SYNTHETIC_CENTERS[0], 2, seed=1, quiet=True)
    masks = MaskFolder(tmp_path / "cells-masks")
    for name in ("monocyte", "basophil"):
        image = tmp_path / "cells" / name / "synthetic_0001.png"
        assert masks.find(image) == tmp_path / "cells-masks" / name / "synthetic_0001.png"
        assert set(np.unique(masks.read(image, np.zeros((96, 96, 3), np.uint8)))) == {0, 128, 255}
    with pytest.raises(DataError, match="13 masks fit equally well"):
        masks.find(Path("elsewhere/synthetic_0001.png"))
    with pytest.raises(DataError, match="no mask of that name"):
        masks.find(Path("monocyte/other.png"))


def test_the_cut_is_that_of_the_images() -> None:
    """Against the masks that the synthetic cells bring themselves."""
    settings = Preprocessing(grid=24, margin=0, field_um=18.0)
    center = SYNTHETIC_CENTERS[0]
    from leukonca.data.synthetic import draw_cell

    _, masks = synthetic_cells(center, 1, 5, settings, quiet=True)
    _, whole = draw_cell(center, "basophil", 0, 5)
    assert (cut_mask(whole, settings, SYNTHETIC_IMAGE_UM[center]) == masks[0]).all()


def test_beyond_the_image_there_is_no_cell() -> None:
    mask = np.full((20, 20), 255, np.uint8)
    mask[:, :2] = 128
    settings = Preprocessing(grid=40, field_um=20.0, beyond="background")
    cut = cut_mask(mask, settings, 10.0)
    assert (cut[10:30, 10:30] == mask).all()
    cut[10:30, 10:30] = 0
    assert not cut.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m[:, :-1], "the mask is 11 x 12 pixels, the image 12 x 12"),
        (lambda m: np.where(m == 128, 127, m).astype(np.uint8), "holds the values 127; expected 255 nucleus"),
        (lambda m: m * 0, "empty"),
        (lambda m: np.stack([m, m, m // 2], axis=2), "a colored mask"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(change: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_mask(change(disc()), (12, 12), name="m.png")
    assert check_mask(np.stack([disc()] * 3, axis=2), (12, 12), name="m.png").shape == (12, 12)


def test_a_folder_without_masks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a folder"):
        MaskFolder(tmp_path / "none")
    with pytest.raises(UsageError, match="holds no mask"):
        MaskFolder(tmp_path)
    (tmp_path / "cell.jpg").touch()
    Image.fromarray(disc()).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="the file is empty"):
        MaskFolder(tmp_path).read(Path("cell.png"), np.zeros((12, 12, 3), np.uint8))
    with pytest.raises(DataError, match="is 12 x 12 pixels, the image 11 x 11"):
        MaskFolder(tmp_path).read(Path("x/a.jpg"), np.zeros((11, 11, 3), np.uint8))
