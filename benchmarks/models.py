"""The table of docs/results.md: shipped models beside the paper's and a ResNeXt, with their size, work and time.

python benchmarks/models.py --write
python benchmarks/models.py --write --resnext runs/resnext40
python benchmarks/models.py --write --varied evaluation/acevedo20-compact-on-acevedo20-bccd/metrics.json
python benchmarks/models.py --write --no-time   # keeps the times that were measured before

Scores are read: of shipped models from their folders (benchmarks/ship.py), of the ResNeXt from the run folder of
`leukonca train --preset resnext-small`, of varied runs from what `leukonca evaluate MODEL --runs 8 --varied` wrote; of
these two, without one, from benchmarks/results/models.json. Only the time an image takes is measured, one image at a
call, in less than a minute.
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
from leukonca.models.presets import preset
from leukonca.models.registry import architecture_from_json
from marks import fill, table
from measuring import RESULTS, Row, keep, machine, pictures, predict, seconds, use_all_threads
from table import figures

PAGE = "results.md"
PART = "models"
HOME = "acevedo20"
SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "ece")
REPEATS = 15
AVERAGED = 8
VARIED = f"the same, {AVERAGED} varied runs"


def rows(resnext: Path | None, varied: Path | None, before: dict[str, Row], *, timed: bool) -> list[Row]:
    """One row a model, in the order shown."""
    home = (HOME, HOME)
    found = [
        _published("paper: automaton", preset("paper"), str(PAPER["nca"][home])),
        _published("paper: ResNeXt-50 32x4d", preset("resnext"), str(PAPER["resnext"][home])),
        {**_published("preset `paper`, here", preset("paper"), None), "note": "not trained: no graphics card"},
        *(_shipped(name) for name in shipped_models()),
    ]
    if varied is not None:
        found.append(_averaged(varied))
    elif (old := before.get(VARIED)) and old["weights"] == weights_digest(leukonca.load(old["model"]).weights()):
        found.append(old)
    if resnext is not None:
        found.append(_trained(resnext))
    elif old := next((row for row in before.values() if "run" in row), None):
        found.append(old)
    for row in found:
        if row.get("published"):  # of another program
            row["milliseconds"] = None
        else:
            row["milliseconds"] = _milliseconds(row) if timed else before.get(row["name"], {}).get("milliseconds")
    return found


def _published(name: str, architecture: AnyArchitecture, accuracy: str | None) -> Row:
    return {**_size(name, architecture), "published": accuracy, "scores": {}}


def _shipped(name: str) -> Row:
    metrics = json.loads((SHIPPED / name / "metrics.json").read_text(encoding="utf-8"))["centers"][HOME]
    config = leukonca.load(name).config
    return {**_size(f"shipped: `{name}`", config.architecture), "model": name, "scores": _scores(metrics)}


def _averaged(path: Path) -> Row:
    """The shipped model, every image run in each of the eight ways to turn and mirror it."""
    name = shipped_models()[-1]  # which stands above it
    model = leukonca.load(name)
    record = json.loads(path.read_text(encoding="utf-8"))
    metrics, weights = record["centers"][HOME], weights_digest(model.weights())
    if record["weights_sha256"] != weights or metrics.get("runs") != {"number": AVERAGED, "varied": True}:
        raise SystemExit(f"{path}: no test of {name}, as it is now, with --runs {AVERAGED} --varied")
    size = _size(VARIED, model.config.architecture)
    facts = {"multiply_adds": AVERAGED * size["multiply_adds"], "model": name, "runs": AVERAGED, "weights": weights}
    return {**size, **facts, "scores": _scores(metrics)}


def _trained(run: Path) -> Row:
    """A model that is not shipped, from its run folder."""
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    config, _ = read_model(run)
    if metrics["weights_sha256"] != weights_digest(leukonca.load(run).weights()):
        raise SystemExit(f"{run / 'metrics.json'}: is of other weights than the folder holds")
    size = _size("ResNeXt from scratch, here", config.architecture)
    plain = json.loads((run / "config.json").read_text(encoding="utf-8"))
    facts = {"run": run.name, "kind": plain["kind"], "architecture": plain["architecture"]}
    return {**size, **facts, "scores": _scores(metrics["centers"][HOME])}


def _scores(metrics: dict[str, Any]) -> dict[str, Any]:
    return {score: metrics[score] for score in SCORES}


def _size(name: str, architecture: AnyArchitecture) -> Row:
    trained = sum(value.numel() for value in build(architecture).parameters())
    return {"name": name, "parameters": trained, "multiply_adds": multiply_adds(architecture)}


def _milliseconds(row: Row) -> float:
    """Median time of one image, from normalised pixels to logits; of several runs, from pixels to probabilities."""
    if "runs" in row:
        predictor = leukonca.Predictor(row["model"])
        side = predictor.config.preprocessing.side
        square = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
        predictor.answers(square)
        once = lambda: predictor.answers(square, runs=row["runs"], varied=True)  # noqa: E731
        return 1000 * statistics.median(seconds(once) for _ in range(REPEATS))
    model = _model(row)
    images = pictures(1, model.config.preprocessing.grid)
    predict(model, images)
    return 1000 * statistics.median(seconds(lambda: predict(model, images)) for _ in range(REPEATS))


def _model(row: Row) -> Classifier:
    if "model" in row:
        return leukonca.load(row["model"])
    if "architecture" in row:
        return build(architecture_from_json(row["kind"], row["architecture"])).eval()
    return build(preset("resnext" if "ResNeXt" in row["name"] else "paper")).eval()


def markdown(found: list[Row]) -> str:
    head = ("", "parameters", "multiply-adds", "ms an image", "accuracy", "balanced", "macro-F1", "calibration error")
    return table(head, [_line(row) for row in found])


def _line(row: Row) -> tuple[str, ...]:
    scores = [_told(row["scores"][score], score) if score in row["scores"] else "–" for score in SCORES]
    if row.get("published"):
        scores[0] = str(row["published"])
    if row.get("note"):
        scores[0] = row["note"]
    time = "–" if row["milliseconds"] is None else figures(row["milliseconds"])
    return row["name"], f"{row['parameters']:,}", f"{row['multiply_adds'] / 1e6:,.0f} M", time, *scores


def _told(score: dict[str, float], name: str) -> str:
    times, digits = (100, 1) if "accuracy" in name else (1, 3)
    value, low, high = (f"{times * score[each]:.{digits}f}" for each in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resnext", type=Path, metavar="RUN", help="folder of a trained ResNeXt")
    parser.add_argument("--varied", type=Path, metavar="METRICS.json", help="of evaluate --runs 8 --varied")
    parser.add_argument("--no-time", action="store_true", help="measure nothing")
    parser.add_argument("--write", action="store_true", help=f"put the table into docs/{PAGE}")
    words = parser.parse_args()
    use_all_threads()
    path = RESULTS / f"{PART}.json"
    old = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"rows": []}
    before = {row["name"]: row for row in old["rows"]}
    timed = not words.no_time
    where = machine() if timed or "processor" not in old else {name: old[name] for name in old if name != "rows"}
    found = rows(words.resnext, words.varied, before, timed=timed)
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
