"""``leukonca predict``: image files in, a CSV file out."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from leukonca.cli.common import CommonOptions, Model, parse, say
from leukonca.data.images import SUFFIXES
from leukonca.deploy.inputs import find_inputs
from leukonca.deploy.predictor import BATCH, Predictor, check_settings
from leukonca.deploy.stream import Outcome, predict_files
from leukonca.deploy.table import differential_count
from leukonca.errors import LeukoncaError, UsageError
from leukonca.evaluation.flags import MOSTLY_UNUSUAL
from leukonca.evaluation.runs import check_runs
from leukonca.files import as_line, check_folder

DONE, NOTHING_USABLE, SOME_SKIPPED, INTERRUPTED = 0, 3, 4, 130


def run(arguments: Sequence[str]) -> int:
    """Exit code of ``leukonca predict`` with these arguments."""
    return parse("predict", _predict, arguments)


def _predict(
    model: Model,
    paths: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="PATH...")],
    /,
    out: Annotated[Path, tyro.conf.arg(metavar="FILE.csv")],
    common: CommonOptions,
    runs: int = 1,
    varied: bool = False,
    deterministic: bool = False,
    prior: Annotated[str | None, tyro.conf.arg(metavar="blood|FILE.toml")] = None,
    image_um: Annotated[float | None, tyro.conf.arg(metavar="UM")] = None,
    batch_size: int = BATCH,
) -> int:
    """Classify single white blood cells; for research, not a medical device.

    Writes one row per image, in the order given: path, label, probability, uncertainty, flag, error, and the
    probability of every class. A file that cannot be read gets a row with the reason.

    Args:
        model: A model folder, or the name of a shipped model.
        paths: Image files, folders (searched at any depth) or patterns in quotes such as "cells/**/*.png".
        out: The CSV file to write.
        common: Options of every verb.
        runs: How often each image is run with other random firing; the probabilities are averaged.
        varied: Let each run see the image in another way: turned, mirrored, larger or smaller, as in --runs 8.
        deterministic: Let every cell fire, with its update times the fire rate: one run as long as two random ones,
            the same for every seed, so several only with --varied. No cell is flagged unusual then: that score is of
            random runs.
        prior: How often each class is expected, where that is known: "blood", in the blood of healthy adults, or a
            file with a line such as monocyte = 0.04 for each class; by default as the model was trained, as a rule each
            as often as any other. An answer that this changes is flagged, uncertain unless it is unusual.
        image_um: What the images' shorter side shows, um; by default guessed from each image's nucleus, or, by a
            model that cannot, taken to be as on its training images.
        batch_size: Images worked on together; no effect on the results.
    """
    check_settings(image_um=image_um, batch_size=batch_size)
    check_runs(runs, varied=varied, seed=common.seed, at_random=not deterministic)
    if not paths:
        raise UsageError("predict: no images given; name files, folders or patterns after the model")
    _check_out(out)
    predictor = Predictor(model, deterministic=deterministic)
    inputs = find_inputs(paths)
    try:
        outcome = predict_files(
            predictor,
            inputs,
            out,
            image_um=image_um,
            runs=runs,
            varied=varied,
            prior=prior,
            seed=common.seed,
            batch_size=batch_size,
            quiet=common.quiet,
        )
    except KeyboardInterrupt:
        _complain(f"interrupted; {out} was not written")
        return INTERRUPTED
    except OSError as error:
        raise LeukoncaError(f"{out}: cannot be written ({error.strerror or error})") from error
    _tell(outcome, out, predictor, prior, quiet=common.quiet)
    if not outcome.skipped:
        return DONE
    return SOME_SKIPPED if outcome.done else NOTHING_USABLE


def _check_out(out: Path) -> None:
    if out.is_dir():
        raise UsageError(f"--out {out}: a folder; name the CSV file to write, for example {out / 'predictions.csv'}")
    if out.exists() and not out.is_file():
        raise UsageError(f"--out {out}: not a regular file; name the CSV file to write")
    if out.suffix.lower() in SUFFIXES:
        raise UsageError(f"--out {out}: the name of an image, which would be lost; name a CSV file")
    check_folder(out.parent)


def _tell(outcome: Outcome, out: Path, predictor: Predictor, prior: str | None, *, quiet: bool) -> None:
    if predictor.config.data.get("synthetic"):
        from leukonca.data.synthetic import SYNTHETIC_NOTE  # scipy's filters are not needed otherwise

        _complain(f"the model was trained on synthetic cells. {SYNTHETIC_NOTE}")
        say(f"{SYNTHETIC_NOTE}.\n", quiet=quiet)
    for path, reason in outcome.reasons:
        _complain(f"skipped {path}: {reason}")
    if outcome.skipped > len(outcome.reasons):
        _complain(f"skipped {outcome.skipped - len(outcome.reasons)} more; {out} has every reason")
    if not outcome.done:
        _complain("no image could be classified")
    if strange := {name: outcome.counts[name] for name in sorted(predictor.untrained) if outcome.counts[name]}:
        told = ", ".join(f"{name} {count}" for name, count in strange.items())
        _complain(f"given a class that the model was never trained on, so not to be trusted: {told}")
    if prior is not None:
        say(f"Expected shares of the kinds: {as_line(prior)}. They changed {outcome.changed} labels.", quiet=quiet)
    tells_unusual = "unusual" in predictor.config.thresholds
    if outcome.unusual > MOSTLY_UNUSUAL * outcome.done:
        _complain(
            f"{outcome.unusual} of {outcome.done} cells are unlike those that the model was trained on (flag unusual): "
            "do not rely on its answers and their count. Another stain or microscope? --image-um tells an unknown scale"
        )
    strange_ones = outcome.strange if tells_unusual else None
    say(differential_count(outcome.counts, outcome.doubtful, strange_ones, untaught=predictor.untrained), quiet=quiet)
    flagged = f"{outcome.uncertain} of them uncertain"
    if tells_unusual:
        flagged += f", {outcome.unusual} unusual"
    say(f"\n{outcome.done} classified, {flagged}; {outcome.skipped} skipped", quiet=quiet)
    say(f"Written to {as_line(str(out))}. For research; not a medical device.", quiet=quiet)


def _complain(text: str) -> None:
    """A line on standard error."""
    print(f"leukonca: {as_line(text)}", file=sys.stderr)
