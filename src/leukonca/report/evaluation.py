"""What an evaluation leaves on disk: metrics, one row a prediction, and the report."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from leukonca import __version__
from leukonca.errors import ModelError
from leukonca.evaluation.run import Evaluation
from leukonca.files import whole_file, write_json
from leukonca.models.card import HIDDEN, taught_by
from leukonca.models.classifier import Classifier
from leukonca.models.config import ModelConfig
from leukonca.models.folder import weights_digest
from leukonca.report.content import CenterResult, ExplainedCell, RunReport
from leukonca.report.run import write_run_report


def center_results(evaluations: Sequence[Evaluation]) -> tuple[CenterResult, ...]:
    """The same, as the report wants it."""
    return tuple(
        CenterResult(
            name=each.name,
            metrics=each.metrics,
            probabilities=each.probabilities,
            labels=each.labels,
            paths=each.paths,
            thumbnails=each.squares,
            note=each.note,
        )
        for each in evaluations
    )


def write_evaluation(
    out: Path,
    model: Classifier,
    evaluations: Sequence[Evaluation],
    *,
    title: str,
    command: str,
    history: Sequence[dict[str, Any]] = (),
    repeat: tuple[str, ...] = (),
    explained: tuple[ExplainedCell, ...] = (),
    seed: int = 0,
) -> None:
    """Write ``metrics.json``, ``predictions.csv`` and ``report.html`` into a folder.

    Args:
        out: the folder.
        model: that was tested.
        evaluations: one a center.
        title: of the report.
        command: that led here.
        history: of the training, one record an epoch.
        repeat: commands that lead here again; none: the command.
        explained: cells that the report explains.
        seed: of the fire masks and the intervals.
    """
    synthetic = any(each.synthetic for each in evaluations)
    facts = {
        "version": __version__,
        "command": command,
        "seed": seed,
        "weights_sha256": weights_digest(model.weights()),
        "synthetic": synthetic,
        "centers": {each.name: {**each.metrics, "note": each.note, "data": each.fingerprint} for each in evaluations},
    }
    write_json(out / "metrics.json", facts)
    _write_predictions(out / "predictions.csv", model.config.classes, evaluations)
    config = model.config
    report = RunReport(
        title=title,
        command=command,
        results=center_results(evaluations),
        model={
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            **config.architecture.facts(),
            "field": "whole image"
            if config.preprocessing.field_um is None
            else f"{config.preprocessing.field_um:g} um",
        },
        data=_told(config),
        history=history,
        recipe=config.recipe,
        repeat=repeat,
        explained=explained,
        synthetic=synthetic,
    )
    write_run_report(out / "report.html", report)


def _told(config: ModelConfig) -> dict[str, Any]:
    """The facts about the training data that a reader wants."""
    data = config.data
    if not data:
        return {"center": "unknown"}
    told = {name: value for name, value in data.items() if name not in ("folds", *HIDDEN)}
    if config.pretrained:
        began = (f"{each.get('model')} ({each.get('center', 'unknown')})" for each in reversed(config.pretrained))
        told["began as"] = ", then ".join(began)
    if config.teachers:
        told["taught by"] = ", ".join(map(taught_by, config.teachers))
    return told if data.get("split") == "official" else {**told, "fold": f"{data.get('fold')} of {data.get('folds')}"}


def read_history(folder: Path) -> tuple[dict[str, Any], ...]:
    """The records of a run's ``log.jsonl``; none if there is no such file.

    Raises:
        ModelError: the file is damaged.
    """
    path = folder / "log.jsonl"
    if not path.is_file():
        return ()
    try:
        return tuple(json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    except ValueError as error:
        raise ModelError(f"{path}: damaged ({error}); remove it, or copy the run folder again") from error


def _write_predictions(path: Path, classes: Sequence[str], evaluations: Sequence[Evaluation]) -> None:
    with (
        whole_file(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as f,
    ):
        writer = csv.writer(f, lineterminator="\n")
        # The columns are the model's own classes; truth, label and probability those that the center is scored on.
        writer.writerow(["center", "path", "truth", "label", "probability", *classes])
        for each in evaluations:
            scored = each.metrics["class_names"]
            for name, truth, row, outputs in zip(
                each.paths, each.labels, each.probabilities, each.outputs, strict=True
            ):
                best = int(row.argmax())
                values = [f"{value:.6f}" for value in (row[best], *outputs)]
                writer.writerow([each.name, name, scored[truth], scored[best], *values])
