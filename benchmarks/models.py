"""The table of docs/results.md: shipped models beside the paper's and a ResNeXt, with their size, work and time.

python benchmarks/models.py --write
python benchmarks/models.py --write --resnext runs/resnext40 --varied-resnext EVALUATION/metrics.json
python benchmarks/models.py --write --resnext-folds runs/table --paper runs/paper32
python benchmarks/models.py --write --varied evaluation/acevedo20-compact-on-acevedo20-bccd/metrics.json
python benchmarks/models.py --write --no-time   # keeps the times that were measured before

Scores are read: of shipped models from their folders (benchmarks/ship.py), of the ResNeXt from the run folder of
`leukonca train --preset resnext-small`, of its folds from `leukonca benchmark cross-center`, of the paper's recipe with
less of everything from the run folder of `leukonca train --preset paper`, of varied runs from what `leukonca evaluate
MODEL --runs 8 --varied` wrote; of these, where they are not given, from benchmarks/results/models.json. Only the time
an image takes is measured, one image at a call, in less than a minute.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch

import leukonca
from leukonca.benchmark.published import PAPER
from leukonca.models.architecture import AnyArchitecture
from leukonca.models.building import build
from leukonca.models.classifier import Classifier
from leukonca.models.cost import multiply_adds
from leukonca.models.folder import SHIPPED, read_model, shipped_models, weights_digest
from leukonca.models.presets import Architecture, preset
from leukonca.models.registry import architecture_from_json
from leukonca.training.recipe_files import read_plan
from marks import fill, table
from measuring import RESULTS, Row, keep, machine, pictures, predict, seconds, use_all_threads
from table import figures

RECIPES = Path(__file__).parent.parent / "docs" / "recipes"
PAGE = "results.md"
PART = "models"
HOME = "acevedo20"
SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "ece")
REPEATS = 15
NOT_TRAINED = {
    "paper": "not trained: one to two days of two cores",  # 325,728 images, 2 to 4 a second (docs/performance.md)
    "resnext": "not trained: a smaller one, below",
}
AUTHORS_TIME = "1,100 to 1,600"
"""Milliseconds an image of the authors' code on two cores, as the project's brief has it; not measured here."""

AVERAGED = 8
VARIED = f"the same, {AVERAGED} varied runs"
RESNEXT = "ResNeXt from scratch, here"
RESNEXT_VARIED = f"that ResNeXt, {AVERAGED} varied runs"
RESNEXT_FOLDS, LESS_PAPER = "folds of the ResNeXt", "the paper's recipe with less"
"""Parts of the table, whose rows' names hold settings."""
FOLDS = {"rate": ("preset `compact`", {"preset": "compact"}), "grown": ("`grown.toml`", {})}
"""Recipe of `benchmarks/folds.py` -> what its rows are called, and by what the first of them is timed."""


def rows(given: argparse.Namespace, before: dict[str, Row]) -> list[Row]:
    """One row a model, in the order shown."""
    home = (HOME, HOME)
    found = [
        {**_published("paper: automaton", preset("paper"), str(PAPER["nca"][home])), "stated": AUTHORS_TIME},
        _published("paper: ResNeXt-50 32x4d", preset("resnext"), str(PAPER["resnext"][home])),
        {**_published("preset `paper`, here", preset("paper"), None), "note": NOT_TRAINED["paper"]},
        *_kept(LESS_PAPER, None if given.paper is None else _less_paper(given.paper), before),
        {**_published("preset `resnext` (ResNeXt-50), here", preset("resnext"), None), "note": NOT_TRAINED["resnext"]},
        *(_shipped(name) for name in shipped_models()),
    ]
    if given.varied is not None:
        found.append(_averaged(VARIED, given.varied, shipped_models()[-1]))  # which stands above it
    elif (old := before.get(VARIED)) and old["weights"] == weights_digest(leukonca.load(old["model"]).weights()):
        found.append(old)
    found += _of_folds()
    if given.resnext is not None:
        found.append(_trained(given.resnext))
        if given.varied_resnext is not None:
            found.append(_averaged(RESNEXT_VARIED, given.varied_resnext, given.resnext))
    else:
        found += [before[name] for name in (RESNEXT, RESNEXT_VARIED) if name in before]
    found += _kept(RESNEXT_FOLDS, None if given.resnext_folds is None else _of_table(given.resnext_folds), before)
    for row in found:
        if row.get("published") or ("folds" in row and "preset" not in row):  # another program's; that of a row above
            row["milliseconds"] = None
        elif given.no_time:
            row["milliseconds"] = before.get(row["name"], {}).get("milliseconds")
        else:
            row["milliseconds"] = _milliseconds(row)
    return found


def _of_folds() -> list[Row]:
    """Mean and spread over the trainings of each recipe that several folds have, one run and eight varied ones."""
    found = []
    for recipe, (title, timed) in FOLDS.items():
        folds = json.loads((RESULTS / f"folds-{recipe}.json").read_text(encoding="utf-8"))
        (epochs,) = {each["epochs"] for each in folds}
        architecture = read_plan(RECIPES / f"{recipe}.toml").recipe.architecture
        for asked, times in (("one run", 1), ("8 varied", AVERAGED)):
            values = {name: [each["scores"][HOME][asked][name]["value"] for each in folds] for name in SCORES}
            size = _size(f"{title}, {len(folds)} folds, {epochs} epochs each, {asked}", architecture)
            size["multiply_adds"] *= times
            found.append({**size, **(timed if times == 1 else {}), "folds": len(folds), "scores": values})
    return found


def _kept(part: str, row: Row | None, before: dict[str, Row]) -> list[Row]:
    """The row of a part of the table, or the one that stood there before."""
    return [{**row, "part": part}] if row else [old for old in before.values() if old.get("part") == part]


def _of_table(folder: Path) -> Row:
    """Mean and spread over the ResNeXt's trainings in a folder of `leukonca benchmark cross-center`."""
    tests = sorted((folder / "tests" / "resnext" / HOME / HOME).glob("strict-fold*.json"))
    metrics = [json.loads(path.read_text(encoding="utf-8"))["result"]["metrics"] for path in tests]
    config, _ = read_model(folder / "trainings" / "resnext" / HOME / "fold0")
    size = _size(f"that ResNeXt, {len(tests)} folds, {config.recipe['epochs']} epochs each", config.architecture)
    return {**size, "folds": len(tests), "scores": {name: [each[name]["value"] for each in metrics] for name in SCORES}}


def _less_paper(run: Path) -> Row:
    """The paper's recipe with fewer pixels, steps and epochs."""
    row = _trained(run)
    config, _ = read_model(run)
    cells, epochs = config.architecture, config.recipe["epochs"]
    assert isinstance(cells, Architecture)
    return {**row, "name": f"paper's recipe, {cells.grid} x {cells.grid} pixels, {cells.steps} steps, {epochs} epochs"}


def _published(name: str, architecture: AnyArchitecture, accuracy: str | None) -> Row:
    return {**_size(name, architecture), "published": accuracy, "scores": {}}


def _shipped(name: str) -> Row:
    metrics = json.loads((SHIPPED / name / "metrics.json").read_text(encoding="utf-8"))["centers"][HOME]
    config = leukonca.load(name).config
    return {**_size(f"shipped: `{name}`", config.architecture), "model": name, "scores": _scores(metrics)}


def _averaged(title: str, path: Path, model: str | Path) -> Row:
    """A model, every image run in each of the eight ways to turn and mirror it."""
    loaded = leukonca.load(model)
    record = json.loads(path.read_text(encoding="utf-8"))
    metrics, weights = record["centers"][HOME], weights_digest(loaded.weights())
    if record["weights_sha256"] != weights or metrics.get("runs") != {"number": AVERAGED, "varied": True}:
        raise SystemExit(f"{path}: no test of {model}, as it is now, with --runs {AVERAGED} --varied")
    size = _size(title, loaded.config.architecture)
    facts: Row = {"multiply_adds": AVERAGED * size["multiply_adds"], "runs": AVERAGED, "weights": weights}
    facts |= {"model": model} if isinstance(model, str) else _kind(model)
    return {**size, **facts, "scores": _scores(metrics)}


def _kind(run: Path) -> Row:
    """How a model that is not shipped can be built again."""
    plain = json.loads((run / "config.json").read_text(encoding="utf-8"))
    return {"run": run.name, "kind": plain["kind"], "architecture": plain["architecture"]}


def _trained(run: Path) -> Row:
    """A model that is not shipped, from its run folder."""
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    config, _ = read_model(run)
    if metrics["weights_sha256"] != weights_digest(leukonca.load(run).weights()):
        raise SystemExit(f"{run / 'metrics.json'}: is of other weights than the folder holds")
    return {**_size(RESNEXT, config.architecture), **_kind(run), "scores": _scores(metrics["centers"][HOME])}


def _scores(metrics: dict[str, Any]) -> dict[str, Any]:
    return {score: metrics[score] for score in SCORES}


def _size(name: str, architecture: AnyArchitecture) -> Row:
    trained = sum(value.numel() for value in build(architecture).parameters())
    return {"name": name, "parameters": trained, "multiply_adds": multiply_adds(architecture)}


def _milliseconds(row: Row) -> float:
    """Median time of one image, from normalised pixels to logits; of several runs, from pixels to probabilities."""
    if "runs" in row and "model" in row:
        predictor = leukonca.Predictor(row["model"])
        side = predictor.config.preprocessing.side
        square = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
        predictor.answers(square)
        once = lambda: predictor.answers(square, runs=row["runs"], varied=True)  # noqa: E731
        return 1000 * statistics.median(seconds(once) for _ in range(REPEATS))
    model = _model(row)
    images = pictures(1, model.config.preprocessing.grid)
    predict(model, images)
    median = statistics.median(seconds(lambda: predict(model, images)) for _ in range(REPEATS))
    return 1000 * median * row.get("runs", 1)


def _model(row: Row) -> Classifier:
    if "model" in row:
        return leukonca.load(row["model"])
    if "architecture" in row:
        return build(architecture_from_json(row["kind"], row["architecture"])).eval()
    return build(preset(row.get("preset", "resnext" if "resnext" in row["name"] else "paper"))).eval()


def markdown(found: list[Row]) -> str:
    head = ("", "parameters", "multiply-adds", "ms an image", "accuracy", "balanced", "macro-F1", "calibration error")
    return table(head, [_line(row) for row in found])


def _line(row: Row) -> tuple[str, ...]:
    told = _spread if "folds" in row else _told
    scores = [told(row["scores"][score], score) if score in row["scores"] else "–" for score in SCORES]
    if row.get("published"):
        scores[0] = str(row["published"])
    if row.get("note"):
        scores[0] = row["note"]
    time = row.get("stated", "–") if row["milliseconds"] is None else figures(row["milliseconds"])
    return row["name"], f"{row['parameters']:,}", f"{row['multiply_adds'] / 1e6:,.0f} M", time, *scores


def _spread(values: list[float], name: str) -> str:
    times, digits = _unit(name)
    return f"{times * statistics.mean(values):.{digits}f} ± {times * statistics.stdev(values):.{digits}f}"


def _unit(name: str) -> tuple[int, int]:
    """What a score is multiplied by, and how many digits are shown."""
    return (100, 1) if "accuracy" in name else (1, 3)


def _told(score: dict[str, float], name: str) -> str:
    times, digits = _unit(name)
    value, low, high = (f"{times * score[each]:.{digits}f}" for each in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resnext", type=Path, metavar="RUN", help="folder of a trained ResNeXt")
    parser.add_argument("--varied", type=Path, metavar="METRICS.json", help="of evaluate --runs 8 --varied")
    parser.add_argument("--varied-resnext", type=Path, metavar="METRICS.json", help="the same of the ResNeXt")
    parser.add_argument("--resnext-folds", type=Path, metavar="TABLE", help="folder of benchmark cross-center")
    parser.add_argument("--paper", type=Path, metavar="RUN", help="folder of a model of preset paper with less of it")
    parser.add_argument("--no-time", action="store_true", help="measure nothing")
    parser.add_argument("--write", action="store_true", help=f"put the table into docs/{PAGE}")
    words = parser.parse_args()
    use_all_threads()
    path = RESULTS / f"{PART}.json"
    old = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"rows": []}
    before = {row["name"]: row for row in old["rows"]}
    timed = not words.no_time
    where = machine() if timed or "processor" not in old else {name: old[name] for name in old if name != "rows"}
    found = rows(words, before)
    keep(PART, {**where, "rows": found})
    told = (
        f"{where['date'][:10]}, {where['processor']}, {where['threads']} threads, load {where['load_before']} before; "
        f"median of {REPEATS} single images."
    )
    text = markdown(found)
    if any(row["milliseconds"] is not None for row in found):
        text += f"\n\nTime: {told}"
    print(text)
    if words.write:
        fill(PAGE, PART, text)


if __name__ == "__main__":
    with torch.no_grad():
        main()
