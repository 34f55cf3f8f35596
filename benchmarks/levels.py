"""What it costs a model when the percentiles miss background or nucleus: all levels of red or green higher or lower.

python benchmarks/levels.py MODEL [--name NAME] [--shared ../shared/data] [--images 485] [--write]

For models with stretched colors (`leukonca.data.stain`) that were trained on Acevedo-20. Tested on at least so many of
their validation images, never on test images, and on BCCD, five classes. The images do not change: what the model sees
of them does, by a gain and an offset on the scale from 0, background, to 1, nucleus. With --write the accuracies are
kept in results/levels.json under the model's name, beside those of the models before it, and docs/experiments.md is
filled with all.
"""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import leukonca
from leukonca.data.augment import centre_images, normalise
from leukonca.data.cells import Cells, load_cells
from leukonca.data.mapping import read_map
from leukonca.data.stain import Levels
from leukonca.evaluation.calibrate import split_of
from leukonca.evaluation.calibration import tempered
from leukonca.evaluation.coarse import scoring_level
from leukonca.files import write_json
from leukonca.models.classifier import Classifier
from leukonca.models.folder import weights_digest
from marks import fill, table

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "levels.json"
BATCH = 32
CHANGES = {  # red's gain and offset, green's
    "as the percentiles are": (1, 0, 1, 0),
    "both 0.05 lower": (1, -0.05, 1, -0.05),
    "both 0.05 higher": (1, 0.05, 1, 0.05),
    "green 0.05 lower": (1, 0, 1, -0.05),
    "green 0.05 higher": (1, 0, 1, 0.05),
    "both times 0.85": (0.85, 0, 0.85, 0),
    "both times 1.2": (1.2, 0, 1.2, 0),
    "green times 0.9": (1, 0, 0.9, 0),
    "green times 1.1": (1, 0, 1.1, 0),
}


def accuracy(model: Classifier, cells: Cells, indices: np.ndarray, change: tuple[float, float, float, float]) -> float:
    level = scoring_level(cells, model.config)
    mean, std = model.config.normalisation()
    right = 0
    for low in range(0, len(indices), BATCH):
        batch = indices[low : low + BATCH]
        views = centre_images(torch.from_numpy(np.ascontiguousarray(cells.images[batch])), cells.preprocessing)
        each = np.tile(np.float32(change), (len(batch), 1))
        levels = Levels(gain=each[:, 0::2], offset=each[:, 1::2])
        with torch.no_grad():
            logits = model(normalise(views, mean, std, cells.preprocessing.stain, levels), seed=0)
        found = level.probabilities(tempered(logits.numpy(), model.config.temperature)).argmax(axis=1)
        right += int((found == level.labels[cells.labels[batch]]).sum())
    return right / len(indices)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--name", help="of the model in the table; none: as it is given")
    parser.add_argument("--shared", type=Path, default=HERE.parent.parent / "shared" / "data")
    parser.add_argument("--images", type=int, default=485)
    parser.add_argument("--write", action="store_true", help="keep the results and fill docs/experiments.md")
    options = parser.parse_args()
    model = leukonca.load(options.model).eval()
    settings = model.config.preprocessing
    home = load_cells("acevedo20", options.shared / "acevedo20", settings, quiet=True)
    validation = split_of(model.config, home).validation
    validation = validation[:: max(1, len(validation) // options.images)]
    mapped = read_map(HERE.parent / "docs" / "maps" / "five-classes.toml")
    bccd = load_cells(mapped, options.shared / "bccd", settings, quiet=True)
    found = {
        "date": datetime.now(UTC).date().isoformat(),
        "weights": weights_digest(model.weights())[:12],
        "images": [len(validation), len(bccd)],
        "accuracies": {
            change: [accuracy(model, home, validation, values), accuracy(model, bccd, np.arange(len(bccd)), values)]
            for change, values in CHANGES.items()
        },
    }
    name = options.name or options.model
    kept = {} if not RESULTS.exists() else json.loads(RESULTS.read_text(encoding="utf-8"))
    kept = {other: row for other, row in kept.items() if other != name} if options.write else {}
    kept[name] = found
    print(markdown(kept))
    if options.write:
        write_json(RESULTS, kept)
        fill("experiments.md", "levels", markdown(kept))


def markdown(models: dict[str, Any]) -> str:
    head = ["levels", *(part for name in models for part in (f"`{name}`: Acevedo-20, validation", "BCCD"))]
    lines = [
        [change, *(f"{100 * value:.1f}" for row in models.values() for value in row["accuracies"][change])]
        for change in CHANGES
    ]
    told = "; ".join(f"`{name}`: {row['date']}, weights {row['weights']}" for name, row in models.items())
    return f"{table(head, lines)}\n\n`python benchmarks/levels.py MODEL --name NAME --write`; {told}."


if __name__ == "__main__":
    main()
