"""Does a model know what it was not trained on? Its score of unusual cells against scores of its probabilities.

python benchmarks/unusual.py MODEL --data acevedo20=DIR [folder=DIR...] [--map FILE.toml] [--choice] [--write]

The first center is the model's own. What is compared with are cells of its test fold; with --choice, cells of its
validation part, and several ways of scoring features, of which one was chosen by that: other centers have no part in
it, and of the labels that were left out each half is used for one of the two.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax
from tyro.conf import Positional

import leukonca
from leukonca.cli.common import split_named_folder
from leukonca.cli.loading import DataOptions, open_center
from leukonca.data.cells import Cells
from leukonca.data.preprocessing import centre_view
from leukonca.evaluation.calibrate import split_of
from leukonca.evaluation.intervals import wilson_interval
from leukonca.evaluation.separation import separation
from leukonca.evaluation.unusual import fit_unusual
from leukonca.models.config import scale_for
from leukonca.models.folder import find_model, read_unusual
from leukonca.progress import track
from marks import fill, table
from measuring import keep, machine, use_all_threads
from scorings import Scoring, rivals
from strangers import Squares, Strangers, halves, left_out, made_up, out_of_focus, some

BATCH = 32
CHOSEN_BY = ("PLATELET", "IG")
"""Labels of which one half had a part in the choice."""

Row = dict[str, Any]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    model: Positional[str]
    """A model folder, or the name of a shipped model."""
    data: tuple[str, ...]
    """Centers as NAME=DIR; the first is the one that the model was trained on."""
    images: int = 300
    """Of every kind, drawn by the seed; twice as many usual ones, a third of synthetic ones."""
    choice: bool = False
    """Compare ways of scoring, on validation cells."""
    map: Annotated[Path | None, tyro.conf.arg(metavar="FILE.toml")] = None
    """Which class each folder of a center `folder` holds."""
    seed: int = 0
    write: bool = False
    """Keep the results, and put the table into docs/uncertainty.md."""


class Subject:
    """The model, and what its head sees."""

    def __init__(self, settings: Settings) -> None:
        self.predictor = leukonca.Predictor(settings.model)
        self.weights = self.predictor.weights()
        self.seed = settings.seed

    def features(self, squares: Squares, name: str) -> Array:
        """One run of each image; every batch has fire masks of its own."""
        starts = track(range(0, len(squares), BATCH), name, -(-len(squares) // BATCH))
        parts = [self.predictor.features(squares[low : low + BATCH], seed=self.seed + low) for low in starts]
        return np.concatenate(parts).astype(np.float64)

    def logits(self, features: Array) -> Array:
        w = self.weights
        hidden = np.maximum(features @ w["head.0.weight"].T + w["head.0.bias"], 0)
        logits: Array = (hidden @ w["head.2.weight"].T + w["head.2.bias"]) / self.predictor.config.temperature
        return logits

    def probabilities(self, features: Array) -> Array:
        return np.asarray(softmax(self.logits(features), axis=1))

    def baselines(self) -> dict[str, Scoring]:
        """Scores of the answer alone."""
        return {
            "1 - largest probability": lambda f: 1 - self.probabilities(f).max(axis=1),
            "entropy": lambda f: -(self.probabilities(f) * np.log(self.probabilities(f) + 1e-300)).sum(axis=1),
            "energy": lambda f: -np.asarray(logsumexp(self.logits(f), axis=1)),
        }


def open_home(settings: Settings, subject: Subject) -> tuple[Cells, Cells]:
    """The model's own center, and its cells whose labels were left out."""
    config = subject.predictor.config
    center, directory = split_named_folder(settings.data[0])
    cells = open_center(
        settings.data[0], config.preprocessing, DataOptions(), assumed_um=config.image_um, quiet=False
    ).cells
    return cells, left_out(center, directory, config.preprocessing)


def kinds(
    settings: Settings, subject: Subject, usual: NDArray[np.int64], cells: Cells, others: Cells
) -> Iterator[Strangers]:
    """All that is to be told from the usual cells; blurred ones and colors come from these."""
    most, seed = settings.images, settings.seed
    for label in others.classes:
        chosen, reported = halves(others, label)
        part = chosen if settings.choice else reported
        if label not in CHOSEN_BY:
            part = np.empty(0, np.int64) if settings.choice else np.sort(np.concatenate([chosen, reported]))
        if len(part):
            yield Strangers(label, centre_view(others.images[some(part, most, seed)], others.preprocessing))
    yield from out_of_focus(cells, some(usual, -(-most // 3), seed))
    drawn = seed + 1 if settings.choice else seed  # other noise than is reported
    yield from made_up(cells, some(usual, 50, seed), -(-most // 3), drawn)
    config = subject.predictor.config
    for text in () if settings.choice else settings.data[1:]:
        foreign = open_center(
            text,
            config.preprocessing,
            DataOptions(map_file=settings.map),
            assumed_um=scale_for(config, None),
            quiet=False,
        )
        indices = some(np.arange(len(foreign.cells)), most, seed)
        yield Strangers(foreign.name, centre_view(foreign.cells.images[indices], config.preprocessing))


def rows_of(
    settings: Settings,
    subject: Subject,
    scorings: dict[str, Scoring],
    usual: NDArray[np.int64],
    cells: Cells,
    others: Cells,
) -> tuple[list[Row], dict[str, Array]]:
    """Every kind under every score, and the usual cells' scores."""
    features = subject.features(centre_view(cells.images[usual], cells.preprocessing), "usual cells")
    own = {name: score(features) for name, score in scorings.items()}
    rows = []
    for kind in kinds(settings, subject, usual, cells, others):
        seen = subject.features(kind.squares, kind.name)
        told = {name: score(seen) for name, score in scorings.items()}
        rows.append(
            {
                "kind": kind.name,
                "synthetic": kind.synthetic,
                "images": len(seen),
                "scores": {name: separation(own[name], told[name], seed=settings.seed) for name in scorings},
                **accepted(subject, told),
            }
        )
    return rows, own


def accepted(subject: Subject, told: dict[str, Array]) -> Row:
    """What passes the model's own threshold."""
    limit = subject.predictor.config.thresholds.get("unusual")
    if limit is None or OURS not in told:
        return {}
    passed = int((told[OURS] <= limit).sum())
    low, high = wilson_interval(passed, len(told[OURS])) or (0.0, 1.0)
    return {"accepted": {"value": passed / len(told[OURS]), "low": low, "high": high}}


OURS = "unusual"


def measured(settings: Settings) -> Row:
    subject = Subject(settings)
    cells, others = open_home(settings, subject)
    split = split_of(subject.predictor.config, cells)
    part = split.validation if settings.choice else split.test
    usual = some(part, 2 * settings.images, settings.seed)
    scorings = subject.baselines()
    if settings.choice:
        each = [split.train[cells.labels[split.train] == k] for k in np.unique(cells.labels[split.train])]
        train = np.concatenate([some(members, settings.images, settings.seed) for members in each])
        features = subject.features(centre_view(cells.images[train], cells.preprocessing), "training cells")
        scorings |= rivals(features, cells.labels[train])
        scorings[OURS] = fit_unusual(features).of
        usual_facts: Row = {"training_images": len(train)}
    else:
        kept = read_unusual(settings.model)
        if kept is None:
            raise SystemExit(f"{settings.model}: has no score; `leukonca calibrate` gives it one")
        scorings = {OURS: kept.of, **scorings}
        usual_facts = {"threshold": subject.predictor.config.thresholds.get("unusual")}
    rows, own = rows_of(settings, subject, scorings, usual, cells, others)
    return {
        "model": find_model(settings.model).resolve().name,
        "usual_images": len(usual),
        **usual_facts,
        **{f"usual_{name}": value for name, value in accepted(subject, own).items() if not settings.choice},
        "rows": rows,
    }


def spanned(score: Row) -> str:
    """A share with its interval, in percent."""
    return f"{100 * score['value']:.1f} ({100 * score['low']:.1f} to {100 * score['high']:.1f})"


def shown(row: Row) -> str:
    return f"{row['kind']}{', SYNTHETIC' if row['synthetic'] else ''}"


def reported(facts: Row) -> str:
    """The table of a model's own score."""
    names = [name for name in facts["rows"][0]["scores"] if name != OURS]
    lines = [
        (
            shown(row),
            row["images"],
            spanned(row["accepted"]),
            spanned(row["scores"][OURS]["auroc"]),
            spanned(row["scores"][OURS]["fpr95"]),
            *(f"{100 * row['scores'][name]['auroc']['value']:.1f}" for name in names),
        )
        for row in facts["rows"]
    ]
    head = ("", "images", "accepted, %", "AUROC, %", "FPR95, %", *(f"AUROC, {name}" for name in names))
    about = (
        f"{facts['model']}, threshold {facts['threshold']:.2f}; against {facts['usual_images']} cells of the "
        f"test fold, of which the threshold accepts {spanned(facts['usual_accepted'])}%."
    )
    return f"{about}\n\n{table(head, lines)}"


def compared(facts: Row) -> str:
    """The table of the choice: AUROC of every score and kind."""
    rows = facts["rows"]
    lines = []
    for name in rows[0]["scores"]:
        scores = [row["scores"][name] for row in rows]
        means = (np.mean([score[key]["value"] for score in scores]) for key in ("auroc", "fpr95"))
        label = f"**{name}**" if name == OURS else name
        lines.append(
            (label, *(f"{100 * mean:.1f}" for mean in means), *(f"{100 * s['auroc']['value']:.1f}" for s in scores))
        )
    counts = ", ".join(f"{row['images']} {row['kind']}" for row in rows)
    head = ("AUROC, %", "mean", "mean FPR95", *map(shown, rows))
    about = (
        f"{facts['model']}: fitted to {facts['training_images']} training cells, against {facts['usual_images']} "
        f"validation cells; {counts}."
    )
    return f"{about}\n\n{table(head, lines)}"


def main(settings: Settings) -> None:
    use_all_threads()
    facts = measured(settings)
    part, text = ("unusual-choice", compared(facts)) if settings.choice else ("unusual", reported(facts))
    print(text)
    if settings.write:
        keep(part.replace("-", "_"), {**machine(), "seed": settings.seed, **facts})
        fill("uncertainty.md", part, text)


if __name__ == "__main__":
    main(tyro.cli(Settings, config=(tyro.conf.FlagCreatePairsOff,)))
