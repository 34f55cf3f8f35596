"""Makes a trained run a model of the package: tests it on every center there is, and writes its folder and card.

python benchmarks/ship.py runs/acevedo20-compact acevedo20-compact --data ../shared/data
python benchmarks/ship.py runs/student acevedo20-compact --teachers runs/teacher   # of a model that was taught
python benchmarks/ship.py runs/finer acevedo20-compact --pretrained runs/coarse    # that began as another one
python benchmarks/ship.py --cards      # write the cards of all shipped models again from what their folders say

About five minutes of two cores for a compact automaton. Tests are kept in RUN/tests and are not made twice; nothing
is fitted, and nothing of the package is touched before they are done and the folder is known to be small enough.
"""

import argparse
import csv
import hashlib
import json
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import leukonca
from leukonca.cli import main as leukonca_command
from leukonca.data.centers import CENTERS
from leukonca.errors import LeukoncaError
from leukonca.files import write_json, write_text
from leukonca.models.card import model_card
from leukonca.models.card_tests import read_tests
from leukonca.models.config import ModelConfig
from leukonca.models.folder import SHIPPED, read_model, shipped_models, weights_digest
from leukonca.report.chain import TEACHERS
from leukonca.training.recipe_files import RECIPE_FILE, Plan, plan_of, read_plan, to_toml
from leukonca.training.seen import PACKED, read_seen, write_seen

HERE = Path(__file__).parent
MAP = HERE.parent / "docs" / "maps" / "five-classes.toml"
CELLS = HERE.parent / "tests" / "shipped"
"""What the tests expect of single cells, one file a model."""

FOREIGN: Mapping[str, str] = {
    "bccd": "BCCD data set, cells cut out by apple2373/BCCD; MIT. Not fitted to, but it helped to choose the recipe",
    "jtsc": "JTSC, Jiangxi Tecom Science Corporation; Zheng et al. 2018, doi 10.1016/j.micron.2018.01.010",
}
"""Folder -> source. Centers that no model here was fitted to, with labels of five kinds."""

OTHERWISE = ("--runs 8 --varied", "--runs 8 --varied --prior blood")
"""Ways of asking that the card tells of beside one run of each image."""

OTHER_SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "ece")

MOST_BYTES = 700_000
"""Of a folder: the weights of 100 thousand parameters are 400 kB, what was seen 160, what is usual 50."""


def ship(run: Path, name: str, data: Path, teachers: Sequence[Path], pretrained: Path | None) -> None:
    """Write the folder of a shipped model, and what the tests expect of it.

    Args:
        run: a run folder of ``leukonca train``, with its ``split.json``.
        name: to ship it under.
        data: folder of the centers' folders.
        teachers: run folders of the models that taught it, or that which it began as; their recipes are shipped beside.
        pretrained: folder of the model that it began as, likewise; None: it began at random.
    """
    config, weights = read_model(run)
    if config.learned_elsewhere:
        raise SystemExit(f"{run}: began as a model of other images, which the folder of a shipped model cannot tell")
    recipes = _others(run, config, pretrained, teachers)
    seen = read_seen(run, config, needed=True)
    assert seen is not None
    tests, cells = _tests(run, str(config.data["center"]), data, name)
    with TemporaryDirectory() as made:
        folder = Path(made) / name
        digest = write_seen(folder / PACKED, seen)
        model = leukonca.load(run)
        model.config = replace(config, data={**config.data, "seen_sha256": digest})
        model.save(folder)
        for file, text in {RECIPE_FILE: _recipe(name, model.config), **recipes}.items():
            write_text(folder / file, text)
        scores = _rounded({"version": leukonca.__version__, "centers": tests})
        write_text(folder / "metrics.json", json.dumps(scores, allow_nan=False, separators=(",", ":")) + "\n")
        write_card(folder)
        size = sum(path.stat().st_size for path in folder.iterdir())
        if size > MOST_BYTES:
            raise SystemExit(f"{run}: {size} bytes to ship are more than {MOST_BYTES}; ship a smaller model")
        shutil.rmtree(SHIPPED / name, ignore_errors=True)
        shutil.copytree(folder, SHIPPED / name)
    facts = {"weights_sha256": weights_digest(weights), "classes": list(config.classes), "cells": cells}
    write_json(CELLS / f"{name}.json", facts)
    print(f"{SHIPPED / name}: {size / 1000:.0f} kB")


def _others(run: Path, config: ModelConfig, pretrained: Path | None, teachers: Sequence[Path]) -> dict[str, str]:
    """The recipes of all models that were trained before a run, by file name."""
    texts = _teachers(run, config, teachers, RECIPE_FILE)
    wanted = [(each["model"], each["weights"]) for each in config.pretrained]
    if len(wanted) > 1:
        raise SystemExit(f"{run}: began as a model that began as another one; its recipe cannot tell of more than one")
    first = None if pretrained is None else read_model(pretrained)
    if wanted != ([] if first is None else [(pretrained.resolve().name, weights_digest(first[1]))]):
        raise SystemExit(
            f"{run}: began as {wanted[0][0] if wanted else 'no other'}; name this very folder: --pretrained"
        )
    if first is None:
        return texts
    file = f"{pretrained.resolve().name}.toml"
    plan = plan_of(first[0].recipe, first[0].data)
    before = {file: f"# Of the model that {RECIPE_FILE}'s begins as.\n\n{to_toml(plan)}"}
    if (pretrained / RECIPE_FILE).is_file():  # it was shipped, with them beside it
        before |= {name: _of_teacher(read_plan(pretrained / name), file) for name in plan.teachers}
    else:
        own = [folder for name in plan.teachers if (folder := pretrained / TEACHERS / Path(name).stem).is_dir()]
        before |= _teachers(pretrained, first[0], [*teachers, *own], file)
    for name in texts.keys() & before.keys():
        if _body(texts[name]) != _body(before[name]):
            raise SystemExit(f"{run}: two recipes are called {name}; give one of the run folders another name")
    return texts | before


def _teachers(run: Path, config: ModelConfig, folders: Sequence[Path], told_by: str) -> dict[str, str]:
    """The recipes of the models that taught a run, by file name; other folders are of no account."""
    found = [(folder.resolve().name, *read_model(folder)) for folder in folders]
    plans = {}
    for each in config.teachers:
        name, digest = each["model"], each["weights_sha256"]
        of_it = [theirs for its, theirs, weights in found if (its, weights_digest(weights)) == (name, digest)]
        if not of_it:
            raise SystemExit(f"{run}: was taught by {name}; name this very run folder: --teachers")
        plans[f"{name}.toml"] = _of_teacher(plan_of(of_it[0].recipe, of_it[0].data), told_by)
    return plans


def _of_teacher(plan: Plan, told_by: str) -> str:
    return f"# Of a teacher; {told_by} names it.\n\n{to_toml(plan)}"


def _body(text: str) -> str:
    return text.partition("\n\n")[2]


def write_card(folder: Path) -> None:
    """The card that follows from a shipped model's config, weights and ``metrics.json``."""
    config, _ = read_model(folder)
    parameters = sum(value.numel() for value in leukonca.load(folder).parameters())
    card = model_card(config, parameters, name=folder.name, tests=read_tests(folder))
    write_text(folder / "MODEL_CARD.md", card)


def _rounded(value: Any) -> Any:
    """Six digits of every number: more than an interval can tell, and half the bytes."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


def _tests(run: Path, home: str, data: Path, name: str) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
    """Scores by center, with the command that a reader would type; and the model's outputs for a few cells."""
    scores: dict[str, Any] = {}
    cells: dict[str, dict[str, float]] = {}
    for words, told in _calls(home, data):
        out = _evaluated(run, words)
        with (out / "predictions.csv").open(encoding="utf-8", newline="") as file:
            cells |= _few(csv.DictReader(file))
        others = {asked: _scores(_evaluated(run, [*words, *asked.split()])) for asked in OTHERWISE}
        for center, metrics in _scores(out).items():
            source = FOREIGN.get(center) or f"{CENTERS[center].citation}; {CENTERS[center].licence}"
            scores[center] = {**metrics, "command": f"leukonca evaluate {name} {told}", "source": source}
            scores[center]["otherwise"] = {
                asked: {score: found[center][score] for score in OTHER_SCORES} for asked, found in others.items()
            }
    return scores, cells


def _scores(out: Path) -> dict[str, Any]:
    """What an evaluation found, by center."""
    centers: dict[str, Any] = json.loads((out / "metrics.json").read_text(encoding="utf-8"))["centers"]
    return centers


def _evaluated(run: Path, words: list[str]) -> Path:
    """The folder of an evaluation, which is made unless this very model was tested so before."""
    config = (run / "config.json").read_bytes()
    out = run / "tests" / hashlib.sha256(config + json.dumps(words).encode()).hexdigest()[:16]
    done = out / "report.html"  # the last file that is written
    if not done.is_file() and leukonca_command(["evaluate", str(run), *words, "--out", str(out)]) != 0:
        raise SystemExit(f"leukonca evaluate {run} {shlex.join(words)} failed")
    return out


def _few(rows: Iterable[Mapping[str, str]]) -> dict[str, dict[str, float]]:
    """Path -> class -> probability of the first cell of each label of each center."""
    first: dict[tuple[str, str], Mapping[str, str]] = {}
    for row in rows:
        first.setdefault((row["center"], row["truth"]), row)
    plain = ("center", "path", "truth", "label", "probability")
    return {
        f"{row['center']}/{row['path']}": {each: float(row[each]) for each in row if each not in plain}
        for row in first.values()
    }


def _calls(home: str, data: Path) -> list[tuple[list[str], str]]:
    """The words of each evaluation, and the same for a reader whose folders are elsewhere."""
    foreign = [f"folder={data / center}" for center in FOREIGN]
    return [
        (["--data", f"{home}={data / home}"], f"--data {home}=DIR"),
        (
            ["--data", *foreign, "--map", str(MAP)],
            f"--data {' '.join(f'folder={center}' for center in FOREIGN)} --map docs/maps/{MAP.name}",
        ),
    ]


def _recipe(name: str, config: ModelConfig) -> str:
    plan = plan_of(config.recipe, config.data)
    return f"# leukonca train --recipe {name} --data {config.data['center']}=DIR\n\n{to_toml(plan)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", help="run folder of leukonca train")
    parser.add_argument("name", nargs="?", help="of the shipped model")
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data", help="folder of centers")
    parser.add_argument(
        "--teachers", type=Path, nargs="+", default=[], metavar="RUN", help="that taught the run, or what it began as"
    )
    parser.add_argument("--pretrained", type=Path, metavar="MODEL", help="that it began as")
    parser.add_argument("--cards", action="store_true", help="only write the cards of all shipped models again")
    words = parser.parse_args()
    if words.cards == bool(words.name):
        parser.error("give a run folder and a name, or --cards")
    try:
        for name in shipped_models() if words.cards else ():
            write_card(SHIPPED / name)
        if words.name:
            ship(words.run, words.name, words.data, words.teachers, words.pretrained)
    except LeukoncaError as error:
        raise SystemExit(f"ship: {error}") from error


if __name__ == "__main__":
    main()
