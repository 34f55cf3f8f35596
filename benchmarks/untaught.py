"""A kind of cell that a model was never taught: is it flagged `unusual`, or named as something else with certainty?

python benchmarks/untaught.py [--shared ../shared/data] [--epochs 4] [--only CLASS ...] [--choice] [--write]

Acevedo-20 lacks myeloblasts, atypical lymphocytes and smudge cells, so real kinds stand in for them: rate.toml, the
recipe of preset `compact`, is trained anew for each of the ten classes, shortly, without that class, on fold 0.
Thresholds and what is usual are chosen without it as well. Tested: the cells of that class in the test fold, beside
those of the nine that were taught. One run of each image, one training a class. Some ten minutes of one core a class;
models are kept in the folder --models, and one that is there is not trained again.

With --choice several scores are compared instead, on validation cells: how well each tells the class from the others.
"""

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from leukonca.data.cells import Cells, load_cells
from leukonca.data.official import split_for
from leukonca.data.splits import PARTS, Split
from leukonca.deploy.predictor import Predictor
from leukonca.evaluation.calibrate import calibrate
from leukonca.evaluation.intervals import wilson_interval
from leukonca.evaluation.separation import separation
from leukonca.evaluation.unusual import cell_features, fit_unusual, learn_unusual, looks, threshold
from leukonca.files import fingerprint
from leukonca.models.building import load_without_score
from leukonca.models.nca import NCAClassifier
from leukonca.training.loop import train
from leukonca.training.recipe import Recipe
from leukonca.training.recipe_files import read_plan
from marks import fill, keep_row, table
from scorings import rivals
from unusual import OURS, Settings, Subject

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "untaught.json"
RECIPE = read_plan(HERE.parent / "docs" / "recipes" / "rate.toml").recipe
HOME = "acevedo20"
BATCH = 32
Row = dict[str, Any]


def without(cells: Cells, split: Split, label: int) -> tuple[Cells, Split]:
    """The cells of all other classes, and the same parts of them."""
    kept = np.flatnonzero(cells.labels != label)
    place = np.full(len(cells), -1)
    place[kept] = np.arange(len(kept))
    others = replace(
        cells,
        paths=tuple(cells.paths[i] for i in kept),
        labels=cells.labels[kept],
        images=cells.images[kept],
        groups=cells.groups[kept],
        digests=tuple(cells.digests[i] for i in kept),
        fingerprint=fingerprint("untaught", cells.fingerprint, label),
    )
    parts = {part: place[getattr(split, part)] for part in PARTS}
    return others, replace(split, **{part: kept_ones[kept_ones >= 0] for part, kept_ones in parts.items()})


def answered(predictor: Predictor, cells: Cells, which: NDArray[np.int64]) -> tuple[list[str], list[str], NDArray]:
    """Label, flag and score of each cell, one run."""
    labels: list[str] = []
    flags: list[str] = []
    scores = []
    for low in range(0, len(which), BATCH):
        found = predictor.judge(predictor.answers(np.ascontiguousarray(cells.images[which[low : low + BATCH]])))
        labels += found.labels
        flags += found.flags
        scores.append(found.unusual)
    return labels, flags, np.concatenate(scores).astype(np.float64)


def share(found: list[str], flag: str) -> Row:
    count = found.count(flag)
    low, high = wilson_interval(count, len(found)) or (0.0, 1.0)
    return {"value": count / len(found), "low": low, "high": high}


def model_without(name: str, recipe: Recipe, cells: Cells, folder: Path) -> NCAClassifier:
    """Trained and calibrated without the class, unless the folder holds that already; then fitted to what is usual."""
    others, split = without(cells, split_for(cells, fold=0), cells.classes.index(name))
    if not (folder / "config.json").is_file():
        with TemporaryDirectory() as made:
            model = train(others, split, recipe, Path(made) / "run", quiet=True)
        calibrate(model, others, split, varied=False, quiet=True)
        model.save(folder)
    model = load_without_score(folder)
    assert isinstance(model, NCAClassifier)
    if model.config.recipe["epochs"] != recipe.epochs:
        raise SystemExit(f"{folder}: holds a model of {model.config.recipe['epochs']} epochs; name another --models")
    learn_unusual(model, others, split, quiet=True)
    return model


def measure(name: str, recipe: Recipe, cells: Cells, folder: Path) -> Row:
    """What a model that was trained without the class says of it."""
    label, whole = cells.classes.index(name), split_for(cells, fold=0)
    model_without(name, recipe, cells, folder).save(folder)
    predictor = Predictor(folder)
    assert name in predictor.untrained
    strange = cells.labels[whole.test] == label
    labels, flags, scores = answered(predictor, cells, whole.test[strange])
    known_labels, known_flags, known_scores = answered(predictor, cells, whole.test[~strange])
    truth = [cells.classes[k] for k in cells.labels[whole.test[~strange]]]
    right = sum(said == true for said, true in zip(known_labels, truth, strict=True))
    return {
        "class": name,
        "images": len(labels),
        "flags": {flag or "none": share(flags, flag) for flag in ("unusual", "uncertain", "")},
        "known_flags": {flag or "none": share(known_flags, flag) for flag in ("unusual", "uncertain", "")},
        "known_accuracy": right / len(truth),
        "auroc": separation(known_scores, scores, seed=0)["auroc"],
        "said": dict(Counter(labels).most_common()),
    }


def markdown(rows: list[Row]) -> str:
    def spanned(score: Row) -> str:
        return f"{100 * score['value']:.0f} [{100 * score['low']:.0f}, {100 * score['high']:.0f}]"

    head = ("never taught", "cells", "flagged `unusual`, %", "`uncertain`, %", "no flag, %", "AUROC, %", "called")
    head = (*head, "taught kinds: `unusual`, %", "right, %")
    lines = []
    for row in rows:
        most = list(row["said"].items())[:2]
        called = ", ".join(f"{name} {100 * count / row['images']:.0f}%" for name, count in most)
        flags = (spanned(row["flags"][flag]) for flag in ("unusual", "uncertain", "none"))
        known = f"{100 * row['known_flags']['unusual']['value']:.0f}", f"{100 * row['known_accuracy']:.1f}"
        lines.append((row["class"], row["images"], *flags, spanned(row["auroc"]), called, *known))
    return table(head, lines)


def compare(name: str, recipe: Recipe, cells: Cells, folder: Path) -> Row:
    """Several scores, fitted to as many training cells as ours, on validation cells."""
    label, whole = cells.classes.index(name), split_for(cells, fold=0)
    model = model_without(name, recipe, cells, folder)
    generator = np.random.default_rng([0, *b"untaught"])
    train, _ = looks(whole.train[cells.labels[whole.train] != label], cells.labels, generator)  # no class is rare
    seen = cell_features(model, cells, np.concatenate([train, whole.validation]), generator, quiet=True)
    known, watched = seen[: len(train)].astype(np.float64), seen[len(train) :].astype(np.float64)
    strange = cells.labels[whole.validation] == label
    scorings = {
        **Subject(Settings(model=str(folder), data=())).baselines(),
        **rivals(known, cells.labels[train]),
        OURS: fit_unusual(known).of,
    }
    scores = {score: of(watched) for score, of in scorings.items()}
    return {
        "class": name,
        "images": int(strange.sum()),
        "scores": {
            score: {
                "auroc": float(roc_auc_score(strange, found)),
                "flagged": float((found[strange] > threshold(found[~strange])).mean()),
            }
            for score, found in scores.items()
        },
    }


def compared(rows: list[Row]) -> str:
    """AUROC, and the share above the threshold that 95% of the taught cells pass."""
    lines = []
    for score in rows[0]["scores"]:
        found = [row["scores"][score] for row in rows]
        mean = {key: np.mean([each[key] for each in found]) for key in ("auroc", "flagged")}
        label = f"**{score}**" if score == OURS else score
        lines.append((label, *(f"{100 * each['auroc']:.0f}, {100 * each['flagged']:.0f}" for each in (mean, *found))))
    return table(("AUROC, flagged, %", "mean", *(f"{row['class']} ({row['images']})" for row in rows)), lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=HERE.parent.parent / "shared" / "data")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--only", nargs="+", metavar="CLASS")
    parser.add_argument("--models", type=Path, default=HERE.parent / "runs" / "untaught", help="folder to keep them in")
    parser.add_argument("--choice", action="store_true", help="compare scores on validation cells")
    parser.add_argument("--write", action="store_true", help="keep the results and fill docs/uncertainty.md")
    options = parser.parse_args()
    cells = load_cells(HOME, options.shared / HOME, RECIPE.preprocessing, quiet=True)
    taught = [name for name, count in cells.class_counts.items() if count]
    work, show, part, path = measure, markdown, "untaught", RESULTS
    if options.choice:
        work, show, part, path = compare, compared, "untaught-choice", RESULTS.with_name("untaught_choice.json")
    for name in options.only or taught:
        found = work(name, replace(RECIPE, epochs=options.epochs), cells, options.models / name)
        print(show([found]), flush=True)
        if options.write:
            fill("uncertainty.md", part, show(keep_row(path, options.epochs, "class", found, taught)))


if __name__ == "__main__":
    main()
