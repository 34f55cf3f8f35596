import pytest

from leukonca.data.centers import CENTERS, find_center
from leukonca.errors import UsageError
from leukonca.taxonomy import CLASSES


@pytest.mark.parametrize(
    ("center", "path", "label"),
    [
        ("acevedo20", "ig/PMY_123.jpg", "PMY"),
        ("acevedo20", "ig/MY_123.jpg", "MY"),
        ("acevedo20", "PBC_dataset_normal_DIB/neutrophil/NEUTROPHIL_1.jpg", "NEUTROPHIL"),
        ("acevedo20", "BA_1.jpg", "BA"),
        ("acevedo20", "train/MO_1.png", "MO"),
        ("matek19", "BAS/BAS_0001.tiff", "BAS"),
        ("matek19", "AML-Cytomorphology_LMU/PMB/PMB_0001.tiff", "PMB"),
        ("mll23", "lymphocyte_reactive/lymphocyte_reactive_0001.TIF", "lymphocyte_reactive"),
        ("bloodmnist", "train/00017 immature granulocytes", "immature granulocytes"),
        ("folder", "smudge_cell/slide 3/7.png", "smudge_cell"),
    ],
)
def test_label_of_a_path(center, path, label):
    assert CENTERS[center].own_label(path) == label


@pytest.mark.parametrize(
    ("center", "path"),
    [
        ("acevedo20", "basophil/123.jpg"),
        ("acevedo20", "basophil/XX_123.jpg"),
        ("acevedo20", "basophil/ba_123.jpg"),
        ("acevedo20", "basophil/BA.jpg"),
        ("acevedo20", "eosinophil/BA_123.jpg"),  # contradicts its folder
        ("matek19", "BAS_0001.tiff"),
        ("matek19", "XXX/BAS_0001.tiff"),
        ("mll23", "neutrophil/neutrophil_0001.TIF"),
        ("folder", "basophil.png"),
        ("folder", "Basophil/1.png"),
    ],
)
def test_a_path_that_no_rule_matches_has_no_label(center, path):
    assert CENTERS[center].own_label(path) is None


@pytest.mark.parametrize(
    ("center", "images", "labels", "kept"),
    [("acevedo20", 17092, 13, 14543), ("matek19", 18365, 15, 18347), ("mll23", 41621, 18, 32816)],
)
def test_expected_counts_add_up_to_the_published_totals(center, images, labels, kept):
    described = CENTERS[center]
    assert sum(described.expected.values()) == images
    assert set(described.expected) == set(described.labels)
    assert len(described.labels) == labels
    assert sum(described.expected_classes.values()) == kept


def test_expected_classes_sum_the_labels_of_a_class():
    assert CENTERS["matek19"].expected_classes["monocyte"] == 1789 + 26
    assert CENTERS["mll23"].expected_classes["lymphocyte_atypical"] == 180 + 33
    assert CENTERS["folder"].expected_classes == {}


def test_classes_of_a_center():
    assert len(CENTERS["acevedo20"].classes) == 10
    assert CENTERS["matek19"].classes == CENTERS["mll23"].classes == CENTERS["folder"].classes == CLASSES


def test_each_published_center_says_whom_to_thank_and_where_it_is():
    for name in ("acevedo20", "matek19", "mll23", "bloodmnist"):
        center = CENTERS[name]
        assert "doi 10." in center.citation
        assert center.licence.startswith("CC BY")
        assert "https://" in center.source
        assert center.image_um == {"acevedo20": 36.0, "matek19": 29.0, "mll23": 25.0, "bloodmnist": 20.0}[name]


def test_unknown_center_lists_the_known_ones():
    with pytest.raises(UsageError, match="'acevedo'; there are: acevedo20, matek19, mll23, bloodmnist, folder"):
        find_center("acevedo")
