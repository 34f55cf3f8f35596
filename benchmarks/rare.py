"""Of a kind that was taught from few cells: how many are flagged `unusual`?

python benchmarks/rare.py [MODEL] [--shared ../shared/data] [--write]

What is usual is fitted again to at most 100 training cells of each class, of one class in turn to fewer; the threshold
is chosen by the validation cells of the other classes, and the flagged share is that of the class's own. Beside it the
same with one look at each cell, where rare classes have fewer looks. Five draws of the few cells. The weights were
trained on all cells of the class: a model that was not might see it otherwise. About three minutes of one core.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leukonca.data.cells import load_cells
from leukonca.data.official import split_for
from leukonca.data.varied import WAYS
from leukonca.evaluation.unusual import ACCEPTED, PER_CLASS, cell_features, fit_unusual, looks, threshold
from leukonca.files import write_json
from leukonca.models.building import load
from leukonca.models.nca import NCAClassifier
from marks import fill, table

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "rare.json"
HOME = "acevedo20"
FEW = (4, 8, 12, 20, 50, PER_CLASS)
DRAWS = 5
Row = dict[str, Any]


def measure(model: NCAClassifier, shared: Path) -> list[Row]:
    cells = load_cells(HOME, shared / HOME, model.config.preprocessing, quiet=True)
    split, generator = split_for(cells, fold=0), np.random.default_rng(0)
    known, _ = looks(split.train, cells.labels, generator)
    place = np.full(len(cells), -1)
    place[known] = np.arange(len(known))
    ways = [np.full(len(known), way) for way in range(WAYS)]
    seen = np.stack([cell_features(model, cells, known, generator, way, quiet=True) for way in ways])  # [8, M, C]
    watched = cell_features(model, cells, split.validation, generator, quiet=True)
    truth = cells.labels[split.validation]
    rows = []
    for label in np.unique(truth):
        row: Row = {"class": cells.classes[label], "images": int((truth == label).sum()), "few": {}}
        for few in FEW:
            shares = []
            for draw in range(DRAWS if few < PER_CLASS else 1):
                chooser = np.random.default_rng([draw, few])
                mine = chooser.permutation(known[cells.labels[known] == label])[:few]
                left = np.concatenate([known[cells.labels[known] != label], mine])
                again, way = looks(left, cells.labels, chooser)
                fits = seen[way, place[again]], seen[0, place[np.sort(left)]]
                shares.append([flagged(features, watched, truth == label) for features in fits])
            row["few"][str(few)] = dict(zip(("ours", "one look"), np.mean(shares, axis=0).tolist(), strict=True))
        rows.append(row)
        print(row, flush=True)
    return rows


def flagged(known: NDArray[np.float32], watched: NDArray[np.float32], rare: NDArray[np.bool_]) -> float:
    scores = fit_unusual(known).of(watched)
    return float((scores[rare] > threshold(scores[~rare])).mean())


def markdown(rows: list[Row]) -> str:
    return table(
        ("flagged, %: with as many looks at each class (with one look at each cell)", *(f"{few} cells" for few in FEW)),
        [
            (
                f"{row['class']} ({row['images']})",
                *(f"{100 * each['ours']:.0f} ({100 * each['one look']:.0f})" for each in row["few"].values()),
            )
            for row in rows
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="acevedo20-compact")
    parser.add_argument("--shared", type=Path, default=HERE.parent.parent / "shared" / "data")
    parser.add_argument("--write", action="store_true", help="keep the results and fill docs/uncertainty.md")
    options = parser.parse_args()
    model = load(options.model)
    assert isinstance(model, NCAClassifier)
    rows = measure(model, options.shared)
    print(markdown(rows))
    if options.write:
        write_json(RESULTS, {"model": options.model, "accepted": ACCEPTED, "draws": DRAWS, "rows": rows})
        fill("uncertainty.md", "rare", markdown(rows))


if __name__ == "__main__":
    main()
