"""What T random runs, varied or not, one deterministic run and a temperature do to accuracy, calibration and rejection.

python benchmarks/uncertainty.py MODEL --data ../shared/data/acevedo20 [--write]

Test cells are scored; temperatures, threshold and the choice of a score for rejection come from validation cells.
Results go to results/uncertainty.json, with --write its tables into docs/uncertainty.md.
"""

import argparse
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import leukonca
from leukonca.data.cells import load_cells
from leukonca.data.centers import CENTERS
from leukonca.evaluation.calibrate import choose_threshold, fit_temperature, split_of
from leukonca.evaluation.calibration import brier_scores, calibration_gaps, tempered
from leukonca.evaluation.flags import confidence
from leukonca.evaluation.intervals import bootstrap_counts, percentile_interval
from leukonca.evaluation.run import predicted_logits
from leukonca.evaluation.uncertainty import aurc, decompose, log_losses
from leukonca.files import write_json
from leukonca.models.folder import weights_digest
from leukonca.models.nca import NCAClassifier
from leukonca.progress import track
from marks import fill, table

HERE = Path(__file__).parent
RUNS = (1, 2, 4, 8, 16)
VARIED = (4, 8)
SCORES = {"largest probability": "top", "total entropy": "total", "expected entropy": "expected", "mutual": "mutual"}
Row = dict[str, Any]
Way = tuple[str, slice, float]
"""Name, which of the runs, cost in random rollouts."""


@dataclass(frozen=True)
class Part:
    """Logits of some cells in every run, [R, N, K], and their labels, [N]."""

    logits: np.ndarray
    labels: np.ndarray

    def probabilities(self, runs: slice, temperature: float) -> np.ndarray:
        """Of each of these runs, [T, N, K]."""
        return np.stack([tempered(each, temperature) for each in self.logits[runs]])


def answers(model: NCAClassifier, folder: Path, validation: int, test: int) -> tuple[Part, Part]:
    """All runs on drawn validation and test cells: 16 seeds, 8 of them varied, then the deterministic run."""
    config = model.config
    cells = load_cells(
        CENTERS[str(config.data["center"])], folder, config.preprocessing, image_um=config.image_um, quiet=True
    )
    split = split_of(config, cells)
    chosen = [
        np.sort(np.random.default_rng(0).permutation(part)[:most])
        for part, most in ((split.validation, validation), (split.test, test))
    ]
    every = np.concatenate(chosen)
    runs = [(model, seed, 0) for seed in range(max(RUNS))]
    runs += [(model, seed, seed) for seed in range(max(VARIED))]
    runs.append((model.deterministic(), 0, 0))
    logits = np.stack(
        [
            predicted_logits(which, cells, every, config.normalisation(), seed=seed, view=view, quiet=True)
            for which, seed, view in track(runs, "runs", len(runs))
        ]
    )
    first = len(chosen[0])
    return (
        Part(logits[:, :first], cells.labels[chosen[0]]),
        Part(logits[:, first:], cells.labels[chosen[1]]),
    )


def doubts(runs: np.ndarray) -> dict[str, np.ndarray]:
    """Every score for rejection, of probabilities [T, N, K]; the larger, the more doubtful."""
    found = decompose(runs)
    return {"top": -found.mean.max(axis=1), "total": found.total, "expected": found.expected, "mutual": found.mutual}


Draws = Callable[[np.ndarray], np.ndarray]


def measures(mean: np.ndarray, labels: np.ndarray) -> dict[str, Draws]:
    """Scores of mean probabilities [N, K] as functions of how often each cell is drawn, [N, draws]."""
    right = mean.argmax(axis=1) == labels
    gaps, top = calibration_gaps(mean, labels), -mean.max(axis=1)

    def average(values: np.ndarray) -> Draws:
        return lambda counts: values @ counts / len(labels)

    return {
        "accuracy": average(right.astype(float)),
        "ece": lambda counts: np.abs(gaps.T @ counts).sum(axis=0) / len(labels),
        "nll": average(log_losses(mean, labels)),
        "brier": average(brier_scores(mean, labels)),
        "aurc": lambda counts: aurc(top, ~right, counts),
    }


def with_intervals(of: dict[str, dict[str, Draws]], images: int, draws: int, against: dict[str, str]) -> Row:
    """Way -> score -> value, its interval, and the paired difference from the way that it is set against."""
    once = np.ones((images, 1), np.int64)
    columns = np.concatenate(list(bootstrap_counts(images, draws, 0)), axis=1)
    drawn = {way: {name: score(columns) for name, score in scores.items()} for way, scores in of.items()}
    found: Row = {}
    for way, scores in of.items():
        found[way] = {}
        for name, score in scores.items():
            value = float(score(once)[0])
            low, high = percentile_interval(drawn[way][name]) or (value, value)
            found[way][name] = {"value": value, "low": low, "high": high}
            if way in against:
                rival = against[way]
                low, high = percentile_interval(drawn[way][name] - drawn[rival][name]) or (0.0, 0.0)
                less = value - float(of[rival][name](once)[0])
                found[way][name]["difference"] = {"from": rival, "value": less, "low": low, "high": high}
    return found


def measured(model: NCAClassifier, validation: Part, test: Part, draws: int) -> Row:
    """All rows: each way at temperature 1, at the model's own, and at one that is fitted to that way."""
    rate = model.architecture.fire_rate
    ways: list[Way] = [(str(runs), slice(0, runs), runs) for runs in RUNS]
    ways += [(f"{runs} varied", slice(max(RUNS), max(RUNS) + runs), runs) for runs in VARIED]
    ways.append(("deterministic", slice(max(RUNS) + max(VARIED), None), 1 / rate))
    calibrated = "after" in model.config.calibration
    single = model.config.temperature if calibrated else fit_temperature(validation.logits[0], validation.labels)
    of_varied = model.config.temperature_of(varied=True) if calibrated else single
    threshold = model.config.thresholds.get("uncertain")
    if threshold is None:
        p = validation.probabilities(slice(0, 1), single)[0]
        threshold = choose_threshold(confidence(p, model.config), p.argmax(axis=1) == validation.labels)
    rows, of, rejection = [], {}, []
    for name, runs, cost in ways:
        own = fit_temperature(validation.logits[runs], validation.labels)
        stored = of_varied if "varied" in name else single
        for kind, temperature in (("none", 1.0), ("stored", stored), ("own", own)):
            p = test.probabilities(runs, temperature)
            of[f"{name} {kind}"] = measures(p.mean(axis=0), test.labels)
            rows.append({"way": name, "cost": cost, "kind": kind, "temperature": temperature})
            if kind == "stored":
                accepted = confidence(p.mean(axis=0), model.config) >= float(threshold or 0)
                right = p.mean(axis=0).argmax(axis=1) == test.labels
                rows[-1] |= {"accepted": float(accepted.mean()), "accepted_accuracy": float(right[accepted].mean())}
        parts = {"validation": validation, "test": test}
        for label, key in SCORES.items():
            if key in ("expected", "mutual") and runs.stop != max(RUNS):
                continue
            line = {"way": name, "score": label}
            for which, part in parts.items():
                p = part.probabilities(runs, stored)
                wrong = p.mean(axis=0).argmax(axis=1) != part.labels
                line[which] = float(aurc(doubts(p)[key], wrong)[0])
            rejection.append(line)
    against = {f"{runs} {kind}": f"1 {kind}" for runs in RUNS[1:] for kind in ("none", "stored", "own")}
    against |= {f"{runs} varied {kind}": f"{runs} {kind}" for runs in VARIED for kind in ("none", "stored", "own")}
    as_dear = min(RUNS, key=lambda runs: abs(runs - 1 / rate))
    against |= {f"deterministic {kind}": f"{as_dear} {kind}" for kind in ("none", "stored", "own")}
    scores = with_intervals(of, len(test.labels), draws, against)
    for row in rows:
        row["scores"] = scores[f"{row['way']} {row['kind']}"]
    return {
        "rows": rows,
        "rejection": rejection,
        "stored": single,
        "stored_varied": of_varied,
        "threshold": threshold,
    }


def tables(results: Row) -> str:
    """The results as Markdown."""
    own = {row["way"]: row for row in results["rows"] if row["kind"] == "own"}
    by = {(row["way"], row["kind"]): row["scores"] for row in results["rows"]}
    stored = [row for row in results["rows"] if row["kind"] == "stored"]
    told = (
        f"{results['date'][:10]}, `{results['command']}`: `{results['model']}` (weights {results['weights']}), "
        f"{results['test']:,} test and {results['validation']:,} validation cells of its fold of Acevedo-20, drawn. "
        f"95% intervals: percentile bootstrap over cells, {results['draws']:,} draws.\n\n"
        "Cost: in random runs. Last three columns: at temperature 1 → at the model's, "
        f"{results['stored']:.3f}, of varied runs {results['stored_varied']:.3f} → at the one that fits these runs on "
        "validation (in brackets beside the runs). "
        "AURC: by the largest probability, at the model's temperature."
    )
    scores = table(
        ("runs", "cost", "accuracy", "AURC", "calibration error", "NLL", "Brier"),
        [
            (
                f"{row['way']} ({own[row['way']]['temperature']:.3f})",
                f"{row['cost']:g}",
                share(row["scores"]["accuracy"]),
                number(row["scores"]["aurc"], 4),
                *(
                    " → ".join(f"{by[row['way'], kind][name]['value']:.3f}" for kind in ("none", "stored", "own"))
                    for name in ("ece", "nll", "brier")
                ),
            )
            for row in stored
        ],
    )
    differences = table(
        ("", "accuracy, points", "AURC", "calibration error", "NLL", "Brier"),
        [
            (
                f"{row['way']} less {row['scores']['accuracy']['difference']['from'].split()[0]}",
                gap(row["scores"]["accuracy"], 2, 100),
                gap(row["scores"]["aurc"], 4),
                gap(row["scores"]["ece"], 3),
                gap(row["scores"]["nll"], 3),
                gap(row["scores"]["brier"], 3),
            )
            for row in stored
            if "difference" in row["scores"]["accuracy"]
        ],
    )
    flags = table(
        ("runs", "not flagged", "of them right"),
        [(row["way"], f"{row['accepted']:.1%}", f"{row['accepted_accuracy']:.1%}") for row in stored],
    )
    lines = {(line["way"], line["score"]): line for line in results["rejection"]}
    ways = [row["way"] for row in stored]
    rejection = table(
        ("AURC, validation / test", *ways),
        [(label, *(pair(lines.get((way, label))) for way in ways)) for label in SCORES],
    )
    return (
        f"{told}\n\n{scores}\n\nPaired differences at the model's temperature; varied runs and the deterministic one "
        f"against random ones that cost the same:\n\n{differences}\n\nThe flag `uncertain`, below "
        f"{results['threshold'] or 0:.3f}, chosen with one run on validation:\n\n{flags}\n\n"
        f"Which score to reject by, at the model's temperature:\n\n{rejection}"
    )


def share(score: Row) -> str:
    return f"{100 * score['value']:.1f}% ({100 * score['low']:.1f} to {100 * score['high']:.1f})"


def number(score: Row, digits: int) -> str:
    return f"{score['value']:.{digits}f} ({score['low']:.{digits}f} to {score['high']:.{digits}f})"


def gap(score: Row, digits: int, times: float = 1) -> str:
    value, low, high = (times * score["difference"][name] for name in ("value", "low", "high"))
    return f"{value:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"


def pair(line: Row | None) -> str:
    return "" if line is None else f"{line['validation']:.4f} / {line['test']:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model folder or the name of a shipped model: an automaton, of Acevedo-20")
    parser.add_argument("--data", type=Path, required=True, help="folder of Acevedo-20")
    parser.add_argument("--validation", type=int, default=500, help="validation cells looked at, at most")
    parser.add_argument("--test", type=int, default=1000, help="test cells looked at, at most")
    parser.add_argument("--draws", type=int, default=1000, help="of the bootstrap")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/uncertainty.md")
    given = parser.parse_args()
    model = leukonca.load(given.model)
    if not isinstance(model, NCAClassifier):
        raise SystemExit(f"{given.model}: no automaton; nothing in it is random")
    validation, test = answers(model, given.data, given.validation, given.test)
    results = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"python benchmarks/uncertainty.py {shlex.join(sys.argv[1:])}",
        "model": str(given.model),
        "weights": weights_digest(model.weights())[:12],
        "validation": len(validation.labels),
        "test": len(test.labels),
        "draws": given.draws,
        **measured(model, validation, test, given.draws),
    }
    write_json(HERE / "results" / "uncertainty.json", results)
    text = tables(results)
    print(text)
    if given.write:
        fill("uncertainty.md", "runs", text)


if __name__ == "__main__":
    main()
