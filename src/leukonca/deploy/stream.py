"""Any number of image files through a predictor into a CSV file, in constant memory."""

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import compress, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leukonca.data.images import read_image
from leukonca.deploy.inputs import is_folder, why_empty
from leukonca.deploy.predictor import BATCH, Answers, Predictions, Predictor
from leukonca.deploy.table import Table
from leukonca.errors import DataError
from leukonca.evaluation.prior import Shares, find_prior
from leukonca.files import whole_file
from leukonca.progress import bar
from leukonca.threads import default_threads

NAMED = 20
"""So many skipped inputs are kept by name; the file names them all."""

MOST_READERS = 4
"""Threads that decode ahead of the automaton; it is the slower of the two."""

Square = NDArray[np.uint8]
Read = tuple[str, Square | str]
"""A path with its square, uint8 [side, side, 3], or with the reason why there is nothing to see."""


@dataclass(frozen=True)
class Outcome:
    """What became of the inputs.

    Args:
        counts: class -> how many images were given that label; all classes, in the model's order.
        doubtful: class -> how many of these are flagged uncertain.
        strange: class -> how many are flagged unusual.
        changed: how many labels would be others without the prior.
        skipped: how many inputs could not be classified.
        reasons: path and reason of the first `NAMED` of these.
    """

    counts: dict[str, int]
    doubtful: dict[str, int]
    strange: dict[str, int]
    changed: int
    skipped: int
    reasons: tuple[tuple[str, str], ...]

    @property
    def done(self) -> int:
        """Images that were classified."""
        return sum(self.counts.values())

    @property
    def uncertain(self) -> int:
        """How many of them are flagged so."""
        return sum(self.doubtful.values())

    @property
    def unusual(self) -> int:
        """How many of them are flagged so."""
        return sum(self.strange.values())


def predict_files(
    predictor: Predictor,
    paths: Sequence[str],
    out: Path,
    *,
    image_um: float | None = None,
    runs: int = 1,
    varied: bool = False,
    prior: str | Path | Shares | None = None,
    seed: int = 0,
    batch_size: int = BATCH,
    quiet: bool = False,
) -> Outcome:
    """Write one row per path, in order; a file that cannot be read gets a row with the reason.

    Args:
        predictor: the model.
        paths: image files.
        out: the CSV file, written whole or not at all; see `leukonca.deploy.table`.
        image_um: see `Predictor.__call__`, as the five that follow.
        runs: of the automaton for each image.
        varied: whether each run sees it in another way.
        prior: how often each class is expected.
        seed: of the first run.
        batch_size: images worked on together.
        quiet: no progress bar.

    Raises:
        UsageError: a setting out of range, or `out` lies where nothing can be written.
        ModelError: the model cannot have a prior.
    """
    predictor.check(image_um=image_um, runs=runs, varied=varied, seed=seed, batch_size=batch_size)
    expected = find_prior(prior, predictor.config)
    labels: Counter[str] = Counter()
    doubts: Counter[str] = Counter()
    odd: Counter[str] = Counter()
    changed = skipped = 0
    reasons: list[tuple[str, str]] = []

    def read(path: str) -> Square | str:
        return _read(predictor, path, image_um)

    def answer(squares: NDArray[np.uint8]) -> Answers:
        return predictor.answers(squares, runs=runs, varied=varied, prior=expected, seed=seed)

    with (
        whole_file(out) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
        bar("predicting", len(paths), quiet=quiet) as shown,
        closing(_read_ahead(read, paths, 2 * batch_size)) as inputs,
    ):
        table = Table(file, predictor.classes)
        while batch := list(islice(inputs, batch_size)):
            for path, result in _classify(predictor, batch, answer):
                if isinstance(result, str):
                    skipped += 1
                    if skipped <= NAMED:
                        reasons.append((path, result))
                    table.add_error(path, result)
                else:
                    labels.update(result.labels)
                    for count, name in ((doubts, "uncertain"), (odd, "unusual")):
                        count.update(compress(result.labels, (flag == name for flag in result.flags)))
                    changed += int(result.changed.sum())
                    table.add(path, result)
            shown.advance(len(batch))
    counts, doubtful, strange = ({name: found[name] for name in predictor.classes} for found in (labels, doubts, odd))
    return Outcome(counts, doubtful, strange, changed, skipped, tuple(reasons))


def _read(predictor: Predictor, path: str, image_um: float | None) -> Square | str:
    if is_folder(path):
        return why_empty(path)
    try:
        return predictor.square(read_image(Path(path)), image_um=image_um)
    except DataError as error:
        return str(error).removeprefix(f"{Path(path)}: ")
    except MemoryError:
        return "not enough memory for an image of this size"


def _read_ahead(read: Callable[[str], Square | str], paths: Iterable[str], ahead: int) -> Generator[Read]:
    """Read in threads, at most `ahead` paths before they are wanted; in order."""
    waiting: deque[tuple[str, Future[Square | str]]] = deque()
    pool = ThreadPoolExecutor(min(MOST_READERS, default_threads()), thread_name_prefix="read")
    try:
        for path in paths:
            waiting.append((path, pool.submit(read, path)))
            if len(waiting) >= ahead:
                first, square = waiting.popleft()
                yield first, square.result()
        for path, square in waiting:
            yield path, square.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _classify(
    predictor: Predictor, batch: list[Read], answer_all: Callable[[NDArray[np.uint8]], Answers]
) -> Iterator[tuple[str, Predictions | str]]:
    """Each path with what the model says about it, or with the reason why it says nothing."""
    squares = [square for _, square in batch if not isinstance(square, str)]
    answers: Iterator[Answers] = iter(())
    if squares:
        found = answer_all(np.stack(squares))
        answers = map(found.of, range(len(squares)))
    for path, square in batch:
        if isinstance(square, str):
            yield path, square
            continue
        answer = next(answers)
        if np.isfinite(answer.probabilities).all():
            yield path, predictor.judge(answer)
        else:
            yield path, "the automaton's values overflow on this image; the model was not trained well"
