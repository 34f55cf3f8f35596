"""Any number of image files through an explainer into a folder of pages, in constant memory."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from leukonca.data.images import read_image
from leukonca.deploy.inputs import is_folder, why_empty
from leukonca.drawing import write_figure
from leukonca.errors import DataError, ModelError
from leukonca.evaluation.prior import Prior
from leukonca.explain.animation import FilmKind, animation
from leukonca.explain.audit import Audit
from leukonca.explain.explainer import TOP, Explainer
from leukonca.explain.explanation import Explanation
from leukonca.explain.masks import Masks
from leukonca.files import as_text, whole_file, write_json
from leukonca.progress import bar
from leukonca.report.explanation import Setting, by_background, drawings, index, write_page

NAMED = 20
"""So many skipped inputs are kept by name; the index names them all."""


@dataclass(frozen=True)
class Wanted:
    """What to explain, and what to write of it.

    Args:
        target: the class to explain; None: each cell's predicted one.
        image_um: what the images' shorter side shows, um; None: as on the images the model was trained on.
        seed: of the fire masks.
        steps: of the run; None: as in the model.
        top: channels shown by themselves.
        pixels: with the relevance of pixels.
        film: with an animation.
        film_file: the animation also as a file of this kind, ``webp`` or ``gif``; None: no.
        at: the steps at which channels are shown; none: evenly spread.
        masks: of the cells; None: unknown.
        figures: also as files of this kind, ``svg`` or ``pdf``; None: no.
        arrays: also an ``.npz`` file of all arrays.
        prior: how often each class is expected; None: as the model was trained.
    """

    target: str | None = None
    image_um: float | None = None
    seed: int = 0
    steps: int | None = None
    top: int = TOP
    pixels: bool = True
    film: bool = True
    film_file: FilmKind | None = None
    at: tuple[int, ...] = ()
    masks: Masks | None = None
    figures: str | None = None
    arrays: bool = False
    prior: Prior | None = None


@dataclass(frozen=True)
class Explained:
    """What became of the inputs: how many have a page, how many of these were decided by the background (0 without
    masks), how many were skipped, and why the first `NAMED` of these.
    """

    done: int
    flagged: int
    skipped: int
    reasons: tuple[tuple[str, str], ...]


def explain_files(
    explainer: Explainer, paths: Sequence[str], out: Path, wanted: Wanted, setting: Setting, *, quiet: bool = False
) -> Explained:
    """Write a page for each path, and ``index.html``; an input that cannot be explained is named there with the reason.

    With masks there is also ``audit.json``, see `leukonca.explain.audit.Audit.result`.

    Args:
        explainer: of the model.
        paths: image files, from `find_inputs`.
        out: the folder.
        wanted: what to explain.
        setting: what all pages say.
        quiet: no progress bar.

    Raises:
        UsageError: the folder cannot be written to.
        DataError: the disk is full; pages that were finished stay.
    """
    done, flagged, reasons, skipped, audit = 0, 0, [], 0, Audit()
    digits = len(str(len(paths)))
    with (
        index(out / "index.html", setting, masks=wanted.masks is not None) as rows,
        bar("explaining", len(paths), quiet=quiet) as shown,
    ):
        for number, path in enumerate(paths, start=1):
            found = _explain(explainer, path, wanted)
            if isinstance(found, str):
                skipped += 1
                rows.skip(path, found)
                if skipped <= NAMED:
                    reasons.append((path, found))
            else:
                stem = f"{number:0{digits}d}-{_plain_name(path)}"
                _write(out, stem, found, path, wanted, setting)
                rows.add(f"{stem}.html", found, path)
                if wanted.masks is not None:
                    audit.add(as_text(path), found)
                    flagged += by_background(found)
                done += 1
            shown.advance()
    if wanted.masks is not None:
        write_json(out / "audit.json", audit.result())
    return Explained(done, flagged, skipped, tuple(reasons))


def _explain(explainer: Explainer, path: str, wanted: Wanted) -> Explanation | str:
    if is_folder(path):
        return why_empty(path)
    try:
        image = read_image(Path(path))
        mask = None if wanted.masks is None else wanted.masks.read(Path(path), image)
        return explainer(
            image,
            target=wanted.target,
            image_um=wanted.image_um,
            seed=wanted.seed,
            steps=wanted.steps,
            top=wanted.top,
            pixels=wanted.pixels,
            mask=mask,
            prior=wanted.prior,
        )
    except (DataError, ModelError) as error:  # of this image; what is wrong with the call is a UsageError
        return str(error).removeprefix(f"{Path(path)}: ")
    except MemoryError:
        return "not enough memory for an image of this size"


def _write(out: Path, stem: str, e: Explanation, name: str, wanted: Wanted, setting: Setting) -> None:
    if wanted.arrays:
        e.save(out / f"{stem}.npz")
    if wanted.figures:
        for figure, draw in drawings(wanted.at).items():
            write_figure(draw(e), out / f"{stem}-{figure}.{wanted.figures}")
    if wanted.film_file:
        with whole_file(out / f"{stem}.{wanted.film_file}") as temporary:
            temporary.write_bytes(animation(e, kind=wanted.film_file))
    write_page(out / f"{stem}.html", e, name, setting, film=wanted.film, at=wanted.at)


def _plain_name(path: str) -> str:
    """A file name that any system takes and any page can link to."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", Path(path).stem)[:60] or "cell"
