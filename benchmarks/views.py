"""Which views of a cell are worth averaging: eight runs, turned and mirrored or not, at one size or at several.

python benchmarks/views.py MODEL [--shared ../shared/data] [--images 485] [--write]

For models that were trained on Acevedo-20 with `nucleus_um`. Tested on at least so many of their validation images,
never on test images, at their true scale and as if nobody knew it, so that each is cut by its own nucleus; and on BCCD,
whose scale nobody knows (five classes); all at the temperature of one run. With --write the scores are kept in
results/views.json, and docs/uncertainty.md is filled with them.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import leukonca
from leukonca.data.cells import Cells, load_cells
from leukonca.data.centers import CENTERS
from leukonca.data.mapping import read_map
from leukonca.data.preprocessing import Preprocessing, centre_view, sized_view
from leukonca.data.varied import turn
from leukonca.evaluation.calibrate import split_of
from leukonca.evaluation.coarse import scoring_level
from leukonca.files import write_json
from leukonca.models.folder import weights_digest
from marks import fill, table

HERE = Path(__file__).parent
BATCH = 32
VARIANTS: dict[str, tuple[int, bool, tuple[float, ...]]] = {  # runs, turned, sizes
    "1 run": (1, False, (1.0,)),
    "8 runs": (8, False, (1.0,)),
    "8 turned": (8, True, (1.0,)),
    "8 turned, sizes 1, 0.85, 1.18: `--varied`": (8, True, (1.0, 0.85, 1.18)),
    "8 turned, sizes 1, 0.8, 1.25": (8, True, (1.0, 0.8, 1.25)),
    "8 turned, sizes 1, 0.83, 1.2, 0.7, 1.4": (8, True, (1.0, 0.83, 1.2, 0.7, 1.4)),
    "8 not turned, sizes 1, 0.85, 1.18": (8, False, (1.0, 0.85, 1.18)),
}


def views(
    squares: np.ndarray, settings: Preprocessing, runs: int, turned: bool, sizes: tuple[float, ...]
) -> Iterator[np.ndarray]:
    for run in range(runs):
        size = sizes[run % len(sizes)]
        seen = centre_view(squares, settings) if size == 1 else sized_view(squares, settings, size)
        yield turn(seen, run) if turned else seen


def scores(predictor: leukonca.Predictor, cells: Cells, indices: np.ndarray, variant: str) -> tuple[float, float]:
    """Accuracy, and the mean negative log-likelihood of the true class."""
    level = scoring_level(cells, predictor.config)
    parts = []
    for low in range(0, len(indices), BATCH):
        squares = np.ascontiguousarray(cells.images[indices[low : low + BATCH]])
        seen = views(squares, cells.preprocessing, *VARIANTS[variant])
        parts.append(np.mean([predictor.probabilities(view, seed=run) for run, view in enumerate(seen)], axis=0))
    found, labels = level.probabilities(np.concatenate(parts)), level.labels[cells.labels[indices]]
    likelihood = np.maximum(found[np.arange(len(labels)), labels], 1e-9)
    return float((found.argmax(axis=1) == labels).mean()), -float(np.log(likelihood).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--shared", type=Path, default=HERE.parent.parent / "shared" / "data")
    parser.add_argument("--images", type=int, default=485)
    parser.add_argument("--write", action="store_true", help="keep the results and fill docs/uncertainty.md")
    options = parser.parse_args()
    predictor = leukonca.Predictor(options.model)
    settings = predictor.config.preprocessing
    home = CENTERS["acevedo20"]
    known, guessed = (
        load_cells(center, options.shared / "acevedo20", settings, quiet=True)
        for center in (home, replace(home, image_um=None))
    )
    mapped = read_map(HERE.parent / "docs" / "maps" / "five-classes.toml")
    bccd = load_cells(mapped, options.shared / "bccd", settings, quiet=True)
    validation = split_of(predictor.config, known).validation
    validation = validation[:: max(1, len(validation) // options.images)]
    asked = {
        "Acevedo-20, validation": (known, validation),
        "the same, scale not told": (guessed, validation),
        "BCCD": (bccd, np.arange(len(bccd))),
    }
    found = {name: {where: scores(predictor, *asked[where], name) for where in asked} for name in VARIANTS}
    lines = [
        (name, *(f"{100 * accuracy:.1f}, {nll:.3f}" for accuracy, nll in row.values())) for name, row in found.items()
    ]
    text = table(("accuracy, NLL", *asked), lines)
    counts = ", ".join(f"{len(indices)} of {where}" for where, (_, indices) in asked.items())
    date, weights = datetime.now(UTC).date().isoformat(), weights_digest(predictor.weights())[:12]
    text = (
        f"{date}, `python benchmarks/views.py {options.model} --write` (weights {weights}); images: {counts}.\n\n{text}"
    )
    print(text)
    if options.write:
        facts = {
            "date": date,
            "model": options.model,
            "weights": weights,
            "images": {where: len(indices) for where, (_, indices) in asked.items()},
        }
        write_json(HERE / "results" / "views.json", {**facts, "scores": found})
        fill("uncertainty.md", "views", text)


if __name__ == "__main__":
    main()
