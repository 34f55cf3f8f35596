"""One recipe, five folds: how much of a score is chance of the split and of the training?

python benchmarks/folds.py RECIPE runs/fold0 runs/fold1 ... [--shared ../shared/data] [--write]

RECIPE: the name of a file in docs/recipes, by which the runs were trained (their epochs may be others). Each run is
tested on its own test fold, on BCCD and on JTSC: one run of each image, eight varied runs, and, at the foreign centers,
those with `--prior blood`. With --write the scores are kept in results/folds-RECIPE.json, beside those of other folds
that are there, and docs/results.md is filled. Two minutes of two cores a run.
"""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

import leukonca
from leukonca.data.cells import Cells, load_cells
from leukonca.data.mapping import read_map
from leukonca.evaluation.holdout import held_out
from leukonca.evaluation.intervals import wilson_interval
from leukonca.evaluation.prior import find_prior
from leukonca.evaluation.run import Evaluation, evaluate_cells
from leukonca.files import write_json
from leukonca.models.classifier import Classifier
from leukonca.models.folder import weights_digest
from leukonca.training.recipe import to_json
from leukonca.training.recipe_files import read_plan
from marks import fill, table
from merged import MERGED

HERE = Path(__file__).parent
RECIPES = HERE.parent / "docs" / "recipes"
HOME = "acevedo20"
ASKED: dict[str, dict[str, Any]] = {
    "one run": {},
    "8 varied": {"runs": 8, "varied": True},
    "8 varied, prior": {"runs": 8, "varied": True, "prior": "blood"},
}
SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "ece")
Row = dict[str, Any]


def tested(model: Classifier, folder: Path, cells: Cells, asked: dict[str, Any]) -> Row:
    indices, note = held_out(cells, model.config, folder)
    prior = find_prior(asked.get("prior"), model.config)
    evaluation = evaluate_cells(model, cells, indices, note=note, quiet=True, **{**asked, "prior": prior})
    row = {name: evaluation.metrics[name] for name in SCORES} | {"images": len(indices), "note": evaluation.note}
    return {**row, "seven": seven(evaluation, model.config.classes)} if cells.center == HOME else row


def seven(evaluation: Evaluation, classes: tuple[str, ...]) -> Row:
    """Accuracy in seven of BloodMNIST's eight classes; platelets have no label here."""
    names = tuple(dict.fromkeys(MERGED.get(name, name) for name in classes))
    place = [names.index(MERGED.get(name, name)) for name in classes]
    added = evaluation.outputs @ np.eye(len(names))[place]  # [N, classes] @ [classes, merged]
    right = int((added.argmax(axis=1) == [place[label] for label in evaluation.labels]).sum())
    low, high = wilson_interval(right, len(evaluation.labels)) or (None, None)
    return {"value": right / len(evaluation.labels), "low": low, "high": high}


def check_recipe(name: str, folder: Path, found: dict[str, Any]) -> None:
    wanted = json.loads(json.dumps(to_json(read_plan(RECIPES / f"{name}.toml").recipe)))
    if other := [key for key, value in wanted.items() if key != "epochs" and found.get(key) != value]:
        raise SystemExit(f"{folder}: was not trained by docs/recipes/{name}.toml, but with another {other[0]}")


def measure(name: str, folder: Path, shared: Path) -> Row:
    """All scores of one run, and what it is."""
    model = leukonca.load(folder)
    check_recipe(name, folder, model.config.recipe)
    settings, data = model.config.preprocessing, model.config.data
    mapped = read_map(HERE.parent / "docs" / "maps" / "five-classes.toml")
    centers = {
        HOME: load_cells(HOME, shared / HOME, settings, quiet=True),
        "bccd": load_cells(mapped, shared / "bccd", settings, quiet=True),
        "jtsc": load_cells(mapped, shared / "jtsc", settings, quiet=True),
    }
    logs = [
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for path in sorted(folder.rglob("log.jsonl"), key=lambda path: -len(path.parts))  # what it began as goes first
    ]
    return {
        "fold": data["fold"],
        "weights": weights_digest(model.weights())[:12],
        "epochs": " + ".join(str(len(log)) for log in logs),
        "minutes": sum(epoch["seconds"] for log in logs for epoch in log) / 60,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "scores": {
            center: {
                words: tested(model, folder, cells, asked)
                for words, asked in ASKED.items()
                if not ("prior" in asked and center == HOME)
            }
            for center, cells in centers.items()
        },
    }


SHOWN = (
    ("home, one run: accuracy", HOME, "one run", "accuracy"),
    ("balanced", HOME, "one run", "balanced_accuracy"),
    ("seven of BloodMNIST's eight classes", HOME, "one run", "seven"),
    ("calibration error", HOME, "one run", "ece"),
    ("home, 8 varied runs: accuracy", HOME, "8 varied", "accuracy"),
    ("balanced", HOME, "8 varied", "balanced_accuracy"),
    ("seven of BloodMNIST's eight classes", HOME, "8 varied", "seven"),
    ("calibration error", HOME, "8 varied", "ece"),
    *(
        (f"{center.upper()}, {words}" if score == "accuracy" else "balanced", center, words, score)
        for center in ("bccd", "jtsc")
        for words in ASKED
        for score in ("accuracy", "balanced_accuracy")
    ),
)
"""Heading, center, how it was asked, and score, of each line of the table."""


def markdown(name: str, folds: list[Row]) -> str:
    lines = []
    for heading, center, words, kind in SHOWN:
        scores = [each["scores"][center][words][kind] for each in folds]
        lines.append((heading, *(shown(score, kind) for score in scores), spread(scores, kind)))
    lines.append(("minutes of epochs", *(f"{each['minutes']:.0f}" for each in folds), ""))
    heads = (f"fold {each['fold']}, {each['epochs']} epochs" for each in folds)
    told = (
        f"{max(each['date'] for each in folds)[:10]}, `python benchmarks/folds.py {name} RUN... --write`; weights "
        f"{', '.join(each['weights'] for each in folds)}. Per cent [95% interval]; calibration errors as numbers."
    )
    return f"{told}\n\n{table(('', *heads, 'mean ± sd'), lines)}\n\n{together(folds)}"


def together(folds: list[Row]) -> str:
    """Accuracy of all images that were tested at home, each by the model that had not seen it."""
    told = []
    for words in ("one run", "8 varied"):
        scores = [each["scores"][HOME][words] for each in folds]
        count = sum(score["images"] for score in scores)
        right = round(sum(score["accuracy"]["value"] * score["images"] for score in scores))
        low, high = wilson_interval(right, count) or (0.0, 0.0)
        told.append(f"{words} {100 * right / count:.1f} [{100 * low:.1f}, {100 * high:.1f}]")
    every = f"All {count:,} images of these folds together, each tested by the model that had not seen it"
    return f"{every}: {', '.join(told)}."


def shown(score: Row, name: str) -> str:
    value, low, high = (score[part] for part in ("value", "low", "high"))
    if name == "ece":
        return f"{value:.3f} [{low:.3f}, {high:.3f}]"
    return f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def spread(scores: list[Row], name: str) -> str:
    """Mean and standard deviation over the folds."""
    factor, digits = (1, 3) if name == "ece" else (100, 1)
    values = [factor * score["value"] for score in scores]
    return f"**{mean(values):.{digits}f} ± {stdev(values):.{digits}f}**" if len(values) > 1 else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", metavar="RECIPE")
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--shared", type=Path, default=HERE.parent.parent / "shared" / "data")
    parser.add_argument("--write", action="store_true", help="keep the results and fill docs/results.md")
    options = parser.parse_args()
    kept = HERE / "results" / f"folds-{options.recipe}.json"
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else []
    new = [measure(options.recipe, folder, options.shared) for folder in options.runs]
    replaced = {(each["fold"], each["epochs"]) for each in new}
    every = [each for each in known if (each["fold"], each["epochs"]) not in replaced] + new
    every.sort(key=lambda each: (each["fold"], each["epochs"]))
    text = markdown(options.recipe, every)
    print(text)
    if options.write:
        write_json(kept, every)
        fill("results.md", f"folds-{options.recipe}", text)


if __name__ == "__main__":
    main()
