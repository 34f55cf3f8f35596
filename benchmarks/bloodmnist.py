r"""Acevedo-20 as BloodMNIST would show it, all eight classes, with a split of our own: a file to train and test on.

python benchmarks/bloodmnist.py ../shared/data/acevedo20 runs/bloodmnist_own.npz
leukonca train --recipe docs/recipes/rate.toml --epochs 24 --field-um 20 --data bloodmnist=runs/bloodmnist_own.npz \
    --out runs/bloodmnist
leukonca evaluate runs/bloodmnist --data bloodmnist=runs/bloodmnist_own.npz --runs 8 --varied

The middle 20 um of each image at 64 x 64 pixels, as MedMNIST cut and resized them, but for the images of the prefixes
IG and NEUTROPHIL. 70% to train on, 10% to watch, 20% for the test, of each class, as MedMNIST's shares are; files of
the same bytes lie in one part. Its own split cannot be made without its file.
"""

import hashlib
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from leukonca.data.centers import CENTERS
from leukonca.progress import track

SIDE = 64
LEFT_OUT = ("IG", "NEUTROPHIL")
OURS = {"ig": "immature_granulocyte"}
"""Acevedo-20's folders whose class has another name in BloodMNIST."""

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}


def main(folder: Path, file: Path) -> None:
    acevedo, target = CENTERS["acevedo20"], CENTERS["bloodmnist"]
    numbers = {name: number for number, name in enumerate(target.labels.values())}
    images: list[np.ndarray] = []
    labels: list[int] = []
    members: dict[str, list[int]] = defaultdict(list)
    paths = sorted(path for path in folder.rglob("*.jpg") if acevedo.home.get(acevedo.rule(path.relative_to(folder))))
    for path in track(paths, "reading", len(paths), quiet=False):
        prefix = acevedo.rule(path.relative_to(folder))
        if prefix in LEFT_OUT:
            continue
        home = acevedo.home[prefix]
        members[hashlib.sha256(path.read_bytes()).hexdigest()].append(len(images))
        labels.append(numbers[OURS.get(home, home)])
        with Image.open(path) as image:
            around = image.width * (1 - (target.image_um or 0) / (acevedo.image_um or 1)) / 2
            box = (around, around, image.width - around, image.height - around)
            images.append(np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC, box)))
    truth = np.array(labels, np.uint8)
    parts = _parts(list(members.values()), truth)
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for part, chosen in parts.items():
        arrays[f"{part}_images"] = np.stack([images[i] for i in chosen])
        arrays[f"{part}_labels"] = truth[chosen][:, None]
        print(f"{part}: {len(chosen):,} images, {np.bincount(truth[chosen], minlength=len(numbers)).tolist()}")
    np.savez_compressed(file, **arrays)


def _parts(groups: list[list[int]], truth: np.ndarray) -> dict[str, np.ndarray]:
    """Each class's groups of identical files, shuffled and dealt out by the shares."""
    generator = np.random.default_rng(0)
    parts: dict[str, list[int]] = {part: [] for part in SHARES}
    of_class: dict[int, list[list[int]]] = defaultdict(list)
    for group in groups:
        of_class[int(truth[group[0]])].append(group)
    ends = np.cumsum(list(SHARES.values()))
    for label in sorted(of_class):
        mine = of_class[label]
        for place, number in enumerate(generator.permutation(len(mine))):
            part = list(SHARES)[int(np.searchsorted(ends, (place + 0.5) / len(mine)))]
            parts[part] += mine[number]
    return {part: np.sort(np.array(chosen)) for part, chosen in parts.items()}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
