import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leukonca.data import duplicates
from leukonca.data.check import check_folder
from leukonca.data.duplicates import identical_groups, near_pairs
from leukonca.data.listing import detect_center, find_images
from leukonca.errors import DataError, UsageError

# By md5sum over all 17,092 files.
PAIRS = """
basophil/BA_20201 basophil/BA_809918
basophil/BA_225540 basophil/BA_786369
basophil/BA_251042 basophil/BA_988506
basophil/BA_381452 basophil/BA_80990
basophil/BA_435917 basophil/BA_858229
basophil/BA_546746 basophil/BA_685720
eosinophil/EO_220125 eosinophil/EO_433229
eosinophil/EO_225902 neutrophil/BNE_191112
eosinophil/EO_284748 eosinophil/EO_738445
eosinophil/EO_621854 eosinophil/EO_728356
eosinophil/EO_65638 eosinophil/EO_873756
eosinophil/EO_890163 eosinophil/EO_918881
eosinophil/EO_941266 eosinophil/EO_994040
ig/PMY_187173 ig/PMY_225787
ig/PMY_497134 ig/PMY_586364
ig/PMY_538541 ig/PMY_753076
monocyte/MO_145357 monocyte/MO_997225
"""

# One cell taken twice, told by eye: moved by a little, focused or lit anew.
RETAKEN = """
eosinophil/EO_246684 eosinophil/EO_409717
eosinophil/EO_464387 eosinophil/EO_800344
ig/IG_101958 ig/IG_957559
ig/IG_466905 ig/IG_855229
monocyte/MO_231316 monocyte/MO_415531
"""


def pairs(text: str) -> set[tuple[str, ...]]:
    return {tuple(f"{name}.jpg" for name in line.split()) for line in text.strip().splitlines()}


@pytest.fixture(scope="module")
def with_pairs(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All duplicates of Acevedo-20 among some of its other images, linked."""
    root = tmp_path_factory.mktemp("acevedo20")
    others = find_images(shared_data / "acevedo20")[::40]
    for path in {*others, *(path for pair in pairs(PAIRS) | pairs(RETAKEN) for path in pair)}:
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).symlink_to(shared_data / "acevedo20" / path)
    return root


def test_acevedos_duplicates_show(with_pairs):
    check = check_folder(with_pairs)
    assert check.center.name == "acevedo20"
    assert {twins.paths for twins in check.identical} == pairs(PAIRS)
    assert {twins.paths for twins in check.near} == pairs(RETAKEN)
    first = check.identical[0]
    assert first.paths == ("eosinophil/EO_225902.jpg", "neutrophil/BNE_191112.jpg")
    assert first.labels == ("EO", "BNE")
    assert [twins.contradicts for twins in check.identical] == [True] + [False] * 16
    assert all(0 < twins.difference < 5 for twins in check.near)
    assert check.sound
    assert check.images == check.usable == len(find_images(with_pairs))


def test_counts_are_by_the_centers_own_labels(shared_data):
    check = check_folder(shared_data / "acevedo20-originals", "acevedo20")
    assert dict(check.counts) == dict.fromkeys(check.center.expected, 8)
    assert (check.images, check.usable, check.sound) == (104, 104, True)
    assert check.identical == check.near == check.unreadable == check.unmatched == ()


@pytest.fixture
def own(tmp_path) -> Path:
    root, rng = tmp_path / "own", np.random.default_rng(3)
    for name in ("basophil", "eosinophil"):
        (root / name).mkdir(parents=True)
        for i in range(3):
            coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((40, 40), Image.Resampling.BICUBIC).save(root / name / f"{i}.png")
    return root


def test_bad_files_and_stray_ones_are_named(own):
    (own / "basophil" / "0.png").write_text("no image")
    (own / "eosinophil" / "1.png").write_bytes(b"")
    (own / "monocyte").mkdir()
    (own / "neutrophil").mkdir()
    shutil.copyfile(own / "basophil" / "1.png", own / "neutrophil" / "1.png")
    check = check_folder(own)
    assert check.center.name == "folder"
    assert [path for path, _ in check.unreadable] == ["basophil/0.png", "eosinophil/1.png"]
    assert "not an image" in check.unreadable[0][1]
    assert check.unreadable[1][1] == "the file is empty"
    assert check.unmatched == ("neutrophil/1.png",)
    assert check.empty == ("monocyte",)
    assert not check.sound
    assert (check.images, check.usable) == (7, 4)
    assert [twins.paths for twins in check.identical] == [("basophil/1.png", "neutrophil/1.png")]
    assert check.identical[0].contradicts  # a label and none


def test_near_duplicates_with_different_labels_come_first(own):
    original = Image.open(own / "basophil" / "1.png")
    original.save(own / "basophil" / "7.jpg", quality=90, subsampling=0)
    original.resize((33, 37)).save(own / "eosinophil" / "9.png")
    check = check_folder(own)
    assert check.identical == ()
    assert {twins.paths for twins in check.near} == {
        ("basophil/1.png", "basophil/7.jpg"),
        ("basophil/1.png", "eosinophil/9.png"),
        ("basophil/7.jpg", "eosinophil/9.png"),
    }
    assert [twins.contradicts for twins in check.near] == [True, True, False]


def test_nothing_usable(own):
    for path in own.glob("*/*.png"):
        path.write_text("no image")
    with pytest.raises(DataError, match="none of its 6 images can be used"):
        check_folder(own)
    with pytest.raises(DataError, match="none of its 6 images has a label of center matek19"):
        check_folder(own, "matek19")
    with pytest.raises(UsageError, match="no center 'nope'"):
        check_folder(own, "nope")


def touch(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")
    return root


@pytest.mark.parametrize(
    ("center", "paths"),
    [
        ("acevedo20", ["basophil/BA_1.jpg", "ig/MY_2.jpg"]),
        ("folder", ["basophil/BA_1.jpg", "eosinophil/EO_2.jpg"]),
        ("acevedo20", ["basophil/BA_1.jpg", "ig/MY_2.jpg", "basophil/stray.jpg"]),
        ("matek19", ["AML/BAS/BAS_0001.tiff", "AML/NGS/NGS_0001.tiff"]),
        ("mll23", ["basophil/basophil_0001.TIF", "normoblast/normoblast_0001.TIF"]),
        ("folder", ["basophil/1.png", "monocyte/1.png"]),
    ],
)
def test_the_center_is_told_from_the_paths(tmp_path, center, paths):
    assert detect_center(touch(tmp_path, *paths)).name == center


def test_a_folder_of_no_center_is_not_guessed_at(shared_data):
    with pytest.raises(DataError, match="no center's labels match most of its 300 images"):
        detect_center(shared_data / "jtsc")


def test_identical_groups():
    assert identical_groups(["a", "b", "", "a", "c", "", "b", "a"]) == [(0, 3, 7), (1, 6)]
    assert identical_groups([]) == []


def smooth(rng: np.random.Generator, count: int) -> np.ndarray:
    coarse = rng.integers(0, 256, (count, 5, 5, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(c).resize((36, 36), Image.Resampling.BICUBIC)) for c in coarse])


def test_near_pairs_find_moved_tinted_and_noisy_copies_and_no_strangers():
    rng = np.random.default_rng(5)
    wide = smooth(rng, 60)
    thumbnails = wide[:, 2:34, 2:34].copy()
    thumbnails[50] = wide[10, 0:32, 3:35]  # moved by 2 up, 1 right
    thumbnails[51] = np.clip(wide[20, 2:34, 2:34] * 0.9 + np.array([5, 10, 20]), 0, 255)
    noise = rng.normal(0, 4, thumbnails[30].shape)
    thumbnails[52] = np.clip(thumbnails[30] + noise, 0, 255)
    thumbnails[53] = 200  # two plain fields are no cell taken twice
    thumbnails[54] = 201
    thumbnails[55] = 255 - thumbnails[40]
    found = near_pairs(thumbnails)
    assert {(a, b) for a, b, _ in found} == {(10, 50), (20, 51), (30, 52)}
    difference = {b: d for _, b, d in found}
    assert difference[50] == pytest.approx(0, abs=1e-9)
    assert difference[52] == pytest.approx(np.abs(noise - noise.mean((0, 1))).mean(), rel=0.15)


def test_of_very_many_alike_images_the_most_alike_pairs_are_compared(monkeypatch):
    """Against all correlations at once, as numpy has them."""
    rng = np.random.default_rng(6)
    thumbnails = np.clip(smooth(rng, 1)[:, :32, :32] + rng.normal(0, 6, (1100, 32, 32, 3)), 0, 255).astype(np.uint8)
    copies = [(3, 700), (40, 41), (500, 1099), (512, 1024)]
    for original, copy in copies:
        thumbnails[copy] = np.clip(thumbnails[original].astype(int) + rng.integers(-1, 2, (32, 32, 3)), 0, 255)
    halves = thumbnails.mean(3).reshape(-1, 16, 2, 16, 2).mean((2, 4)).reshape(len(thumbnails), -1)
    correlation = np.corrcoef(halves)
    every = np.sort(correlation[np.triu_indices(len(thumbnails), 1)])[::-1]
    assert every[-1] > duplicates.ALIKE
    for most in (4, 300, 10**6):
        monkeypatch.setattr(duplicates, "MOST_CANDIDATES", most)
        first, second = duplicates._most_alike(duplicates._coarse(thumbnails.mean(3, dtype=np.float32)))
        assert (first < second).all()
        assert len(set(zip(first.tolist(), second.tolist(), strict=True))) == len(first) == min(most, len(every))
        np.testing.assert_allclose(correlation[first, second], every[:most], atol=1e-6)
    monkeypatch.setattr(duplicates, "MOST_CANDIDATES", 4)
    assert sorted(pair[:2] for pair in near_pairs(thumbnails)) == copies


def test_memory_does_not_grow_with_the_pairs(monkeypatch):
    monkeypatch.setattr(duplicates, "MOST_CANDIDATES", 500)
    thumbnails = np.repeat(smooth(np.random.default_rng(7), 1)[:, :32, :32], 2000, axis=0)
    tracemalloc.start()
    try:
        found = near_pairs(thumbnails)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found) == 500
    pairs_as_numbers = 2000 * 1999 // 2 * (8 + 8 + 4)
    assert peak < pairs_as_numbers


@pytest.mark.parametrize("count", [0, 1])
def test_near_pairs_of_hardly_anything(count):
    assert near_pairs(np.zeros((count, 32, 32, 3), np.uint8)) == []
