"""``leukonca explain``: image files in, pages out that show why."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from leukonca.automaton.fire import check_seeds
from leukonca.automaton.names import EngineName
from leukonca.cli.common import CommonOptions, Model, command_line, parse, say
from leukonca.deploy.inputs import find_inputs
from leukonca.deploy.predictor import check_settings
from leukonca.errors import UsageError
from leukonca.files import as_line, check_folder

DONE, NOTHING_USABLE, SOME_SKIPPED, INTERRUPTED = 0, 3, 4, 130


def run(arguments: Sequence[str]) -> int:
    """Exit code of ``leukonca explain`` with these arguments."""
    return parse("explain", _explain, [word for word in arguments if word != "--animation"])  # the default


def _explain(
    model: Model,
    paths: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="PATH...")],
    /,
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    common: CommonOptions,
    target: Annotated[str | None, tyro.conf.arg(name="class", metavar="NAME")] = None,
    mask: Annotated[str | None, tyro.conf.arg(metavar="DIR|auto")] = None,
    image_um: Annotated[float | None, tyro.conf.arg(metavar="UM")] = None,
    steps: int | None = None,
    top: int = 6,
    pixels: bool = True,
    animation: bool = True,
    film: Literal["webp", "gif"] | None = None,
    show_steps: tuple[int, ...] = (),
    figures: Literal["svg", "pdf"] | None = None,
    arrays: bool = False,
    prior: Annotated[str | None, tyro.conf.arg(metavar="blood|FILE.toml")] = None,
    engine: EngineName = "auto",
) -> int:
    """Show why a model gives single white blood cells their classes; for research, not a medical device.

    Writes index.html and one page per image: which channels decided, where they look, which pixels the answer comes
    from, and how the automaton got there step by step.

    Args:
        model: A model folder, or the name of a shipped model.
        paths: Image files, folders (searched at any depth) or patterns in quotes such as "cells/**/*.png".
        out: The folder to write into.
        common: Options of every verb.
        target: Explain this class instead of the predicted one.
        mask: A folder of masks of the same names and sizes: 255 nucleus, 128 cytoplasm, 0 the rest. "auto" guesses
            them from the stain.
        image_um: What the images' shorter side shows, um; by default guessed from each image's nucleus, or, by a
            model that cannot, taken to be as on its training images.
        steps: How many steps the automaton runs; by default as it was trained.
        top: How many of the most relevant channels are shown by themselves.
        pixels: The relevance of pixels; --no-pixels leaves it out.
        animation: The run as an animation; --no-animation leaves it out.
        film: Also write the animation as a file.
        show_steps: Steps at which channels are shown, counted from 1, at most 6; by default evenly spread.
        figures: Also write every figure as a file.
        arrays: Also write the arrays of every cell, as .npz.
        prior: How often each class is expected, as `predict` took it: "blood" or a TOML file. It may change which class
            is predicted, and so explained.
        engine: What runs the automaton: auto or cpu; reference, torch and triton need torch.
    """
    check_settings(image_um=image_um)
    check_seeds([common.seed], 1)
    if not paths:
        raise UsageError("explain: no images given; name files, folders or patterns after the model")
    for name, value in (("--steps", steps), ("--top", top)):
        if value is not None and value < 1:
            raise UsageError(f"{name} {value}: must be at least 1")
    check_folder(out)
    from leukonca.evaluation.prior import find_prior
    from leukonca.explain.explainer import Explainer
    from leukonca.explain.figures import check_shown
    from leukonca.explain.masks import MaskFolder, StainMasks
    from leukonca.report.explain_files import Wanted, explain_files
    from leukonca.report.explanation import Setting

    explainer = Explainer(model, engine=engine)
    explainer.check_class(target)
    if show_steps:
        check_shown(show_steps, explainer.architecture.steps if steps is None else steps)
    wanted = Wanted(
        target=target,
        image_um=image_um,
        seed=common.seed,
        steps=steps,
        top=top,
        pixels=pixels,
        film=animation,
        film_file=film,
        at=show_steps,
        masks=None if mask is None else StainMasks() if mask == "auto" else MaskFolder(Path(mask)),
        figures=figures,
        arrays=arrays,
        prior=find_prior(prior, explainer.config),
    )
    trained = explainer.config.trained_classes
    setting = Setting(
        command=command_line(),
        model=model,
        untrained=frozenset(explainer.classes) - frozenset(trained) if trained else frozenset(),
        synthetic=bool(explainer.config.data.get("synthetic")),
    )
    try:
        outcome = explain_files(explainer, find_inputs(paths), out, wanted, setting, quiet=common.quiet)
    except KeyboardInterrupt:
        _complain(f"interrupted; the pages that were finished are in {out}, its index was not written")
        return INTERRUPTED
    for path, reason in outcome.reasons:
        _complain(f"skipped {path}: {reason}")
    if outcome.skipped > len(outcome.reasons):
        _complain(f"skipped {outcome.skipped - len(outcome.reasons)} more; {out / 'index.html'} has every reason")
    if not outcome.done:
        _complain("no image could be explained")
    say(f"{outcome.done} explained; {outcome.skipped} skipped", quiet=common.quiet)
    if outcome.flagged:
        say(f"{outcome.flagged} decided by the background: {out / 'audit.json'} names them", quiet=common.quiet)
    say(f"Written to {as_line(str(out / 'index.html'))}. For research; not a medical device.", quiet=common.quiet)
    if not outcome.skipped:
        return DONE
    return SOME_SKIPPED if outcome.done else NOTHING_USABLE


def _complain(text: str) -> None:
    """A line on standard error."""
    print(f"leukonca: {as_line(text)}", file=sys.stderr)
