"""What it costs a model when the percentiles miss background or nucleus: all levels of red or green higher or lower.

python benchmarks/levels.py MODEL [MODEL...] [--shared ../shared/data] [--images 485]

For models with stretched colors (`leukonca.data.stain`) that were trained on fold 0 of Acevedo-20. Tested on at
least so many of that fold's validation images, never on its test images, and on BCCD, five classes. The images do not
change: what the model sees of them does, by a gain and an offset on the scale from 0, background, to 1, nucleus.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

import leukonca
from leukonca.data.augment import centre_images, normalise
from leukonca.data.cells import Cells, load_cells
from leukonca.data.mapping import read_map
from leukonca.data.official import split_for
from leukonca.data.stain import Levels
from leukonca.evaluation.calibration import tempered
from leukonca.evaluation.coarse import scoring_level
from leukonca.models.classifier import Classifier
from marks import table

HERE = Path(__file__).parent
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
    parser.add_argument("models", nargs="+")
    parser.add_argument("--shared", type=Path, default=HERE.parent.parent / "shared" / "data")
    parser.add_argument("--images", type=int, default=485)
    options = parser.parse_args()
    rows: dict[str, list[str]] = {name: [name] for name in CHANGES}
    head = ["levels"]
    for name in options.models:
        model = leukonca.load(name).eval()
        settings = model.config.preprocessing
        home = load_cells("acevedo20", options.shared / "acevedo20", settings, quiet=True)
        validation = split_for(home, fold=0).validation
        mapped = read_map(HERE.parent / "docs" / "maps" / "five-classes.toml")
        bccd = load_cells(mapped, options.shared / "bccd", settings, quiet=True)
        head += [f"{name}: Acevedo-20, validation", "BCCD"]
        step = max(1, len(validation) // options.images)
        for change, values in CHANGES.items():
            for cells, indices in ((home, validation[::step]), (bccd, np.arange(len(bccd)))):
                rows[change].append(f"{100 * accuracy(model, cells, indices, values):.1f}")
    print(table(head, list(rows.values())))


if __name__ == "__main__":
    main()
