"""Models of the package: their files, their card, and their stored scores and answers against real cells."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom

import leukonca
from leukonca.cli import main
from leukonca.data.augment import centre_images, normalise
from leukonca.data.centers import CENTERS
from leukonca.data.images import read_image
from leukonca.data.listing import list_images
from leukonca.data.preprocessing import preprocess
from leukonca.errors import ModelError
from leukonca.models.card import model_card
from leukonca.models.card_tests import read_tests
from leukonca.models.config import scale_for
from leukonca.models.folder import SHIPPED, read_model, shipped_models, weights_digest
from leukonca.training.other_recipes import read_beginning, read_teachers
from leukonca.training.recipe_files import find_recipe, plan_of, read_plan
from leukonca.training.seen import name_key, read_seen

HERE = Path(__file__).parent
NAMES = shipped_models()
SAMPLE = 100
FILES = {"model.safetensors", "config.json", "MODEL_CARD.md", "metrics.json", "recipe.toml", "seen.safetensors"}
FILES |= {"unusual.safetensors"}


def expected_cells(name: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((HERE / "shipped" / f"{name}.json").read_text(encoding="utf-8"))
    return facts


def center_of(path: str) -> str:
    return path.partition("/")[0]


def test_there_are_models_to_ship() -> None:
    assert "acevedo20-compact" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_is_small_and_whole(name: str) -> None:
    files = {path.name: path.stat().st_size for path in (SHIPPED / name).iterdir()}
    plan = read_plan(find_recipe(name))
    first = read_beginning(find_recipe(name), plan)
    recipes = {
        *plan.teachers,
        *([] if first is None else [plan.pretrained, *(f"{each}.toml" for each in first.teachers)]),
    }
    assert files.keys() == FILES | recipes
    assert sum(files.values()) < 700_000  # a few hundred kB: see benchmarks/ship.py


@pytest.mark.parametrize("name", NAMES)
def test_the_card_follows_from_the_folder(name: str) -> None:
    config, weights = read_model(name)
    parameters = sum(array.size for array in weights.values())
    card = model_card(config, parameters, name=name, tests=read_tests(SHIPPED / name))
    assert (SHIPPED / name / "MODEL_CARD.md").read_text(encoding="utf-8") == card, "run benchmarks/ship.py --cards"
    for words in ("CC BY 4.0", "10.17632/snkd93bnjr.1", "Not a medical device", "### bccd", "### jtsc", "myeloblast"):
        assert words in card


@pytest.mark.parametrize("name", NAMES)
def test_the_recipe_is_that_of_the_training(name: str) -> None:
    config, _ = read_model(name)
    plan = read_plan(find_recipe(name))
    assert plan == plan_of(config.recipe, config.data)
    assert len(read_teachers(find_recipe(name), plan)) + plan.teaches_itself == len(config.teachers)
    assert (read_beginning(find_recipe(name), plan) is None) == (not config.pretrained)


@pytest.mark.parametrize("name", NAMES)
def test_what_was_seen_is_the_split_that_the_config_tells(name: str, shared_data: Path) -> None:
    config, _ = read_model(name)
    seen = read_seen(SHIPPED / name, config, needed=True)
    assert seen is not None
    paths = list_images(str(config.data["center"]), shared_data / str(config.data["center"])).paths
    keys = {name_key(path) for path in paths}
    assert seen.names | seen.test == keys
    assert not seen.names & seen.test
    assert len(seen.names) == config.data["training_images"] + config.data["validation_images"]
    assert len(seen.test) == read_tests(SHIPPED / name)[0].metrics["images"]


@pytest.mark.parametrize("name", NAMES)
def test_with_and_without_torch_the_stored_answers_come(name: str, shared_data: Path) -> None:
    facts, (config, weights) = expected_cells(name), read_model(name)
    assert facts["weights_sha256"] == weights_digest(weights)
    assert facts["classes"] == list(config.classes)
    images = [read_image(shared_data / path) for path in facts["cells"]]
    stored = np.array([[cell[each] for each in config.classes] for cell in facts["cells"].values()])
    assert len(set(stored.argmax(axis=1))) > 4, "cells of one class tell little"
    scales = [CENTERS[center].image_um if center in CENTERS else None for center in map(center_of, facts["cells"])]
    predictor = leukonca.Predictor(name)
    found = [predictor([image], image_um=um).probabilities[0] for image, um in zip(images, scales, strict=True)]
    np.testing.assert_allclose(found, stored, atol=1e-3)

    settings = config.preprocessing
    cut = [preprocess(image, settings, scale_for(config, um)) for image, um in zip(images, scales, strict=True)]
    views = centre_images(torch.from_numpy(np.stack(cut)), settings)
    model = leukonca.load(name, engine="reference")
    with torch.no_grad():
        logits = model(normalise(views, *config.normalisation(), settings.stain), seed=0)
    np.testing.assert_allclose((logits / config.temperature).softmax(dim=1).numpy(), stored, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_of_the_test_images_scores_as_stored(name: str, shared_data: Path) -> None:
    """Within what chance allows 999 times in 1000 for so many images, if the accuracy is in its stored interval."""
    config, _ = read_model(name)
    center = str(config.data["center"])
    seen = read_seen(SHIPPED / name, config, needed=True)
    assert seen is not None
    listing = list_images(center, shared_data / center)
    tested = [i for i, path in enumerate(listing.paths) if name_key(path) in seen.test]
    some = tested[:: len(tested) // SAMPLE][:SAMPLE]
    images = [read_image(shared_data / center / listing.paths[i]) for i in some]
    found = leukonca.Predictor(name)(images, image_um=CENTERS[center].image_um)
    right = sum(found.labels[k] == config.classes[listing.labels[i]] for k, i in enumerate(some))
    stored = read_tests(SHIPPED / name)[0].metrics
    for count, share in ((right, stored["accuracy"]), (found.flags.count("unusual"), stored["unusual"]["flagged"])):
        least, most = binom.ppf(0.0005, SAMPLE, share["low"]), binom.ppf(0.9995, SAMPLE, share["high"])
        assert least <= count <= most


@pytest.mark.parametrize("name", NAMES)
def test_noise_and_empty_fields_are_unusual(name: str) -> None:
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (6, 128, 128, 3), dtype=np.uint8)
    blank = np.full((6, 128, 128, 3), (235, 220, 200)) + generator.normal(0, 3, (6, 128, 128, 3))
    for images in (noise, blank.round().clip(0, 255).astype(np.uint8)):
        assert leukonca.Predictor(name)(images, image_um=36.0).flags == ("unusual",) * 6


def test_an_unknown_name_lists_what_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelError, match=r"shipped: .*acevedo20-compact"):
        leukonca.Predictor("acevedo20-compakt")
    out = str(tmp_path / "cells.csv")
    assert main(["predict", "acevedo20-compakt", str(tmp_path), "--out", out]) == 3
    assert "acevedo20-compact" in capsys.readouterr().err


def test_predict_by_name_from_anywhere(shared_data: Path, tmp_path: Path) -> None:
    """As a user would, from a folder of their own."""
    cells = tmp_path / "my-cells"
    cells.mkdir()
    for path in sorted((shared_data / "bccd" / "basophil").iterdir()):
        shutil.copy(path, cells)
    words = ["predict", "acevedo20-compact", "my-cells", "--out", "cells.csv"]
    done = subprocess.run(
        [sys.executable, "-m", "leukonca", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "cells.csv").read_text(encoding="utf-8").splitlines()) == 1 + len(list(cells.iterdir()))
