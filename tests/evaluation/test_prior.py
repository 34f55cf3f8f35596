"""Priors against Bayes' rule written out, and against cells that are drawn with known shares."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leukonca.errors import ModelError, UsageError
from leukonca.evaluation.calibration import tempered
from leukonca.evaluation.flags import flags, uncertain
from leukonca.evaluation.prior import LEAST, PRIORS, Prior, find_prior
from leukonca.models.config import ModelConfig
from leukonca.models.presets import preset
from leukonca.taxonomy import CLASSES

BALANCED = {"balance": True, "loss": "cross_entropy"}
CONFIG = ModelConfig(preset("tiny"), recipe=BALANCED)
THREE = replace(CONFIG, classes=("basophil", "monocyte", "myeloblast"))


def test_probabilities_are_those_of_bayes_rule() -> None:
    prior = Prior("own", np.array([0.7, 0.2, 0.1]), THREE.classes)
    p = np.random.default_rng(0).dirichlet([1, 1, 1], (4, 50))
    found, sums = prior.weigh(p)
    np.testing.assert_allclose(sums, p @ prior.shares, rtol=1e-12)
    np.testing.assert_allclose(found * (p @ prior.shares)[..., None], p * prior.shares, rtol=1e-12)
    np.testing.assert_allclose(Prior("even", np.full(3, 1 / 3), THREE.classes).weigh(p)[0], p, rtol=1e-9)
    # Where the model excludes all that is expected, what is expected is answered; what is no number stays none.
    only = Prior("own", np.array([0.0, 0.75, 0.25]), THREE.classes)
    assert only.weigh(np.array([1.0, 0.0, 0.0]))[0].tolist() == [0, 0.75, 0.25]
    assert np.isnan(only.weigh(np.array([np.nan, 0.0, 0.0]))[0]).any()


def test_the_right_prior_names_more_cells_rightly_and_means_what_it_says() -> None:
    shares, generator = np.array([0.8, 0.15, 0.05]), np.random.default_rng(1)
    labels = generator.choice(3, 20_000, p=shares)
    seen = generator.normal(np.eye(3)[labels], 0.8)  # each class: a normal distribution about its own corner
    plain = tempered(-np.square(seen[:, None] - np.eye(3)).sum(axis=2) / (2 * 0.8**2), 1)
    informed, _ = Prior("own", shares, THREE.classes).weigh(plain)
    right = [(p.argmax(axis=1) == labels).mean() for p in (plain, informed)]
    assert right[1] > right[0] + 0.05
    np.testing.assert_allclose(informed.mean(axis=0), shares, atol=0.01)
    assert informed.max(axis=1).mean() == pytest.approx(right[1], abs=0.01)


def test_blood_is_that_of_healthy_adults_and_leaves_every_kind_a_chance() -> None:
    assert sum(PRIORS["blood"].values()) == pytest.approx(1)
    assert set(PRIORS["blood"]) < set(CLASSES)
    prior = find_prior("blood", CONFIG)
    assert prior is not None
    found = dict(zip(CLASSES, prior.shares, strict=True))
    assert sum(found.values()) == pytest.approx(1)
    assert found["neutrophil_segmented"] / found["lymphocyte_typical"] == pytest.approx(56 / 34)
    for rare in ("basophil", "erythroblast", "promyelocyte", "smudge_cell"):
        assert found[rare] == pytest.approx(found["monocyte"] * LEAST / 0.04)


def test_a_coarser_class_is_expected_as_often_as_its_kinds_together() -> None:
    coarse = replace(
        CONFIG,
        classes=("neutrophil", "lymphocyte", "erythroblast", "mono"),
        data={"comprises": {"mono": ["monocyte", "myeloblast"]}},
    )
    prior = find_prior("blood", coarse)
    assert prior is not None
    # An atypical lymphocyte and a myeloblast are such kinds, too, if rare ones.
    np.testing.assert_allclose(prior.shares, np.array([0.59, 0.345, 0.005, 0.045]) / 0.985)


def test_what_was_never_trained_is_never_answered() -> None:
    config = replace(CONFIG, trained_classes=("monocyte", "basophil"))
    prior = find_prior("blood", config)
    assert prior is not None
    assert {name for name, share in zip(CLASSES, prior.shares, strict=True) if share} == {"monocyte", "basophil"}
    with pytest.raises(UsageError, match=r"smudge_cell: no class that the model was trained on, so leave it out"):
        find_prior({"smudge_cell": 0.2, "monocyte": 0.8}, config)


def test_own_shares_come_from_a_file_or_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("monocyte = 30\nbasophil = 10\n", encoding="utf-8")
    for asked in (path, str(path), {"monocyte": 30, "basophil": 10.0}):
        prior = find_prior(asked, THREE)
        assert prior is not None
        np.testing.assert_allclose(prior.shares, [0.25, 0.75, 0])
    assert (find_prior(path, THREE).name, find_prior({"monocyte": 1}, THREE).name) == ("mine.toml", "own")  # type: ignore[union-attr]
    assert find_prior(None, ModelConfig(preset("tiny"))) is None
    found = find_prior(path, THREE)
    assert find_prior(found, THREE) is found
    with pytest.raises(UsageError, match=r"mine.toml: is of the classes basophil, monocyte, myeloblast, not"):
        find_prior(found, CONFIG)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("bloood", r"bloood: no such file; give blood, or a TOML file"),
        (
            {"plasma_cell": 1},
            r"plasma_cell: no class that the model was trained on, so leave it out; these are basophil",
        ),
        ({"monocyte": -1}, r"monocyte is -1; must be a finite number"),
        ({"monocyte": True}, r"monocyte is True"),
        ({"monocyte": float("nan")}, r"monocyte is nan"),
        ({"monocyte": "0.5"}, r"monocyte is '0\.5'"),
        ({"monocyte": {"share": 1}}, r"must be a finite number of at least 0"),
        ({"monocyte": 10**400}, r"monocyte is 10+; must be a finite number"),
        ({"monocyte": 0}, r"no class has a share"),
        ({}, r"no class has a share"),
    ],
)
def test_what_is_no_prior_is_said(asked: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        find_prior(asked, THREE)


def test_shares_may_be_as_large_as_numbers_go() -> None:
    prior = find_prior({"monocyte": 1e308, "basophil": 1e308}, THREE)
    assert prior is not None
    assert prior.shares.tolist() == [0.5, 0.5, 0]


def test_damaged_files_and_models_without_balance_are_said(tmp_path: Path) -> None:
    for content in (b"monocyte 1", b"\xff\xfe"):
        (tmp_path / "bad.toml").write_bytes(content)
        with pytest.raises(UsageError, match=r"bad\.toml: no valid TOML in UTF-8 .*; write a line such as"):
            find_prior(tmp_path / "bad.toml", CONFIG)
    with pytest.raises(UsageError, match="cannot be read"):
        find_prior(tmp_path, CONFIG)
    with pytest.raises(UsageError, match="knows none of the model's classes"):
        find_prior("blood", replace(CONFIG, classes=("class_0", "class_1")))
    for recipe in ({}, {**BALANCED, "balance": False}, {**BALANCED, "loss": "focal"}):
        with pytest.raises(ModelError, match="trained on balanced classes with cross-entropy"):
            find_prior("blood", replace(CONFIG, recipe=recipe))


def test_an_answer_that_the_prior_changed_is_uncertain() -> None:
    p = np.array([[0.9, 0.1, 0.0], [0.9, 0.1, 0.0], [0.4, 0.3, 0.3]])
    changed = np.array([False, True, False])
    assert uncertain(p, THREE, changed).tolist() == [False, True, True]
    assert flags(p, np.full(3, np.nan), THREE, changed) == ("", "uncertain", "uncertain")
