"""What worse images cost a model: accuracy and calibration under every corruption at five strengths.

python benchmarks/robustness.py MODEL [MODEL...] --data acevedo20=DIR [--write]
python benchmarks/robustness.py --write    what was measured last, written again
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray
from tyro.conf import Positional

import leukonca
from leukonca.cli.common import split_named_folder
from leukonca.cli.loading import DataOptions, open_center
from leukonca.data.cells import Cells
from leukonca.data.official import split_for
from leukonca.drawing import write_figure
from leukonca.evaluation.corruption import find_corruptions
from leukonca.evaluation.holdout import held_out
from leukonca.evaluation.robustness import robustness
from leukonca.models.config import ModelConfig, scale_for
from leukonca.models.folder import find_model
from leukonca.report.robustness import robustness_figure
from leukonca.report.words import percent
from marks import DOCS, fill, table
from measuring import RESULTS, keep, machine, use_all_threads

PART = "robustness"

Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    models: Positional[tuple[str, ...]] = ()
    """Model folders, or names of shipped models; none: what was measured last."""
    data: tuple[str, ...] = ()
    """Centers as NAME=DIR: at home the test fold is tested, elsewhere everything."""
    images: int = 150
    """Of each center, drawn by the seed."""
    kinds: tuple[str, ...] = ()
    """Kinds of corruption; none: all."""
    map: Annotated[Path | None, tyro.conf.arg(metavar="FILE.toml")] = None
    """Which class each folder of a center `folder` holds."""
    seed: int = 0
    write: bool = False
    """Put table and figure of the first model and center into docs/."""


def measured(name: str, text: str, settings: Settings) -> Row:
    """One model on one center."""
    folder = find_model(name)
    model = leukonca.load(folder)
    config = model.config
    opened = open_center(
        text, config.preprocessing, DataOptions(map_file=settings.map), assumed_um=scale_for(config, None), quiet=False
    )
    indices, note = tested(opened.cells, config, folder)
    kinds = [kind.name for kind in find_corruptions(settings.kinds or None)]
    facts = robustness(model, opened.cells, indices, kinds=kinds, images=settings.images, seed=settings.seed).facts()
    return {"model": folder.resolve().name, "center": split_named_folder(text)[0], "note": note, **facts}


def tested(cells: Cells, config: ModelConfig, folder: Path) -> tuple[NDArray[np.int64], str]:
    """See `held_out`; a folder without its split has it made again where the images are those of its training."""
    if (folder / "split.json").is_file() or cells.fingerprint != config.data.get("fingerprint"):
        return held_out(cells, config, folder)
    fold, folds = config.data["fold"], config.data["folds"]
    split = split_for(cells, fold=fold, folds=folds, seed=int(config.recipe["seed"]))
    return split.test, f"test fold {fold} of {folds}"


def markdown(row: Row) -> str:
    """One model on one center."""
    clean = row["clean"]["accuracy"]
    lines = [
        (
            name,
            f"{curve['what']}; {curve['unit']}",
            ", ".join(f"{value:g}" for value in curve["values"]),
            " ".join(f"{100 * entry['value']:.0f}" for entry in curve["accuracy"]),
            " ".join(f"{100 * entry['value']:.0f}" for entry in curve["ece"]),
            percent(curve["relative_loss"], 0),
        )
        for name, curve in sorted(row["kinds"].items(), key=lambda kind: -(kind[1]["relative_loss"] or 0))
    ]
    about = (
        f"{row['model']} on {row['center']} ({row['note']}), {row['images']} images: unchanged "
        f"{percent(clean['value'])} ({100 * clean['low']:.1f} to {100 * clean['high']:.1f}), calibration error "
        f"{percent(row['clean']['ece']['value'])}; mean over all corruptions {percent(row['shifted_accuracy'])}, "
        f"mean relative loss {percent(row['relative_loss'])}."
    )
    head = ("", "what; unit", "values", "accuracy, %, at 1 to 5", "calibration error, %", "loss")
    return f"{about}\n\n{table(head, lines)}"


def main(settings: Settings) -> None:
    if settings.models:
        use_all_threads()
        rows = [measured(model, text, settings) for model in settings.models for text in settings.data]
        keep(PART, {**machine(), "seed": settings.seed, "rows": rows})
    results = json.loads((RESULTS / f"{PART}.json").read_text(encoding="utf-8"))
    text = "\n\n".join(map(markdown, results["rows"]))
    print(text)
    if settings.write:
        fill("robustness.md", PART, f"{results['date'][:10]}, {results['processor']}.\n\n{text}")
        write_figure(robustness_figure(results["rows"][0]), DOCS / "figures" / "robustness.svg")


if __name__ == "__main__":
    main(tyro.cli(Settings, config=(tyro.conf.FlagCreatePairsOff,)))
