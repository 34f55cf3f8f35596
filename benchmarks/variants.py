"""Which automaton learns most in the same time of one core: variants of a recipe, each trained for some minutes.

python benchmarks/variants.py [--shared ../shared/data] [--minutes 3] [--only NAME ...] [--write]

Every variant changes a few settings of docs/recipes/patches.toml, and has the same processor time on fold 0 of
Acevedo-20; its learning rate falls to 0 over that time, so that each is at its end. It is tested on all validation
images, and on BCCD (five classes), whose images are of unknown scale. One seed, no test fold; JTSC is not looked at.
The figures say what learns quickly, not what is best after hours.
"""

import argparse
import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from leukonca.data.cells import load_cells
from leukonca.data.colors import cell_colors
from leukonca.data.mapping import read_map
from leukonca.data.official import split_for
from leukonca.evaluation.run import evaluate_cells
from leukonca.files import write_json
from leukonca.models.building import build
from leukonca.models.classifier import Classifier
from leukonca.models.cost import multiply_adds
from leukonca.training.draws import prepared
from leukonca.training.objective import loss_of
from leukonca.training.optimisers import optimisers, set_rate
from leukonca.training.recipe import Recipe, to_json
from leukonca.training.recipe_files import read_plan
from leukonca.training.traces import trained_config
from marks import fill, table
from measuring import machine

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "variants.json"
SEED = 0

Changes = dict[str, Any]
"""Settings by name; and, of this benchmark alone, `steps_between`: each batch of training draws its number of steps
from the first to the second, and `steps_at_first`: they grow from that number to the model's in half of the time."""

PIXELS: Changes = {"grid": 32, "patch": 1, "channels": 48, "hidden": 96, "pooling": "max"}
WHOLE: Changes = {"beyond": "reflection", "cut": 0.0, "tone": 0.0}
WIDE: Changes = {"cut": 0.5, "tone": 1.0, "pooling": "max", "channels": 128}
MUON: Changes = {"tone": 0.0, "mild": 0.5, "muon_rate": 0.003}
LIGHTNESS: Changes = {**MUON, "noise": 0.03, "stain_normalisation": "lightness"}
LEVELS: Changes = {**LIGHTNESS, "redness": 1.4, "levels": 0.2}
RATE: Changes = {**LEVELS, "fire_rate": 0.9, "steps": 14}
VARIANTS: dict[str, Changes] = {
    "32 x 32 cells of a pixel (`foreign.toml`)": {**PIXELS, **WHOLE},
    "32 x 32 cells of 2 x 2 pixels": {**PIXELS, **WHOLE, "grid": 64, "patch": 2},
    "16 x 16 cells of 2 x 2 pixels, 96 channels": {**WHOLE, "grid": 32, "patch": 2, "pooling": "max"},
    "16 x 16 cells of 4 x 4 pixels, 96 channels": {**WHOLE, "pooling": "max"},
    "the same, mean of the largest tenth, background, cut, tone (`patches.toml`)": {},
    "`patches.toml`, tone 1": {"tone": 1.0},
    "`patches.toml`, cut 0.5, tone 1": {"cut": 0.5, "tone": 1.0},
    "`patches.toml`, cut 0.5, tone 1, maximum, 128 channels": WIDE,
    "`patches.toml` without tone": {"tone": 0.0},
    "`patches.toml` without tone, 12 steps": {"tone": 0.0, "steps": 12},
    "`patches.toml` without tone, half of the views mild": {"tone": 0.0, "mild": 0.5},
    "`patches.toml` without tone, all views mild": {"tone": 0.0, "mild": 1.0},
    "half of the views mild, Muon": MUON,
    "half of the views mild, Muon, noise (`mixed.toml`)": {**MUON, "noise": 0.03},
    "lightness stretched in place of densities": LIGHTNESS,
    "the same, redness (`lightness.toml`)": {**LIGHTNESS, "redness": 1.4},
    "the same, levels (`levels.toml`)": LEVELS,
    "`levels.toml`, hidden layer 192": {**LEVELS, "hidden": 192},
    "`levels.toml`, 112 channels": {**LEVELS, "channels": 112},
    "`levels.toml`, fire rate 0.75, 16 steps": {**LEVELS, "fire_rate": 0.75, "steps": 16},
    "`levels.toml`, fire rate 0.9, 14 steps (preset `compact`, `rate.toml`)": RATE,
    "`levels.toml`, every cell fires, 12 steps": {**LEVELS, "fire_rate": 1.0, "steps": 12},
    "`levels.toml`, fire rate 0.25, 50 steps": {**LEVELS, "fire_rate": 0.25, "steps": 50},
    "`rate.toml`, 64 channels, 24 steps": {**RATE, "channels": 64, "steps": 24},
    "`rate.toml`, 10 to 18 steps in training, drawn": {**RATE, "steps_between": (10, 18)},
    "`rate.toml`, 6 steps at first": {**RATE, "steps_at_first": 6},
    "`rate.toml`, weights not averaged": {**RATE, "average": 0.0},
    "`rate.toml`, labels not smoothed": {**RATE, "label_smoothing": 0.0},
    "`rate.toml`, focal loss": {**RATE, "loss": "focal", "label_smoothing": 0.0},
    "`rate.toml`, no warm-up": {**RATE, "warmup": 0},
    "`rate.toml`, gradients not clipped": {**RATE, "clip": None},
    "`rate.toml`, field 18 um": {**RATE, "field_um": 18.0},
    "`rate.toml`, field 27 um": {**RATE, "field_um": 27.0},
}


def changed(recipe: Recipe, changes: Changes) -> Recipe:
    """The recipe with settings of its own, of its architecture and of its augmentation replaced, by name."""
    parts: Changes = {}
    for name in ("architecture", "augmentation"):
        part = getattr(recipe, name)
        parts[name] = replace(part, **{key: value for key, value in changes.items() if hasattr(part, key)})
    own = {key: value for key, value in changes.items() if hasattr(recipe, key)}
    grid = parts["architecture"].grid
    return replace(recipe, **parts, **own, margin=round(grid * recipe.margin / recipe.architecture.grid))


def steps_of(changes: Changes, steps: int, done: float, rng: np.random.Generator) -> int:
    """How many steps the automaton takes for a batch, when a share of the time is over."""
    if "steps_between" in changes:
        low, high = changes["steps_between"]
        return int(rng.integers(low, high + 1))
    first = changes.get("steps_at_first", steps)
    return round(first + (steps - first) * min(1, 2 * done))


def trained(recipe: Recipe, changes: Changes, shared: Path, seconds: float) -> tuple[Classifier, int, Any, Any]:
    """A model after so much processor time, the images it has seen, the cells and their split."""
    rng = np.random.default_rng(SEED)
    cells = load_cells("acevedo20", shared / "acevedo20", recipe.preprocessing, quiet=True)
    split = split_for(cells, fold=0)
    torch.manual_seed(SEED)
    model = build(recipe.architecture, classes=cells.classes)
    colors = cell_colors(cells, split.train)
    model.config = trained_config(model.config, cells, split, to_json(recipe), SEED, colors)
    grid = recipe.architecture.grid
    used = optimisers(model, recipe)
    average = {name: value.clone() for name, value in model.state_dict().items()}
    model(torch.zeros(2, 3, grid, grid)).sum().backward()  # compiles, which is not counted
    began, steps, seen = time.process_time(), 0, 0
    for epoch in range(10**6):
        for batch in prepared(cells, split, recipe, SEED, epoch, colors, lambda size: (slice(size), 1.0)):
            done = (time.process_time() - began) / seconds
            if done >= 1:
                model.load_state_dict(average)
                return model.eval(), seen, cells, split
            rate = min(1.0, (steps + 1) / max(1, recipe.warmup)) * 0.5 * (1 + math.cos(math.pi * done))
            model.zero_grad()
            depth = steps_of(changes, recipe.architecture.steps, done, rng)
            logits = model.head(model.features(batch.images, steps=depth, seed=batch.seeds))
            loss_of(logits, batch.labels, recipe).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip or math.inf)
            for optimiser in used:
                set_rate(optimiser, rate, 1.0)
                optimiser.step()
            steps, seen = steps + 1, seen + batch.size
            keep = min(recipe.average, (1 + steps) / (10 + steps))
            for name, value in model.state_dict().items():
                average[name].lerp_(value, 1 - keep)
    raise AssertionError


def measure(name: str, base: Recipe, shared: Path, seconds: float) -> dict[str, Any]:
    recipe = changed(base, VARIANTS[name])
    model, seen, cells, split = trained(recipe, VARIANTS[name], shared, seconds)
    home = evaluate_cells(model, cells, split.validation, quiet=True).metrics
    mapped = read_map(HERE.parent / "docs" / "maps" / "five-classes.toml")
    foreign = load_cells(mapped, shared / "bccd", recipe.preprocessing, quiet=True)
    bccd = evaluate_cells(model, foreign, np.arange(len(foreign)), quiet=True).metrics
    return {
        "variant": name,
        "parameters": sum(value.numel() for value in model.parameters()),
        "multiply_adds": multiply_adds(recipe.architecture),
        "images": seen,
        "validation": home["accuracy"],
        "bccd": bccd["accuracy"],
        "bccd_balanced": bccd["balanced_accuracy"],
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    def score(entry: dict[str, float]) -> str:
        return f"{100 * entry['value']:.1f} [{100 * entry['low']:.1f}, {100 * entry['high']:.1f}]"

    head = ("variant", "parameters", "multiply-adds", "images seen", "validation", "BCCD", "BCCD, balanced")
    return table(
        head,
        [
            (
                row["variant"],
                f"{row['parameters']:,}",
                f"{row['multiply_adds'] / 1e6:.0f} M",
                f"{row['images']:,}",
                *(score(row[name]) for name in ("validation", "bccd", "bccd_balanced")),
            )
            for row in rows
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=HERE.parent.parent / "shared" / "data")
    parser.add_argument("--minutes", type=float, default=3, help="processor time of each variant")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--write", action="store_true", help="keep the results and fill docs/experiments.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    base = read_plan(HERE.parent / "docs" / "recipes" / "patches.toml").recipe
    facts = {"minutes": options.minutes, **machine()}
    for name in options.only:
        scores = measure(name, base, options.shared, 60 * options.minutes)
        found = {**scores, **facts}
        print(markdown([found]).splitlines()[-1], flush=True)
        if options.write:
            kept = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"] if RESULTS.exists() else []
            rows = {row["variant"]: row for row in [*kept, found] if row["minutes"] == options.minutes}
            ordered = [rows[variant] for variant in VARIANTS if variant in rows]
            write_json(RESULTS, {"rows": ordered})
            fill("experiments.md", "variants", markdown(ordered))


if __name__ == "__main__":
    main()
