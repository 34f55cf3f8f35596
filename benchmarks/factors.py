"""What breaks a model under a foreign microscope, one factor at a time: scale, stain, focus, the scale of colors.

python benchmarks/factors.py [--shared ../shared/data] [--epochs 4] [--only NAME ...] [--write]

A small ResNeXt, which learns in minutes and fails abroad just as the automaton does, is trained anew with each variant
of docs/recipes/foreign.toml on fold 0 of Acevedo-20. It is tested on validation images, on those under shifts,
and on BCCD (five classes), whose images are of unknown scale. One seed. JTSC is not looked at.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from leukonca.data.augmentation import Augmentation
from leukonca.data.cells import load_cells
from leukonca.data.mapping import read_map
from leukonca.data.official import split_for
from leukonca.evaluation.robustness import shifted_accuracy
from leukonca.evaluation.run import evaluate_cells
from leukonca.models.presets import ResNeXtArchitecture
from leukonca.training.loop import train
from leukonca.training.recipe import Recipe
from leukonca.training.recipe_files import read_plan
from marks import fill, keep_row, table

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "factors.json"
SHIFTS = {"focus": ("blur",), "size": ("smaller", "larger"), "stain": ("hue", "pale", "dense")}
IMAGES, STRENGTHS = 400, (2, 4)

SMALL = ResNeXtArchitecture(grid=48, blocks=(1, 1, 1, 1), width=32, groups=8, group_width=8)
FOREIGN = replace(
    read_plan(HERE.parent / "docs" / "recipes" / "foreign.toml").recipe,
    architecture=SMALL,
    margin=14,
    epochs=4,
    batch_size=32,
    warmup=100,
)
HOME = replace(
    FOREIGN,
    augmentation=Augmentation(shift=0.05, scale=0.08, stain=0.1),
    stain_normalisation="plain",
)
"""A field of 22 um as well, and mild changes of size and stain, as `plain.toml` has them."""


def widened(recipe: Recipe, **changes: float) -> Recipe:
    return replace(recipe, augmentation=replace(recipe.augmentation, **changes))


VARIANTS: dict[str, Recipe] = {
    "mild augmentation": HOME,
    "+ scale": widened(HOME, scale=0.5),
    "+ stain": widened(HOME, stain=0.3, mixing=0.25),
    "+ blur": widened(HOME, blur=0.035),
    "+ stretched densities": replace(HOME, stain_normalisation="stretched"),
    "+ stretched lightness": replace(HOME, stain_normalisation="lightness"),
    "+ scale, stain, blur": widened(HOME, scale=0.5, stain=0.3, mixing=0.25, blur=0.035),
    "+ all of these, densities (`foreign.toml`)": FOREIGN,
    "+ all of these, lightness": replace(FOREIGN, stain_normalisation="lightness"),
}


def measure(name: str, recipe: Recipe, shared: Path) -> dict[str, object]:
    cells = load_cells("acevedo20", shared / "acevedo20", recipe.preprocessing, quiet=True)
    split = split_for(cells, fold=0)
    with TemporaryDirectory() as folder:
        model = train(cells, split, recipe, Path(folder) / "run", quiet=True)
    home = evaluate_cells(model, cells, split.validation, quiet=True).metrics
    shifted = {
        what: shifted_accuracy(model, cells, split.validation, kinds, STRENGTHS, images=IMAGES)
        for what, kinds in SHIFTS.items()
    }
    mapped = read_map(HERE.parent / "docs" / "maps" / "five-classes.toml")
    foreign = load_cells(mapped, shared / "bccd", recipe.preprocessing, quiet=True)
    bccd = evaluate_cells(model, foreign, np.arange(len(foreign)), quiet=True).metrics
    scores = {"validation": home["accuracy"], "bccd": bccd["accuracy"], "bccd_balanced": bccd["balanced_accuracy"]}
    return {"variant": name, **scores, "shifted": shifted}


def markdown(rows: list[dict]) -> str:
    def score(entry: dict) -> str:
        return f"{100 * entry['value']:.1f} [{100 * entry['low']:.1f}, {100 * entry['high']:.1f}]"

    head = ("variant", "validation", *(f"shifted: {what}" for what in SHIFTS), "BCCD", "BCCD, balanced")
    return table(
        head,
        [
            (
                row["variant"],
                score(row["validation"]),
                *(f"{100 * row['shifted'][what]:.1f}" for what in SHIFTS),
                score(row["bccd"]),
                score(row["bccd_balanced"]),
            )
            for row in rows
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=HERE.parent.parent / "shared" / "data")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--write", action="store_true", help="keep the results and fill docs/experiments.md")
    options = parser.parse_args()
    for name in options.only:
        found = measure(name, replace(VARIANTS[name], epochs=options.epochs), options.shared)
        print(markdown([found]).splitlines()[-1], flush=True)
        if options.write:
            fill("experiments.md", "factors", markdown(keep_row(RESULTS, options.epochs, "variant", found, VARIANTS)))


if __name__ == "__main__":
    main()
