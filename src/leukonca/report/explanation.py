"""Explanations as pages: one self-contained file per cell, and an index that is written as the cells come."""

import base64
import html
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TextIO

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from leukonca import __version__
from leukonca.drawing import svg_uri
from leukonca.explain.animation import animation, still
from leukonca.explain.audit import FLAG_ABOVE
from leukonca.explain.explanation import Explanation
from leukonca.explain.figures import channels_figure, maps_figure, steps_figure, top_figure
from leukonca.files import as_text, whole_file, write_text
from leukonca.report.content import RESEARCH_NOTE, SYNTHETIC_NOTE, ExplainedCell
from leukonca.report.templating import templates
from leukonca.report.words import percent, plain


def drawings(at: Sequence[int] = ()) -> dict[str, Callable[[Explanation], Figure]]:
    """Name, as in files and on the page, -> what draws it; `at`: the steps shown, see `steps_figure`."""
    return {
        "maps": maps_figure,
        "channels": channels_figure,
        "top": top_figure,
        "steps": partial(steps_figure, at=at),
    }


_THUMBNAIL = 48


@dataclass(frozen=True)
class Setting:
    """What all pages of a run share.

    Args:
        command: that led here.
        model: its name, as shown.
        untrained: classes that the model never saw.
        synthetic: the model was trained on cells made by a generator.
    """

    command: str
    model: str
    untrained: frozenset[str] = frozenset()
    synthetic: bool = False


def write_page(
    path: Path, e: Explanation, name: str, setting: Setting, *, film: bool = True, at: Sequence[int] = ()
) -> None:
    """Write one cell's page: nothing is loaded from anywhere, whole or not at all.

    Args:
        path: the HTML file to be; the index is beside it.
        e: what to show.
        name: of the image, as the user knows it; it is escaped.
        setting: of the run.
        film: with the rollout as an animation.
        at: the steps at which channels are shown, see `steps_figure`.

    Raises:
        UsageError: the folder cannot be written to.
        DataError: the disk is full; an existing file is untouched.
    """
    best = np.argsort(-e.probabilities, kind="stable")
    page = (
        templates()
        .get_template("explanation.html")
        .render(
            e=e,
            name=as_text(name),
            index="index.html",
            remarks=list(_remarks(e, setting)),
            inside=e.inside(),
            covered=0.0 if e.mask is None else float((e.mask > 0).mean()),
            film=film and _uri("webp", animation(e)),
            still=film and _uri("png", still(e)),
            sums=list(_sums(e)),
            probabilities=[(e.classes[k], float(e.probabilities[k])) for k in best],
            command=setting.command,
            synthetic=setting.synthetic,
            version=__version__,
            research_note=RESEARCH_NOTE,
            synthetic_note=SYNTHETIC_NOTE,
            **{figure: svg_uri(draw(e)) for figure, draw in drawings(at).items()},
        )
    )
    write_text(path, page)


def by_background(e: Explanation) -> bool:
    """Whether the audit flags it, see `leukonca.explain.audit`; never without a mask."""
    inside = e.inside()
    return inside is not None and inside["background"] > FLAG_ABOVE


def explained_cell(e: Explanation, truth: str) -> ExplainedCell:
    """A cell as a report of a model shows it.

    Args:
        e: why it was called so.
        truth: its class.
    """
    inside, note = e.inside(), ""
    if inside is not None and e.mask is not None:
        share, covered = inside["nucleus"] + inside["cytoplasm"], float((e.mask > 0).mean())
        note = (
            f"{percent(share, 0)} of the pixels' relevance lies on the cell, "
            f"which covers {percent(covered, 0)} of the picture."
        )
    return ExplainedCell(
        title=f"{plain(truth)}, called {plain(e.predicted)} ({percent(float(e.probabilities.max()), 0)})",
        maps=svg_uri(maps_figure(e)),
        top=svg_uri(top_figure(e)),
        note=note,
    )


class Index:
    """Rows of the index, written one by one: thousands of cells need no memory."""

    def __init__(self, file: TextIO, masks: bool) -> None:
        self._file, self._masks = file, masks

    def add(self, page: str, e: Explanation, name: str) -> None:
        """A cell that was explained, on this page."""
        leading = ", ".join(f"{c} ({float(e.channels[c]):+.2f})" for c in e.top[:3])
        inside = e.inside()
        cells = [
            f'<th scope="row"><img src="{_thumbnail(e)}" width="{_THUMBNAIL}" height="{_THUMBNAIL}" alt=""></th>',
            f'<td class="text"><a href="{html.escape(page)}">{html.escape(as_text(name))}</a></td>',
            f'<td class="text">{html.escape(plain(e.predicted))}</td>',
            f"<td>{percent(float(e.probabilities.max()))}{f'<small>{e.flag}</small>' if e.flag else ''}</td>",
            f'<td class="text">{html.escape(plain(e.target))}</td>',
            f'<td class="text">{leading}</td>',
        ]
        if self._masks:
            share = "–" if inside is None else percent(inside["nucleus"] + inside["cytoplasm"], 0)
            mark = " <strong>background</strong>" if by_background(e) else ""
            cells.append(f"<td>{share}{mark}</td>")
        self._file.write(f"<tr>{''.join(cells)}</tr>\n")

    def skip(self, name: str, reason: str) -> None:
        """An input that could not be explained."""
        width = 5 if self._masks else 4
        text = f'<td class="text">{html.escape(as_text(name))}</td><td class="text" colspan="{width}">'
        self._file.write(f'<tr class="absent"><th></th>{text}skipped: {html.escape(as_text(reason))}</td></tr>\n')


@contextmanager
def index(path: Path, setting: Setting, *, masks: bool) -> Iterator[Index]:
    """An index to be filled; it takes its place only when the block succeeds.

    Args:
        path: the HTML file to be.
        setting: of the run.
        masks: with a column for the share of relevance inside the cell.
    """
    head = (
        templates()
        .get_template("explanations_head.html")
        .render(
            date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            version=__version__,
            model=as_text(setting.model),
            masks=masks,
            synthetic=setting.synthetic,
            research_note=RESEARCH_NOTE,
            synthetic_note=SYNTHETIC_NOTE,
        )
    )
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(head + "\n")
        yield Index(file, masks)
        command = html.escape(as_text(setting.command))
        file.write(f"</tbody>\n</table>\n</div>\n<h2>How to repeat</h2>\n<pre><code>{command}</code></pre>\n")
        file.write("</main>\n</body>\n</html>\n")


def _remarks(e: Explanation, setting: Setting) -> Iterator[str]:
    if e.target != e.predicted:
        yield f"The model predicts {plain(e.predicted)}; {plain(e.target)} is explained because it was asked for."
    if e.flag == "unusual" and e.predicted not in setting.untrained:
        yield "Unusual: the cell is unlike those that the model was trained on. Its answer is not to be relied on."
    changed = e.without_prior not in ("", e.predicted)
    if e.flag == "uncertain" and changed:
        yield "Uncertain: the expected shares of the kinds changed the answer."
    elif e.flag == "uncertain" and e.predicted not in setting.untrained:
        yield "Uncertain: the largest probability is below the model's threshold."
    if e.prior:
        other = plain(e.without_prior) if changed else "the same"
        yield (
            f"Probabilities are weighed by how often each kind is expected ({as_text(e.prior)}); without that the "
            f"model would predict {other}. Logit and relevance are of the image alone."
        )
    for name in dict.fromkeys((e.predicted, e.target)):
        if name in setting.untrained:
            yield f"The model was never trained on {plain(name)}: nothing about this class is to be trusted."
    if by_background(e):
        yield f"More than {percent(FLAG_ABOVE, 0)} of the relevance lies outside the cell: the background decided."


def _sums(e: Explanation) -> Iterator[tuple[str, str]]:
    """The parts of the logit, as text."""

    def number(value: float) -> str:
        return f"{value:+.2f}"

    yield "all channels", number(float(e.channels.sum()))
    yield "biases of the classifying layers", number(e.head_bias)
    yield "taken by epsilon there", number(e.head_absorbed)
    yield "together: the logit", number(e.logit)
    if e.pixels is not None and e.step_bias is not None and e.step_absorbed is not None:
        yield "of the channels: from pixels", number(float(e.pixels.sum(dtype=np.float64)))
        yield "of the channels: from biases of the steps", number(float(e.step_bias.sum()))
        yield "of the channels: taken by epsilon in the steps", number(float(e.step_absorbed.sum()))


def _thumbnail(e: Explanation) -> str:
    image = Image.fromarray(e.image)
    image.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    image.save(data, format="JPEG", quality=80, subsampling=0)
    return _uri("jpeg", data.getvalue())


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(data).decode()
