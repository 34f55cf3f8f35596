import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from leukonca.data.cells import Cells, load_cells
from leukonca.data.listing import list_images
from leukonca.data.preprocessing import Preprocessing
from leukonca.data.splits import PARTS, Split, patients_of, read_split, split_cells, write_split
from leukonca.errors import DataError, UsageError
from leukonca.taxonomy import CLASSES


def cells_of(labels: list[int], groups: list[int] | None = None, prefix: str = "") -> Cells:
    """Cells without pixels, in the order of their paths."""
    labels = sorted(labels)
    return Cells(
        center="folder",
        paths=tuple(f"{prefix}{label:02}/{i:05}.png" for i, label in enumerate(labels)),
        labels=np.array(labels, dtype=np.int64),
        images=np.zeros((len(labels), 2, 2, 3), np.uint8),
        groups=np.arange(len(labels)) if groups is None else np.array(groups, dtype=np.int64),
        preprocessing=Preprocessing(2),
        image_um=None,
        fingerprint="0" * 64,
        digests=tuple(f"{i:064x}" for i in range(len(labels))),
    )


def parts(split: Split) -> list[list[int]]:
    return [getattr(split, part).tolist() for part in PARTS]


def check_partition(cells: Cells, split: Split) -> None:
    assert sorted(i for part in parts(split) for i in part) == list(range(len(cells.paths)))
    for part in PARTS:
        members = getattr(split, part)
        assert members.dtype == np.int64
        assert (np.diff(members) > 0).all()
    sides = [set(cells.groups[getattr(split, part)].tolist()) for part in PARTS]
    assert sum(map(len, sides)) == len(set.union(*sides))


sizes = st.lists(st.integers(12, 40), min_size=1, max_size=4)


@settings(max_examples=25, deadline=None)
@given(sizes=sizes, folds=st.integers(2, 6), seed=st.integers(0, 2**40), share=st.floats(0.05, 0.5))
def test_folds_partition_the_cells_and_keep_the_share_of_every_class(sizes, folds, seed, share):
    cells = cells_of([label for label, size in enumerate(sizes) for _ in range(size)])
    tested = []
    for fold in range(folds):
        split = split_cells(cells, fold=fold, folds=folds, seed=seed, validation_share=share)
        check_partition(cells, split)
        tested += split.test.tolist()
        assert abs(len(split.test) - len(cells) / folds) < 1
        for label, size in enumerate(sizes):
            in_test, in_validation = (int((cells.labels[p] == label).sum()) for p in (split.test, split.validation))
            assert abs(in_test - size / folds) < 1
            assert in_validation == max(1, round(share * (size - in_test)))
    assert sorted(tested) == list(range(len(cells)))


@settings(max_examples=40, deadline=None)
@given(data=st.data(), sizes=sizes, seed=st.integers(0, 1000))
def test_duplicates_stay_on_one_side(data, sizes, seed):
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    groups = list(range(len(labels)))
    for _ in range(data.draw(st.integers(1, 6))):  # pairs, chains, also across classes
        a, b = data.draw(st.integers(0, len(labels) - 1)), data.draw(st.integers(0, len(labels) - 1))
        groups[a] = groups[b]
    cells = cells_of(labels, groups)
    largest = max(np.bincount(groups))
    for fold in range(3):
        split = split_cells(cells, fold=fold, folds=3, seed=seed)
        check_partition(cells, split)
        for label, size in enumerate(sizes):
            assert abs((cells.labels[split.test] == label).sum() - size / 3) <= largest


def test_fold_sizes_are_those_of_scikit_learn():
    labels = np.repeat(np.arange(6), [12, 100, 37, 41, 5, 73])
    cells = cells_of(labels.tolist())
    theirs = StratifiedKFold(5, shuffle=True, random_state=0).split(labels, labels)
    wanted = [np.bincount(labels[test], minlength=6).tolist() for _, test in theirs]
    ours = [cells.labels[split_cells(cells, fold=fold).test] for fold in range(5)]
    for label in range(6):
        got = sorted(int((fold == label).sum()) for fold in ours)
        assert got == sorted(fold[label] for fold in wanted)


def test_the_same_everywhere():
    """Written down once: a change of these numbers is a change of every published fold."""
    cells = cells_of([0] * 12 + [3] * 8)
    split = split_cells(cells, fold=1, folds=4, seed=7, validation_share=0.25)
    assert parts(split) == [
        [0, 2, 3, 6, 9, 10, 11, 13, 16, 18, 19],
        [1, 8, 12, 15],
        [4, 5, 7, 14, 17],
    ]


def test_test_folds_are_told_by_the_paths_alone():
    """A slow version for cells without duplicates: each class dealt out in the order of its hashes."""
    cells = cells_of([0] * 20)
    order = sorted(range(20), key=lambda i: hashlib.sha256(f"fold 3/{i:05}.png".encode()).digest())
    for fold in range(5):
        assert split_cells(cells, fold=fold, seed=3).test.tolist() == sorted(order[fold::5])


def test_seeds_shuffle_and_folds_differ():
    cells = cells_of([0] * 50 + [1] * 50)
    first = split_cells(cells, fold=0, seed=0)
    assert parts(first) == parts(split_cells(cells, fold=0, seed=0))
    assert parts(first) != parts(split_cells(cells, fold=0, seed=1))
    assert not set(first.test) & set(split_cells(cells, fold=1, seed=0).test)
    longest_run = max(map(len, "".join("x" if i in first.test else " " for i in range(50)).split()))
    assert longest_run < 5  # shuffled, not cut off in one piece


def test_an_extra_folder_on_top_changes_nothing():
    labels = [0] * 20 + [1] * 15
    plain, nested = cells_of(labels), cells_of(labels, prefix="PBC_dataset_normal_DIB/")
    for fold in range(5):
        assert parts(split_cells(plain, fold=fold)) == parts(split_cells(nested, fold=fold))


def test_acevedo20(shared_data):
    listing = list_images("acevedo20", shared_data / "acevedo20")
    twins = {"eosinophil/EO_225902.jpg", "neutrophil/BNE_191112.jpg"}
    groups = np.arange(len(listing.paths))
    groups[[i for i, path in enumerate(listing.paths) if path in twins]] = 0
    cells = Cells(
        "acevedo20", listing.paths, listing.labels, np.zeros((0, 2, 2, 3)), groups, Preprocessing(2), 36.0, "", ()
    )
    split = split_cells(cells, fold=0)
    check_partition(cells, split)
    for label, name in enumerate(CLASSES):
        count = (cells.labels == label).sum()
        assert abs((cells.labels[split.test] == label).sum() - count / 5) < 2, name
        assert abs((cells.labels[split.validation] == label).sum() - count / 10) < 2, name


def test_a_class_that_is_too_small_is_named():
    for fold in range(5):
        with pytest.raises(DataError) as caught:
            split_cells(cells_of([0] * 20 + [3] * 4), fold=fold)
        assert "class myeloblast has only 4 different images of 4" in str(caught.value)
        assert "fewer folds" in str(caught.value)
    only_copies = cells_of([0] * 20 + [3] * 10, [*range(20), *[20] * 10])
    with pytest.raises(DataError, match="only 1 different images of 10"):
        split_cells(only_copies, fold=0)
    with pytest.raises(DataError, match="class myeloblast has only 2 images, none is left for train"):
        split_cells(cells_of([0] * 20 + [3] * 2), fold=0, folds=2)


@pytest.mark.parametrize("count", [5, 6, 7])
def test_the_smallest_classes_appear_in_every_part(count):
    cells = cells_of([0] * 40 + [5] * count)
    for fold in range(5):
        for members in parts(split_cells(cells, fold=fold)):
            assert 5 in cells.labels[members]


def test_without_validation():
    cells = cells_of([0] * 20)
    split = split_cells(cells, fold=0, validation_share=0.0)
    assert len(split.validation) == 0
    assert len(split.train) == 16


@pytest.mark.parametrize(
    "wrong",
    [
        {"fold": 5},
        {"fold": -1},
        {"fold": 0, "folds": 1},
        {"fold": 0, "validation_share": 1.0},
        {"fold": 0, "validation_share": -0.1},
    ],
)
def test_splits_that_cannot_be_meant(wrong):
    with pytest.raises(UsageError):
        split_cells(cells_of([0] * 20), **wrong)


@pytest.fixture
def written(tmp_path) -> tuple[Path, Cells, Split]:
    cells = cells_of([0] * 12 + [3] * 8, [0, 0, *range(2, 20)])
    split = split_cells(cells, fold=1, folds=4, seed=9)
    write_split(tmp_path / "split.json", split, cells)
    return tmp_path / "split.json", cells, split


def test_a_split_comes_back_as_it_was_written(written):
    path, cells, split = written
    back = read_split(path, cells)
    assert parts(back) == parts(split)
    assert (back.fold, back.folds, back.seed) == (1, 4, 9)
    assert json.loads(path.read_text())["test"] == [cells.paths[i] for i in split.test]


def test_a_split_serves_the_same_files_decoded_otherwise(shared_data, tmp_path):
    fine, coarse = (
        load_cells("acevedo20", shared_data / "acevedo20-originals", Preprocessing(grid)) for grid in (8, 4)
    )
    split = split_cells(fine, fold=0)
    write_split(tmp_path / "split.json", split, fine)
    assert parts(read_split(tmp_path / "split.json", coarse)) == parts(split)


def test_a_split_of_other_cells_is_refused(written):
    path, cells, _ = written
    with pytest.raises(DataError, match=r"1 of its images are missing \(03/00019\.png\)"):
        read_split(path, cells_of([0] * 12 + [3] * 7))
    with pytest.raises(DataError, match=r"1 images are not in it \(03/00020\.png\)"):
        read_split(path, cells_of([0] * 12 + [3] * 9))
    relabelled = Cells(**{**vars(cells), "labels": cells.labels[::-1]})
    with pytest.raises(DataError, match="labels have changed"):
        read_split(path, relabelled)
    with pytest.raises(DataError, match="center folder, not of mll23"):
        read_split(path, Cells(**{**vars(cells), "center": "mll23"}))


def test_duplicates_that_came_later_are_seen(written):
    path, cells, split = written
    groups = cells.groups.copy()
    groups[split.test[-1]] = groups[split.train[-1]]
    with pytest.raises(DataError, match="byte-identical images on two sides"):
        read_split(path, Cells(**{**vars(cells), "groups": groups}))


def of_patients(held: list[dict[int, int]]) -> Cells:
    """Cells of patients of whom each holds so many of each class."""
    owned = sorted(
        (label, f"patient {i}") for i, each in enumerate(held) for label, n in each.items() for _ in range(n)
    )
    return replace(cells_of([label for label, _ in owned]), patients=tuple(patient for _, patient in owned))


def shared_patients(cells: Cells, split: Split) -> int:
    sides = [{cells.patients[i] for i in getattr(split, part)} for part in PARTS]
    return sum(map(len, sides)) - len(set.union(*sides))


@settings(max_examples=40, deadline=None)
@given(
    held=st.lists(st.fixed_dictionaries({0: st.integers(15, 30), 1: st.integers(3, 5)}), min_size=8, max_size=25),
    folds=st.integers(2, 4),
    seed=st.integers(0, 1000),
)
def test_no_patient_lies_on_two_sides(held, folds, seed):
    cells = of_patients(held)
    tested = []
    for fold in range(folds):
        split = split_cells(cells, fold=fold, folds=folds, seed=seed)
        check_partition(cells, split)
        assert shared_patients(cells, split) == 0
        assert patients_of(split, cells)["validation"] >= 1
        tested += split.test.tolist()
    assert sorted(tested) == list(range(len(cells)))


def test_patients_are_dealt_out_so_that_every_fold_has_its_share_of_every_class():
    held = [{0: 30 + 7 * (i % 5), 1: 4 + i % 3, **({2: 3} if i % 4 == 0 else {})} for i in range(40)]
    cells = of_patients(held)
    sizes = np.bincount(cells.labels)
    for fold in range(5):
        split = split_cells(cells, fold=fold)
        assert np.bincount(cells.labels[split.test], minlength=13)[:3] / sizes[:3] == pytest.approx(0.2, abs=0.03)
        assert np.bincount(cells.labels[split.validation])[:2] / sizes[:2] == pytest.approx(0.1, abs=0.05)
        by_image = split_cells(replace(cells, patients=()), fold=fold)
        assert shared_patients(cells, by_image) > 20


def test_patients_with_a_file_in_common_are_one():
    cells = of_patients([{0: 2}] * 12)
    first, second = cells.patients.index("patient 3"), cells.patients.index("patient 7")
    groups = cells.groups.copy()
    groups[second] = groups[first]
    joined = replace(cells, groups=groups)
    for fold in range(5):
        split = split_cells(joined, fold=fold)
        sides = [{joined.patients[i] for i in getattr(split, part)} for part in PARTS]
        assert sum({"patient 3", "patient 7"} <= side for side in sides) == 1
        assert sum(bool({"patient 3", "patient 7"} & side) for side in sides) == 1


def test_a_class_of_too_few_patients_is_named():
    cells = of_patients([{0: 5, 1: 9}] * 3 + [{0: 5}] * 9)
    with pytest.raises(DataError, match=f"{CLASSES[1]} comes from only 3 patients, and each of 5 folds needs one"):
        split_cells(cells, fold=0)
    split = split_cells(cells, fold=0, folds=3)
    assert all(1 in cells.labels[getattr(split, part)] for part in PARTS)
    with pytest.raises(DataError, match=f"{CLASSES[1]} comes from 2 patients, and none is left for"):
        split_cells(of_patients([{0: 5, 1: 9}] * 2 + [{0: 5}] * 9), fold=0, folds=2)


def test_one_patient_who_has_nearly_all_cannot_be_watched_and_trained_on():
    cells = of_patients([{0: 1}] * 5 + [{0: 30}])
    with pytest.raises(DataError, match=r"comes from 6 patients, and none is left for train: .* one has most of it"):
        split_cells(cells, fold=1, folds=2)
    assert shared_patients(cells, split_cells(cells, fold=0, folds=2)) == 0


def test_a_split_by_patient_comes_back_and_is_checked(tmp_path):
    cells = of_patients([{0: 3, 1: 2}] * 10)
    split = split_cells(cells, fold=1)
    write_split(tmp_path / "split.json", split, cells)
    assert json.loads((tmp_path / "split.json").read_text())["patients"] == {"train": 7, "validation": 1, "test": 2}
    assert parts(read_split(tmp_path / "split.json", cells)) == parts(split)
    with pytest.raises(DataError, match="images of one patient on two sides"):
        read_split(tmp_path / "split.json", replace(cells, patients=cells.patients[::-1]))


@pytest.mark.parametrize(
    "damage",
    [
        lambda facts: "no json",
        lambda facts: "[]",
        lambda facts: json.dumps({**facts, "fold": "one"}),
        lambda facts: json.dumps({**facts, "train": [1, 2]}),
        lambda facts: json.dumps({**facts, "train": None}),
        lambda facts: json.dumps({**facts, "format": 99}),
        lambda facts: json.dumps({k: v for k, v in facts.items() if k != "test"}),
        lambda facts: json.dumps({**facts, "test": [*facts["test"], facts["train"][0]]}),
        lambda facts: json.dumps(facts)[:50],
    ],
)
def test_a_damaged_split_is_refused(written, damage):
    path, cells, _ = written
    path.write_text(damage(json.loads(path.read_text())))
    with pytest.raises(DataError, match=r"split\.json: (damaged|a split of format 99)"):
        read_split(path, cells)
    path.unlink()
    with pytest.raises(DataError, match="no such file"):
        read_split(path, cells)
