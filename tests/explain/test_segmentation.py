import numpy as np
import pytest

from leukonca.data.synthetic import SYNTHETIC_CENTERS, draw_cell
from leukonca.errors import DataError
from leukonca.explain.segmentation import segment
from leukonca.taxonomy import CLASSES


@pytest.mark.parametrize("center", SYNTHETIC_CENTERS)
def test_it_finds_the_drawn_cells(center: str) -> None:
    overlaps = []
    for name in CLASSES:
        image, mask = draw_cell(center, name, 0, 1)
        found = segment(image)
        assert found.shape == mask.shape
        assert set(np.unique(found)) <= {0, 128, 255}
        overlaps.append(((found > 0) & (mask > 0)).sum() / ((found > 0) | (mask > 0)).sum())
    assert np.mean(overlaps) > 0.75


def test_a_larger_picture_gives_the_same_cell() -> None:
    image, _ = draw_cell(SYNTHETIC_CENTERS[1], "monocyte", 0, 1)
    large = segment(image.repeat(4, axis=0).repeat(4, axis=1)) > 0
    small = (segment(image) > 0).repeat(4, axis=0).repeat(4, axis=1)
    assert (large & small).sum() / (large | small).sum() > 0.9


def test_an_empty_field_is_refused() -> None:
    with pytest.raises(DataError, match="hardly any contrast"):
        segment(np.full((60, 60, 3), 220, np.uint8))
