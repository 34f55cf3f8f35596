import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, spatial
from sklearn.ensemble import RandomForestClassifier

from leukonca.data.cells import load_cells
from leukonca.data.preprocessing import Preprocessing, preprocess
from leukonca.data.synthetic import (
    SYNTHETIC_CENTERS,
    SYNTHETIC_IMAGE_UM,
    draw_cell,
    synthetic_cells,
    write_synthetic,
)
from leukonca.data.synthetic.anatomy import ANATOMY
from leukonca.data.synthetic.fields import Canvas, chain, ellipse
from leukonca.data.synthetic.optics import CENTERS
from leukonca.errors import UsageError
from leukonca.taxonomy import CLASSES

FIRST = SYNTHETIC_CENTERS[0]
SMALL = Preprocessing(grid=32, field_um=22.0)


@cache
def drawn(center: str, cell_class: str, count: int = 10) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    images, masks = zip(*(draw_cell(center, cell_class, index, seed=7) for index in range(count)), strict=True)
    return np.stack(images), np.stack(masks)


def solidity(mask: NDArray[np.bool_]) -> float:
    """Area by that of the convex hull: 1 for a disc, less for what is bent or lobed."""
    points = np.argwhere(mask)
    corners = np.concatenate([points + step for step in ([0, 0], [0, 1], [1, 0], [1, 1])])
    return float(mask.sum() / spatial.ConvexHull(corners).volume)


def test_a_cell_is_a_pure_function_of_center_class_index_and_seed() -> None:
    image, mask = draw_cell(FIRST, "monocyte", 3, 5)
    assert (image.dtype, image.shape, mask.dtype, mask.shape) == (np.uint8, (96, 96, 3), np.uint8, (96, 96))
    draw_cell(FIRST, "basophil", 0, 1)
    again = draw_cell(FIRST, "monocyte", 3, 5)
    assert (again[0] == image).all()
    assert (again[1] == mask).all()
    for other in (
        (SYNTHETIC_CENTERS[1], "monocyte", 3, 5),
        (FIRST, "myelocyte", 3, 5),
        (FIRST, "monocyte", 4, 5),
        (FIRST, "monocyte", 3, 6),
    ):
        assert (draw_cell(*other)[1] != mask).any()


def test_every_class_has_an_anatomy() -> None:
    assert set(ANATOMY) == set(CLASSES)
    for anatomy in ANATOMY.values():
        assert sum(weight for _, weight in anatomy.nuclei) == pytest.approx(1)


@pytest.mark.parametrize("center", SYNTHETIC_CENTERS)
@pytest.mark.parametrize("cell_class", CLASSES)
def test_cells_are_whole_central_and_of_their_size(center: str, cell_class: str) -> None:
    _, masks = drawn(center, cell_class)
    um = SYNTHETIC_IMAGE_UM[center] / 96
    diameters = []
    for mask in masks:
        assert set(np.unique(mask)) <= {0, 128, 255}
        cell = mask > 0
        assert not cell[[0, -1]].any()
        assert not cell[:, [0, -1]].any()
        middle = np.array(ndimage.center_of_mass(cell)) - 47.5
        assert np.hypot(*middle) * um < 3.5
        assert (mask == 255).sum() > 0.08 * cell.sum()
        diameters.append(2 * np.sqrt(cell.sum() / np.pi) * um)
    low, high = sorted(ANATOMY[cell_class].diameter_um)
    assert 0.85 * low < np.mean(diameters) < 1.12 * high
    assert np.std(diameters) > 0.3


@pytest.mark.parametrize("center", SYNTHETIC_CENTERS)
@pytest.mark.parametrize("cell_class", [name for name in CLASSES if name not in ("smudge_cell", "basophil")])
def test_the_mask_lies_on_the_cell(center: str, cell_class: str) -> None:
    images, masks = drawn(center, cell_class)
    green = images[..., 1].astype(float)
    far = np.stack([ndimage.distance_transform_edt(mask == 0) > 6 for mask in masks])
    nucleus, cytoplasm, field = (np.median(green[where]) for where in (masks == 255, masks == 128, far))
    assert nucleus + 10 < cytoplasm < field - 5
    # Next to blue cytoplasm green tells the nucleus best, next to eosin's granules red does.
    for image, mask in zip(images, masks, strict=True):
        edge = ndimage.binary_dilation(mask == 255, iterations=2) & (mask == 128)
        inner = ndimage.binary_erosion(mask == 255, iterations=2)
        if edge.sum() > 20 and inner.sum() > 20:
            assert (image[edge].mean(axis=0) - image[inner].mean(axis=0)).max() > 3


def test_nuclei_have_the_shape_of_their_class() -> None:
    shape = {
        name: np.mean([solidity(mask == 255) for mask in drawn(FIRST, name)[1]])
        for name in ("myeloblast", "metamyelocyte", "neutrophil_banded", "neutrophil_segmented")
    }
    assert shape["myeloblast"] > shape["metamyelocyte"] + 0.03 > shape["neutrophil_banded"] + 0.1
    assert shape["neutrophil_segmented"] < 0.85

    def parts(name: str) -> float:
        """How many pieces are left when everything thinner than 1.4 um is gone."""
        masks = drawn(FIRST, name)[1] == 255
        deep = [ndimage.distance_transform_edt(mask) * 30 / 96 > 0.7 for mask in masks]
        return float(np.mean([ndimage.label(piece)[1] for piece in deep]))

    assert parts("neutrophil_banded") < 1.4
    assert 2 < parts("neutrophil_segmented") < 4.5
    assert parts("lymphocyte_typical") == 1


def test_nucleus_to_cytoplasm_ratio_orders_the_classes() -> None:
    share = {
        name: np.mean([(mask == 255).sum() / (mask > 0).sum() for mask in drawn(FIRST, name)[1]])
        for name in ("lymphocyte_typical", "myeloblast", "myelocyte", "lymphocyte_atypical", "neutrophil_segmented")
    }
    assert share["lymphocyte_typical"] > 0.6
    assert share["myeloblast"] > share["myelocyte"] + 0.1
    assert share["lymphocyte_typical"] > share["lymphocyte_atypical"] + 0.15
    assert share["neutrophil_segmented"] < 0.45
    assert (drawn(FIRST, "smudge_cell")[1] != 128).all()


@pytest.mark.parametrize("center", SYNTHETIC_CENTERS)
def test_cytoplasm_has_the_color_of_its_class(center: str) -> None:
    def tint(name: str) -> NDArray[np.float64]:
        images, masks = drawn(center, name)
        return images[masks == 128].mean(axis=0)

    eosinophil, neutrophil, lymphocyte = map(tint, ("eosinophil", "neutrophil_segmented", "lymphocyte_typical"))
    assert eosinophil[0] - eosinophil[1] > neutrophil[0] - neutrophil[1] + 5
    assert lymphocyte[2] - lymphocyte[0] > neutrophil[2] - neutrophil[0] + 15
    assert tint("promyelocyte").sum() < tint("monocyte").sum()
    assert granularity("basophil", center) > 1.3 * granularity("neutrophil_segmented", center)


def granularity(name: str, center: str) -> float:
    """Spread of red over a cell's cytoplasm, away from its edges; averaged over cells."""
    images, masks = drawn(center, name)
    bodies = [ndimage.binary_erosion(mask == 128) for mask in masks]
    return float(np.mean([image[body, 0].std() for image, body in zip(images, bodies, strict=True) if body.sum() > 30]))


def test_centers_differ_in_scale_background_and_sharpness() -> None:
    assert len(SYNTHETIC_CENTERS) == len(set(SYNTHETIC_IMAGE_UM.values())) == 3
    sharpness = {}
    for center in SYNTHETIC_CENTERS:
        images, _ = drawn(center, "neutrophil_segmented")
        # Red cells only darken: a high quantile is the empty field.
        field = np.quantile(images.reshape(-1, 3), 0.8, axis=0) / 255
        np.testing.assert_allclose(field, CENTERS[center].background, atol=0.07)
        sharpness[center] = step_within(0.4, center) / step_within(1.2, center)
    assert sharpness["synthetic_lilac"] < sharpness["synthetic_cream"] - 0.1


def step_within(reach_um: float, center: str) -> float:
    """How much brighter it is `reach_um` outside the true edge of the nuclei than as far inside."""
    images, masks = drawn(center, "lymphocyte_atypical")
    pixel = SYNTHETIC_IMAGE_UM[center] / 96
    inside = np.stack([ndimage.distance_transform_edt(mask == 255) for mask in masks]) - 0.5
    outside = np.stack([ndimage.distance_transform_edt(mask != 255) for mask in masks]) - 0.5
    near = [np.abs(distance * pixel - reach_um) < 0.25 for distance in (inside, outside)]
    return float(images[near[1] & (masks == 128), 1].mean() - images[near[0], 1].mean())


def test_a_series_is_balanced_sorted_and_cut_as_real_images_are() -> None:
    cells, masks = synthetic_cells(FIRST, 2, 11, SMALL)
    assert cells.images.shape == (26, 32, 32, 3)
    assert masks.shape == (26, 32, 32)
    assert (cells.images.dtype, masks.dtype, cells.labels.dtype, cells.groups.dtype) == (
        np.uint8,
        np.uint8,
        np.int64,
        np.int64,
    )
    assert not cells.images.flags.writeable
    assert list(cells.paths) == sorted(cells.paths)
    assert [CLASSES[label] for label in cells.labels] == [path.split("/")[0] for path in cells.paths]
    assert (np.bincount(cells.labels) == 2).all()
    assert len(set(cells.groups)) == 26
    assert (cells.center, cells.image_um, cells.preprocessing) == (FIRST, 30.0, SMALL)
    image, mask = draw_cell(FIRST, CLASSES[cells.labels[5]], 1, 11)
    assert (cells.images[5] == preprocess(image, SMALL, 30.0)).all()
    middle = 96 * (np.arange(32) + 0.5) / 32 * 22 / 30 + 96 * (1 - 22 / 30) / 2  # where each pixel looks
    nearest = mask[np.ix_(middle.astype(int), middle.astype(int))]
    assert (masks[5] == nearest).mean() > 0.95
    whole, native = synthetic_cells(FIRST, 1, 11, Preprocessing(grid=96))
    image, mask = draw_cell(FIRST, CLASSES[whole.labels[4]], 0, 11)
    assert (native[4] == mask).all()
    assert (whole.images[4] == image).all()


def test_the_fingerprint_follows_every_argument() -> None:
    calls = [
        (FIRST, 1, 0, SMALL),
        (SYNTHETIC_CENTERS[2], 1, 0, SMALL),
        (FIRST, 2, 0, SMALL),
        (FIRST, 1, 1, SMALL),
        (FIRST, 1, 0, Preprocessing(grid=32, field_um=20.0)),
        (FIRST, 1, 0, SMALL),
    ]
    prints = [synthetic_cells(*call)[0].fingerprint for call in calls]
    assert len(set(prints)) == 5
    assert prints[0] == prints[-1]
    assert all(len(digits) == 64 for digits in prints)


def test_written_files_hold_what_is_drawn_and_load_as_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "cells"
    center = SYNTHETIC_CENTERS[2]
    write_synthetic(folder, center, 2, 4)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    beside = sorted(path.relative_to(tmp_path / "cells-masks").as_posix() for path in tmp_path.rglob("cells-masks/*/*"))
    cells, _ = synthetic_cells(center, 2, 4, SMALL)
    assert files == beside == list(cells.paths)
    some = tmp_path / "some"
    write_synthetic(some, center, 2, 4, classes=("smudge_cell", "basophil"))
    kept = [path for path in files if path.startswith(("basophil", "smudge_cell"))]
    assert sorted(path.relative_to(some).as_posix() for path in some.rglob("*.*")) == kept
    assert all((some / path).read_bytes() == (folder / path).read_bytes() for path in kept)
    for path in (files[0], files[9], files[-1]):
        cell_class, index = path.split("/")[0], int(path[-5])
        image, mask = draw_cell(center, cell_class, index, 4)
        with Image.open(folder / path) as file:
            assert file.format == "PNG"
            assert "synthetic" in file.info["Description"]
            assert (np.asarray(file) == image).all()
        with Image.open(tmp_path / "cells-masks" / path) as file:
            assert file.mode == "L"
            assert (np.asarray(file) == mask).all()
    loaded = load_cells("folder", folder, SMALL, image_um=SYNTHETIC_IMAGE_UM[center], quiet=True)
    assert loaded.paths == cells.paths
    assert (loaded.labels == cells.labels).all()
    assert (loaded.images == cells.images).all()


def features(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Color by distance from the middle, a histogram per channel, area and outline of what is dark."""
    x = images / 255
    at = np.arange(x.shape[1]) - (x.shape[1] - 1) / 2
    ring = np.minimum(np.hypot(at[:, None], at[None]) // 4, 4)
    columns = [x[:, ring == k].mean(axis=1) for k in range(5)] + [x[:, ring == k].std(axis=1) for k in range(5)]
    columns += [np.stack([np.histogram(cell, 8, (0, 1))[0] for cell in x[..., c]]) for c in range(3)]
    green = x[..., 1]
    dark = green < np.quantile(green, 0.9, axis=(1, 2), keepdims=True) / 2
    area = dark.sum(axis=(1, 2))
    outline = sum(np.diff(dark, axis=axis).sum(axis=(1, 2)) for axis in (1, 2))
    return np.column_stack([*columns, area, outline, outline**2 / (area + 1)])


def test_learnable_but_not_trivial_and_other_centers_are_really_other() -> None:
    train, _ = synthetic_cells(FIRST, 24, 1, SMALL)
    forest = RandomForestClassifier(150, random_state=0).fit(features(train.images), train.labels)
    scores = {}
    for center in SYNTHETIC_CENTERS:
        test, _ = synthetic_cells(center, 10, 2, SMALL)
        scores[center] = forest.score(features(test.images), test.labels)
    own = scores.pop(FIRST)
    assert 0.45 < own < 0.85, "chance is 0.08"
    assert all(score < own - 0.1 for score in scores.values())


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=FIRST):
        synthetic_cells("acevedo20", 1, 0, SMALL)
    with pytest.raises(UsageError, match="0 per class"):
        synthetic_cells(FIRST, 0, 0, SMALL)
    with pytest.raises(UsageError, match="synthetic cells of platelet: there are basophil"):
        write_synthetic(tmp_path / "new", FIRST, 1, 0, classes=("platelet",))
    with pytest.raises(UsageError, match="seed -1"):
        write_synthetic(tmp_path / "new", FIRST, 1, -1)
    with pytest.raises(UsageError, match="monocyte"):
        draw_cell(FIRST, "platelet", 0, 0)
    with pytest.raises(UsageError, match="index -1"):
        draw_cell(FIRST, "monocyte", -1, 0)
    (tmp_path / "mine.png").touch()
    for taken in (tmp_path, tmp_path / "mine.png"):
        with pytest.raises(UsageError, match="choose another"):
            write_synthetic(taken, FIRST, 1, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.png"]


def test_distance_fields_match_a_slow_computation() -> None:
    canvas = Canvas(pixels=40, um=20.0)
    at = (np.arange(40) - 19.5) / 2
    rng = np.random.default_rng(0)
    disc = ellipse(canvas, (1.0, -2.0), (4.0, 4.0), 0.3)
    exact = np.hypot(at[None, :] - 1.0, at[:, None] + 2.0) - 4.0
    np.testing.assert_allclose(disc, exact, atol=1e-5)
    assert canvas.coverage(disc).sum() * 0.25 == pytest.approx(np.pi * 16, rel=0.01)
    egg = ellipse(canvas, (0.0, 0.0), (6.0, 2.0), np.pi / 2) < 0  # long axis turned from x to y
    assert np.ptp(np.argwhere(egg), axis=0).tolist() == [23, 7]
    starts, ends, radii = rng.uniform(-4, 4, (3, 2)), rng.uniform(-4, 4, (3, 2)), rng.uniform(0.5, 1, (3, 2))
    rods = chain(canvas, starts, ends, radii)
    steps = np.linspace(0, 1, 2001)[:, None]
    for row, column in rng.integers(0, 40, (40, 2)):
        here = np.array([at[column], at[row]])
        best = []
        for start, end, radius in zip(starts, ends, radii, strict=True):
            distances = np.hypot(*(start + steps * (end - start) - here).T)
            nearest = distances.argmin()
            best.append(distances[nearest] - radius[0] - steps[nearest, 0] * (radius[1] - radius[0]))
        if min(best) < 1.2:
            assert rods[row, column] == pytest.approx(min(best), abs=0.01)
        else:
            assert rods[row, column] > 1.1


def test_windows_hold_the_pixels_within_reach() -> None:
    canvas = Canvas(pixels=40, um=20.0)
    at = (np.arange(40) - 19.5) / 2
    for place in ((0.0, 0.0), (9.0, -8.5), (-12.0, 3.0), (30.0, 0.0)):
        rows, columns = canvas.window(place, 3.0)
        assert at[columns].tolist() == at[np.abs(at - place[0]) <= 3].tolist()
        assert at[rows].tolist() == at[np.abs(at - place[1]) <= 3].tolist()


def test_drawing_needs_no_torch() -> None:
    code = "import sys, leukonca.data.synthetic; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
