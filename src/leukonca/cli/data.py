"""``leukonca data``: look at folders of images before a model does."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import tyro
from rich.table import Table
from tyro.conf import Positional

from leukonca.cli.common import CommonOptions
from leukonca.cli.fetch import get, list_centers
from leukonca.cli.loading import check_map, described_center
from leukonca.cli.screen import Screen, plain
from leukonca.cli.subverbs import SubVerbs, run_subverb
from leukonca.data.cells import load_cells
from leukonca.data.centers import CENTERS
from leukonca.data.check import Check, Duplicate, check_folder
from leukonca.data.listing import detect_center
from leukonca.data.stats import PAPER, CenterStats, center_stats, class_rows, write_stats
from leukonca.errors import UsageError
from leukonca.files import as_line
from leukonca.files import check_folder as check_out
from leukonca.taxonomy import CLASSES

DONE, SOME_SKIPPED = 0, 4

SHOWN = 20
"""Rows of a list on the screen before the rest is counted; --all shows them too."""


def run(arguments: Sequence[str]) -> int:
    """Exit code of ``leukonca data`` with these arguments."""
    return run_subverb("data", SUBVERBS, arguments)


def _check(
    directory: Annotated[Positional[Path], tyro.conf.arg(metavar="DIR")],
    /,
    common: CommonOptions,
    center: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    map_file: Annotated[Path | None, tyro.conf.arg(name="map", metavar="FILE.toml")] = None,
    all: bool = False,  # noqa: A002 - the option is called --all
) -> int:
    """Check a center's folder: counts per label, unreadable files, duplicates.

    Exit code 0: every file can be used, even if images are missing or duplicated: a part of a center is a fair
    data set, and the table says what is not there. 4: some files cannot be used, each is named. 3: nothing can.

    Args:
        directory: The center's folder.
        common: Options of every verb.
        center: acevedo20, matek19, mll23, bloodmnist or folder (class-named subfolders); by default as the paths tell.
        map_file: Which class each folder holds, where folders have names of their own; the center is then `folder`.
        all: Show all duplicates, not the first 20 of each kind.
    """
    if map_file is not None:
        center = center or "folder"
        check_map(map_file, [center])
    described = None if center is None else described_center(center, map_file)
    found = check_folder(directory, described, quiet=common.quiet)
    screen = Screen(quiet=common.quiet)
    screen.tell(f"{found.root}: {found.images:,} images, center {found.center.name}")
    screen.print(_count_table(found))
    absent = [name for name in found.center.comprises if name not in found.center.classes]
    if absent:
        screen.tell(f"Center {found.center.name} has no {', '.join(absent)}.")
    if found.parts:
        screen.tell(f"Official split: {', '.join(f'{part} {count:,}' for part, count in found.parts.items())}.")
    limit = None if all else SHOWN
    twins_of = "images (the official split does not keep" if found.parts else "files (a split keeps"
    crossing = [twins for twins in (*found.identical, *found.near) if twins.contradicts]
    for fact, duplicates in (
        ("duplicates with DIFFERENT labels", crossing),
        (f"groups of byte-identical {twins_of} each on one side)", found.identical),
        ("pairs of different files with nearly equal pixels (likely one cell taken twice)", found.near),
    ):
        screen.tell(f"{len(duplicates) or 'no'} {fact}{':' if duplicates else ''}")
        _show(screen, map(_twins, duplicates), limit)
    if found.sound:
        screen.tell("Every file can be used.")
        return DONE
    if found.center.map_file and found.unmatched:
        print(f'Give their folders a class in {found.center.map_file}, under [folders], or "ignore".', file=sys.stderr)
    elif found.center.name == "folder" and found.unmatched:
        print(f"Class folders must be named {', '.join(CLASSES)}.", file=sys.stderr)
    _name_skipped("images without a label of the center", found.unmatched)
    _name_skipped("images that cannot be read", [f"{path}: {reason}" for path, reason in found.unreadable])
    _name_skipped("class folders without any image", found.empty)
    return SOME_SKIPPED


def _stats(
    folders: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="[NAME=]DIR...")],
    /,
    common: CommonOptions,
    out: Path | None = None,
    map_file: Annotated[Path | None, tyro.conf.arg(name="map", metavar="FILE.toml")] = None,
    skip_unmatched: bool = False,
) -> int:
    """Compare centers: images per class (the paper's figure 2), mean and standard deviation of their colors.

    Colors are those of the whole images at 64 x 64 pixels, red, green and blue on the scale 0..1.
    Exit code 4: some files cannot be read or were left out, each is named.

    Args:
        folders: The centers' folders, each with or without the name of its center, as in matek19=DIR.
        common: Options of every verb.
        out: Folder for classes.csv, colors.csv, classes.png and classes.svg.
        map_file: Which class each folder of a center `folder` holds; a DIR without a name is then `folder`.
        skip_unmatched: Leave out files that have no label of their center.
    """
    if not folders:
        raise UsageError("data stats: name one or more folders, for example acevedo20=../shared/data/acevedo20")
    if out is not None:
        check_out(out)
    chosen = [_named_folder(text, mapped=map_file is not None) for text in folders]
    check_map(map_file, [name for name, _ in chosen])
    titles = _titles(chosen)
    stats, skipped, unmatched = [], [], []
    for title, (name, folder) in zip(titles, chosen, strict=True):
        cells = load_cells(
            described_center(name, map_file),
            folder,
            PAPER,
            unmatched="skip" if skip_unmatched else "error",
            unreadable="skip",
            quiet=common.quiet,
        )
        stats.append(center_stats(title, cells))
        skipped += [f"{folder / path}: {reason}" for path, reason in cells.skipped]
        unmatched += [str(folder / path) for path in cells.unmatched]
    screen = Screen(quiet=common.quiet)
    screen.print(_class_table(stats))
    screen.print(_color_table(stats))
    if out is not None:
        for path in write_stats(stats, out):
            screen.tell(f"written: {path}")
    _name_skipped("images without a label of their center, left out", unmatched)
    _name_skipped("images that cannot be read", skipped)
    return SOME_SKIPPED if skipped or unmatched else DONE


SUBVERBS: SubVerbs = MappingProxyType(
    {
        "list": (list_centers, "the centers that leukonca reads, their sizes and terms"),
        "get": (get, "fetch a public center, verify and unpack it"),
        "check": (_check, "one folder: counts, unreadable files, duplicates"),
        "stats": (_stats, "one or more folders: class distribution and colors, as tables and picture"),
    }
)


def _named_folder(text: str, *, mapped: bool) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if equals and (name in CENTERS or not Path(text).exists()):
        if name not in CENTERS or not folder:
            raise UsageError(f"{text}: write NAME=DIR with one of {', '.join(CENTERS)}, or DIR alone")
        return name, Path(folder).expanduser()
    path = Path(text).expanduser()
    return "folder" if mapped else detect_center(path).name, path


def _titles(chosen: Sequence[tuple[str, Path]]) -> list[str]:
    """The center's name, with as much of its folder as tells two of the same center apart."""
    for titles in (
        [name for name, _ in chosen],
        [f"{name} ({folder.resolve().name})" for name, folder in chosen],
    ):
        if len(set(titles)) == len(titles):
            return titles
    return [f"{name} ({folder})" for name, folder in chosen]


def _count_table(found: Check) -> Table:
    expected = found.center.expected
    table = Table("label", "class")
    for heading in ("images", "expected") if expected else ("images",):
        table.add_column(heading, justify="right")
    table.add_column("")
    for own, count in found.counts.items():
        if expected:
            surplus = count - expected[own]
            note = "" if surplus == 0 else f"{-surplus:,} missing" if surplus < 0 else f"{surplus:,} too many"
            numbers = [f"{count:,}", f"{expected[own]:,}"]
        else:
            note, numbers = "none" if count == 0 else "", [f"{count:,}"]
        table.add_row(own, found.center.labels[own] or "(dropped)", *numbers, note)
    total = sum(found.counts.values())
    sums = [f"{total:,}", f"{sum(expected.values()):,}"] if expected else [f"{total:,}"]
    table.add_section()
    table.add_row("all", "", *sums, "complete" if expected and dict(found.counts) == dict(expected) else "")
    return table


def _twins(twins: Duplicate) -> str:
    members = " = ".join(
        f"{path} ({label or 'no label'})" for path, label in zip(twins.paths, twins.labels, strict=True)
    )
    return f"{members}, pixels differ by {twins.difference:.1f} of 255" if twins.difference else members


def _show(screen: Screen, lines: Iterable[str], limit: int | None) -> None:
    lines = list(lines)
    for line in lines[:limit]:
        screen.tell(f"  {line}")
    if limit is not None and len(lines) > limit:
        screen.tell(f"  and {len(lines) - limit} more; --all shows them")


def _name_skipped(fact: str, files: Sequence[str]) -> None:
    """On standard error, each of them: whoever sees exit code 4 must be able to tell why."""
    if files:
        print(f"{len(files)} {fact}:", *(f"  {as_line(file)}" for file in files), sep="\n", file=sys.stderr)


def _class_table(stats: Sequence[CenterStats]) -> Table:
    table = Table("class")
    for center in stats:
        table.add_column(plain(center.name), justify="right")
        table.add_column("%", justify="right")
    for name, counts in class_rows(stats).items():
        words = [_count_and_share(n, center.images) for n, center in zip(counts, stats, strict=True)]
        table.add_row(name, *(word for both in words for word in both))
    table.add_section()
    table.add_row("all", *(word for center in stats for word in (f"{center.images:,}", "")))
    table.add_row("largest class", *(word for c in stats for word in (c.majority[0], f"{100 * c.majority[1]:.1f}")))
    return table


def _count_and_share(count: int | None, images: int) -> tuple[str, str]:
    """Nothing at all for a class that the center's labels do not know."""
    if count is None:
        return "", ""
    return f"{count:,}", f"{100 * count / images:.1f}" if count else "-"


def _color_table(stats: Sequence[CenterStats]) -> Table:
    table = Table("color, 0..1", *(f"{part} {color}" for part in ("mean", "std") for color in "RGB"))
    for center in stats:
        table.add_row(plain(center.name), *(f"{value:.3f}" for value in (*center.mean, *center.std)))
    return table
