"""How many cells of its own does a laboratory need? A trained model is trained on under a synthetic other microscope.

python benchmarks/finetuning.py MODEL [--shared ../shared/data] [--write]
python benchmarks/finetuning.py MODEL --rates 0.1 0.2 0.5      # how the defaults of --pretrained were chosen

The cells are validation images of Acevedo-20, which the model was watched on but did not learn from, changed as by
another stain and worse optics: SYNTHETIC. Some of each class are the laboratory's labelled cells; all others are
tested; byte-identical images are left out. No cell of another center is fitted to, and the test fold is not touched.
About two hours of one core; what results/finetuning.json holds for these weights is not measured again.
"""

import argparse
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

import leukonca
from leukonca.cli import main as leukonca_command
from leukonca.data.cells import load_cells
from leukonca.data.centers import CENTERS
from leukonca.data.images import read_image
from leukonca.evaluation.corruption import corrupt
from leukonca.evaluation.run import evaluate_cells
from leukonca.files import write_json
from leukonca.models.building import load
from leukonca.models.folder import weights_digest
from leukonca.training import pretrained
from marks import fill, table
from subject import CENTER, UM, Subject

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "finetuning.json"
LABORATORIES = {
    "dense, out of focus": (("dense", 3), ("blur", 4)),
    "other dyes, out of focus, noise": (("hue", 5), ("blur", 4), ("noise", 3)),
    "pale, other dyes, compressed": (("pale", 4), ("hue", 3), ("jpeg", 3)),
}
"""Synthetic microscopes: kinds of change and strengths, see docs/robustness.md. The first served to choose the default
rates, the first two the larger steps, the third nothing."""

EACH = (5, 20, 40)
"""Labelled cells of each class."""

LARGER = {
    20: ("--draws", "2380", "--learning-rate", "0.001", "--muon-rate", "0.0015"),
    40: ("--draws", "4760", "--learning-rate", "0.002", "--muon-rate", "0.003"),
}
"""By number of cells: 17 views of each training cell in an epoch, and 5 or 10 times the default rates."""

ARMS: dict[str, tuple[str, ...]] = {
    "fine-tuned": ("--pretrained", "MODEL"),
    "fine-tuned, larger steps": ("--pretrained", "MODEL"),
    "from nothing, as many views": ("--preset", "compact", "--epochs", str(pretrained.EPOCHS), *LARGER[40][:2]),
}
"""What is compared; from nothing with as many views as with larger steps."""

AS_IT_IS = "as it is"
KEPT = ("accuracy", "balanced_accuracy", "ece")
Row = dict[str, Any]


def changed(subject: Subject, changes: tuple[tuple[str, int], ...]) -> dict[str, list[np.ndarray]]:
    """Class -> the validation images of it, changed, uint8 [H, W, 3], in an order drawn once; no two byte-identical."""
    paths = subject.by_class(10_000)
    count = Counter(digest(subject, path) for each in paths.values() for path in each)
    paths = {name: [path for path in each if count[digest(subject, path)] == 1] for name, each in paths.items()}
    place = {path: i for i, path in enumerate(sorted(path for each in paths.values() for path in each))}
    found = {}
    for name, each in paths.items():
        images = [read_image(subject.shared / CENTER / path) for path in each]
        for i, path in enumerate(each):
            for kind, strength in changes:
                um = UM / min(images[i].shape[:2])
                places = np.array([place[path]])
                images[i] = corrupt(images[i][None], kind, strength, places=places, um_per_pixel=um)[0]
        found[name] = images
    return found


def digest(subject: Subject, path: str) -> str:
    return hashlib.sha256((subject.shared / CENTER / path).read_bytes()).hexdigest()


@contextmanager
def written(images: dict[str, list[np.ndarray]], first: int, last: int | None) -> Iterator[Path]:
    """A folder with a part of each class's images, one folder a class."""
    with TemporaryDirectory() as root:
        for name, each in images.items():
            folder = Path(root) / name
            folder.mkdir()
            for i, image in enumerate(each[first:last]):
                Image.fromarray(image).save(folder / f"{name}_{first + i:04}.png")
        yield Path(root)


def tested(model: str | Path, rest: Path) -> Row:
    classifier = load(model)
    cells = load_cells(CENTERS["folder"], rest, classifier.config.preprocessing, image_um=UM, quiet=True)
    scores = evaluate_cells(classifier, cells, np.arange(len(cells)), synthetic=True, quiet=True).metrics
    return {name: scores[name] for name in KEPT} | {"tested": len(cells)}


def trained(laboratory: Path, rest: Path, *start: str) -> Row:
    """The scores of a model that ``leukonca train`` makes of a laboratory's cells."""
    with TemporaryDirectory() as out:
        words = ["train", "--data", f"folder={laboratory}", "--image-um", str(UM), "--out", f"{out}/run", "--quiet"]
        if leukonca_command([*words, *start]) != 0:
            raise SystemExit(f"the training failed: {' '.join(words)} {' '.join(start)}")
        return tested(f"{out}/run", rest)


def choose(subject: Subject, rates: list[float]) -> None:
    """Print what factors of the learning rates give in the first laboratory, with the most cells and the fewest."""
    images = changed(subject, next(iter(LABORATORIES.values())))
    with written(images, max(EACH), None) as rest:
        print("as it is", tested(subject.model, rest)["accuracy"]["value"], flush=True)
        for each in (min(EACH), max(EACH)):
            for rate in rates:
                pretrained.RATE = rate
                with written(images, 0, each) as laboratory:
                    found = trained(laboratory, rest, "--pretrained", subject.model)
                print(each, rate, found["accuracy"]["value"], found["ece"]["value"], flush=True)


def measure(subject: Subject, known: dict[str, Row], only: list[str]) -> Iterator[tuple[str, str, Row]]:
    """Laboratory, name and scores of each row that is not known already and whose name one of some patterns fits."""
    for laboratory, changes in LABORATORIES.items():
        images, rows = changed(subject, changes), dict(known.get(laboratory, {}))
        with written(images, max(EACH), None) as rest:
            for each, arm in [(0, AS_IT_IS), *((number, arm) for number in EACH for arm in arms_of(number))]:
                name = f"{each} {arm}" if each else arm
                if name in rows or not any(re.search(pattern, f"{laboratory}: {name}") for pattern in only):
                    continue
                with written(images, 0, each) as labelled:
                    larger = LARGER[each] if "larger" in arm else ()
                    start = (str(subject.model) if word == "MODEL" else word for word in (*ARMS.get(arm, ()), *larger))
                    rows[name] = trained(labelled, rest, *start) if each else tested(subject.model, rest)
                yield laboratory, name, rows[name]


def arms_of(each: int) -> list[str]:
    """With the fewest cells no larger steps; from nothing only with the most cells."""
    left_out = () if each == max(EACH) else ("nothing",) if each in LARGER else ("nothing", "larger")
    return [arm for arm in ARMS if not any(word in arm for word in left_out)]


def kept(weights: str) -> dict[str, Row]:
    """Laboratory -> name -> scores, of what was measured of these weights."""
    found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    same = (found.get("weights"), found.get("arms")) == (weights, list(ARMS))
    return dict(found["laboratories"]) if same else {}


def markdown(found: Row) -> str:
    labs = found["laboratories"]
    rows: list[tuple[str, ...]] = []
    for name in LABORATORIES:
        scores = labs.get(name, {})
        if AS_IT_IS not in scores:
            continue
        rows.append((name, "none: as it is shipped", share(scores[AS_IT_IS]), *[""] * (len(ARMS) - 1)))
        for each in found["each"]:
            cells = (share(scores[f"{each} {arm}"]) if f"{each} {arm}" in scores else "" for arm in ARMS)
            rows.append(("", f"{each} of each class", *cells))
    told = (
        f"{found['date'][:10]}, `{found['command']}` (weights {found['weights']}); accuracy of "
        f"{min(row['tested'] for scores in labs.values() for row in scores.values()):,} cells, 95% intervals. "
        "**Synthetic changes of real cells.**"
    )
    return f"{told}\n\n{table(('synthetic microscope', 'labelled cells', *ARMS), rows)}"


def share(scores: Row) -> str:
    score = scores["accuracy"]
    return f"{100 * score['value']:.1f} [{100 * score['low']:.1f}, {100 * score['high']:.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--shared", type=Path, default=HERE.parent.parent / "shared" / "data")
    parser.add_argument("--rates", type=float, nargs="+", help="try these in place of the default; nothing is kept")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[""],
        metavar="PATTERN",
        help="rows whose names one of these fits: '40 fine-tuned$'",
    )
    parser.add_argument("--write", action="store_true", help="keep the results and fill docs/finetuning.md")
    options = parser.parse_args()
    subject = Subject(options.model, options.shared)
    if options.rates:
        choose(subject, options.rates)
        return
    weights = weights_digest(leukonca.load(options.model).weights())[:12]
    for laboratory, name, row in measure(subject, kept(weights), options.only):
        print(laboratory, name, share(row), flush=True)
        laboratories = kept(weights)  # another process may measure other rows
        laboratories.setdefault(laboratory, {})[name] = row
        found = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": f"python benchmarks/finetuning.py {options.model} --write",
            "weights": weights,
            "arms": list(ARMS),
            "each": list(EACH),
            "laboratories": laboratories,
        }
        if options.write:
            write_json(RESULTS, found)
            fill("finetuning.md", "finetuning", markdown(found))


if __name__ == "__main__":
    main()
