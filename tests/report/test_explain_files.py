"""Thousands of cells need no more memory than a few."""

import gc
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leukonca import NCAClassifier
from leukonca.data.preprocessing import Preprocessing
from leukonca.data.synthetic import SYNTHETIC_CENTERS, draw_cell
from leukonca.explain.explainer import Explainer
from leukonca.explain.masks import StainMasks
from leukonca.report import explain_files as module
from leukonca.report.explain_files import Wanted, explain_files
from leukonca.report.explanation import Setting

WANTED = Wanted(masks=StainMasks(), film=False, steps=3)


def peak_of(explainer: Explainer, paths: list[str], out: Path) -> int:
    """Most bytes that are held at one time while so many cells are explained."""
    gc.collect()
    tracemalloc.start()
    try:
        assert explain_files(explainer, paths, out, WANTED, Setting("", ""), quiet=True).done == len(paths)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_no_cell_is_kept_while_the_others_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing is left out here, which is slow: benchmarks/explain_memory.py has it."""
    few, many = 3, 30
    made = NCAClassifier(preset="tiny")
    made.config = replace(made.config, preprocessing=Preprocessing(grid=24), mean=(0.5,) * 3, std=(0.25,) * 3)
    explainer = Explainer(made)
    image, mask = draw_cell(SYNTHETIC_CENTERS[0], "monocyte", 0, 0)
    Image.fromarray(image).save(tmp_path / "cell.png")
    paths = [str(tmp_path / "cell.png")]
    monkeypatch.setattr(module, "write_page", lambda *_, **__: None)
    peak_of(explainer, paths, tmp_path / "first")  # fills caches of fonts, templates and compiled loops
    growth = peak_of(explainer, paths * many, tmp_path / "many") - peak_of(explainer, paths * few, tmp_path / "few")
    why = explainer(image, mask=mask, steps=3)
    one = sum(value.nbytes for value in vars(why).values() if isinstance(value, np.ndarray))
    assert growth < 0.25 * (many - few) * one, "cells are kept"
