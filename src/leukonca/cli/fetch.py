"""``leukonca data list`` and ``leukonca data get``: which public centers there are, and how to have them."""

import os
from pathlib import Path
from typing import Annotated

import tyro
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from tyro.conf import Positional

from leukonca.cli.common import CommonOptions, say
from leukonca.cli.screen import Screen, plain
from leukonca.data.centers import CENTERS, Center, find_center
from leukonca.data.check import Check, check_folder
from leukonca.data.downloads.remote import DOWNLOADS
from leukonca.errors import DataError, UsageError

DONE, SOME_SKIPPED = 0, 4


def list_centers(common: CommonOptions) -> int:
    """Show the centers that leukonca reads: what they hold, how large they are, their terms, where to get them."""
    screen = Screen(quiet=common.quiet)
    table = Table("name", box=None, pad_edge=False)
    for heading in ("images", "classes", "GB"):
        table.add_column(heading, justify="right")
    table.add_column("licence")
    table.add_column("to get it")
    for name, center in CENTERS.items():
        images = sum(center.expected.values())
        download = DOWNLOADS.get(name)
        table.add_row(
            name,
            f"{images:,}" if images else "",
            str(len(center.classes)),
            download.gigabytes if download else "",
            center.licence,
            f"leukonca data get {name}" if download else "",
        )
    screen.print(table)
    for center in CENTERS.values():
        screen.print()
        screen.print(Text.assemble((center.name, "bold"), "  ", plain(center.title)))
        for word, fact in _facts(center).items():
            grid = Table.grid(padding=(0, 1))
            grid.add_column(width=7)
            grid.add_column(overflow="fold")
            grid.add_row(word, plain(fact))
            screen.print(Padding(grid, (0, 0, 0, 2)))
    return DONE


def _facts(center: Center) -> dict[str, str]:
    expected = sum(center.expected.values())
    kept = sum(center.expected_classes.values())
    of = "the 13 classes" if len(center.comprises) == 13 else "its own classes"
    download = DOWNLOADS.get(center.name)
    facts = {
        "images": f"{expected:,}, {kept:,} of them in {len(center.classes)} of {of}" if expected else "",
        "size": f"about {download.gigabytes} GB to fetch" if download else "",
        "field": f"{center.image_um:g} um, the shorter side of an image" if center.image_um else "",
        "labels": ", ".join(f"{own} {center.expected[own]:,}" for own in center.labels if center.expected)
        or ", ".join(center.labels),
        "licence": center.licence,
        "cite": center.citation,
        "from": center.source,
    }
    return {word: fact for word, fact in facts.items() if fact}


def get(
    name: Annotated[Positional[str], tyro.conf.arg(metavar="NAME")],
    /,
    common: CommonOptions,
    to: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    size: Annotated[int | None, tyro.conf.arg(metavar="PIXELS")] = None,
    mirror: Annotated[str | None, tyro.conf.arg(metavar="URL")] = None,
) -> int:
    """Fetch a public center, verify it, unpack it, and count its images against the published numbers.

    What an interrupted call has fetched is kept, and the same command goes on from there. Files that are there and
    sound are not fetched again; damaged ones are. matek19 cannot be fetched by a program: its instructions are
    shown, with exit code 2, unless DIR holds it already.

    Args:
        name: acevedo20, mll23, bloodmnist or matek19.
        common: Options of every verb.
        to: Folder for the center; by default data/NAME.
        size: Of bloodmnist's images, the side in pixels: 28, 64, 128 or 224; by default 64.
        mirror: Server that stands in for all others, with a folder a host; by default that of the environment
            variable LEUKONCA_MIRROR. A proxy is named by HTTPS_PROXY.
    """
    from leukonca.data.downloads.get import find_download, get_center, note_counted
    from leukonca.data.downloads.remote import DEFAULT_SIZE, bloodmnist_file

    folder = to or Path("data") / name
    by_hand = find_download(name, size).record is None
    if by_hand and not _holds_images(folder):
        raise UsageError(find_download(name).by_hand.format(folder=folder))
    if not by_hand:
        fetched = get_center(
            name,
            folder,
            size=size,
            mirror=mirror or os.environ.get("LEUKONCA_MIRROR"),
            tell=lambda line: say(line, quiet=common.quiet),
            quiet=common.quiet,
        )
        if fetched.counted:
            say(f"{folder}: {name} is complete and sound; nothing to do", quiet=common.quiet)
            return DONE
    where = folder / bloodmnist_file(size or DEFAULT_SIZE) if name == "bloodmnist" else folder
    _compare(check_folder(where, name, quiet=common.quiet))
    if not by_hand:
        note_counted(name, folder, size=size)
    say(
        f"{where}: complete, {sum(find_center(name).expected.values()):,} images as published\n"
        f"cite: {find_center(name).citation} ({find_center(name).licence})\n"
        f"next: leukonca train --data {name}={where}",
        quiet=common.quiet,
    )
    return DONE


def _holds_images(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except OSError:
        return False


def _compare(found: Check) -> None:
    """Refuse what is not the published center."""
    odd = [
        f"{label} {found.counts[label]:,} of {wanted:,}"
        for label, wanted in found.center.expected.items()
        if found.counts[label] != wanted
    ]
    odd += [
        f"part {part} {found.parts[part]:,} of {wanted:,}"
        for part, wanted in found.center.expected_parts.items()
        if found.parts[part] != wanted
    ]
    for fact, files in (
        ("images without a label", found.unmatched),
        ("images that cannot be read", found.unreadable),
    ):
        odd += [f"{len(files):,} {fact}"] if files else []
    if odd:
        raise DataError(
            f"{found.root}: not the published {found.center.name}: {', '.join(odd)}. "
            f"leukonca data check {found.root} --center {found.center.name} names every file"
        )
