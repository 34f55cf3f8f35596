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
from leukonca.training.recipe_files import RECIPE_FILE, plan_of, to_toml
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
        teachers: run folders of the models that taught it; their recipes are shipped beside its own.
        pretrained: folder of the model that it began as, likewise; None: it began at random.
    """
    config, weights = read_model(run)
    if config.learned_elsewhere:
        raise SystemExit(f"{run}: began as a model of other images, which the folder of a shipped model cannot tell")
    recipes = _teachers(run, config, teachers) | _beginning(run, config, pretrained)
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


def _beginning(run: Path, config: ModelConfig, pretrained: Path | None) -> dict[str, str]:
    """The recipes of the model that a run began as, and of those that taught it, by file name.

    These are beside it if it was shipped, else in its folder ``teachers``, where ``leukonca train`` leaves them.
    """
    wanted = {each["model"]: each["weights"] for each in config.pretrained}
    found = {} if pretrained is None else {pretrained.resolve().name: read_model(pretrained)}
    if {name: weights_digest(weights) for name, (_, weights) in found.items()} != wanted:
        raise SystemExit(f"{run}: began as {', '.join(wanted) or 'nothing'}; name this very folder: --pretrained")
    if pretrained is None:
        return {}
    ((name, (config, _)),) = found.items()
    plan = plan_of(config.recipe, config.data)
    texts = {f"{name}.toml": f"# Of what {RECIPE_FILE}'s model begins as.\n\n{to_toml(plan)}"}
    if (pretrained / RECIPE_FILE).is_file():
        return texts | {file: (pretrained / file).read_text(encoding="utf-8") for file in plan.teachers}
    return texts | _teachers(pretrained, config, [pretrained / "teachers" / Path(file).stem for file in plan.teachers])


def _teachers(run: Path, config: ModelConfig, teachers: Sequence[Path]) -> dict[str, str]:
    """The recipes of the models that taught a run, by file name."""
    found = {folder.resolve().name: read_model(folder) for folder in teachers}
    wanted = {each["model"]: each["weights_sha256"] for each in config.teachers}
    if {name: weights_digest(weights) for name, (_, weights) in found.items()} != wanted:
        raise SystemExit(
            f"{run}: was taught by {', '.join(wanted) or 'nobody'}; name these very run folders: --teachers"
        )
    plans = {f"{name}.toml": plan_of(theirs.recipe, theirs.data) for name, (theirs, _) in found.items()}
    return {file: f"# Of a teacher; {RECIPE_FILE} names it.\n\n{to_toml(plan)}" for file, plan in plans.items()}


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
    parser.add_argument("--teachers", type=Path, nargs="+", default=[], metavar="RUN", help="that taught the run")
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
