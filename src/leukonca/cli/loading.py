"""How train and evaluate open a center: the options they share, and what is told of files that were left out."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from leukonca.cli.common import say, split_named_folder
from leukonca.data.cells import Cells, load_cells
from leukonca.data.centers import Center, find_center
from leukonca.data.mapping import read_map
from leukonca.data.patients import find_patients, with_patients
from leukonca.data.preprocessing import Preprocessing
from leukonca.data.synthetic.marks import is_synthetic
from leukonca.errors import UsageError

Patients = Annotated[str | None, tyro.conf.arg(metavar="folders|FILE.csv")]
"""Whose cell each image is."""

NAMED = 20
"""How many files a message names."""


@dataclass(frozen=True)
class DataOptions:
    """How the images are read."""

    image_um: Annotated[float | None, tyro.conf.arg(metavar="UM")] = None
    """What the images' shorter side shows, um, where the center does not say."""
    map_file: Annotated[Path | None, tyro.conf.arg(name="map", metavar="FILE.toml")] = None
    """Which class each folder of a center `folder` holds, where folders have names of their own."""
    skip_unmatched: bool = False
    """Leave out files that no rule gives a label, instead of stopping."""
    skip_unreadable: bool = False
    """Leave out files that are no usable image, instead of stopping."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A center, ready.

    Args:
        cells: its images.
        name: to show: the center's, or the folder's where the center says nothing.
        synthetic: the files say that a generator made them.
    """

    cells: Cells
    name: str
    synthetic: bool

    @property
    def left_out(self) -> bool:
        """Whether files were skipped."""
        return bool(self.cells.skipped or self.cells.unmatched)


def scale_of(text: str, options: DataOptions, assumed_um: float | None = None) -> float | None:
    """What an image of ``NAME=DIR`` shows, um: as the center knows, as the user says, or as assumed."""
    center = find_center(split_named_folder(text)[0])
    return center.scale(options.image_um if options.image_um is not None else assumed_um)


def described_center(name: str, map_file: Path | None) -> Center:
    """The center of that name; ``folder`` as a map describes it, if one is given.

    Raises:
        UsageError: no such center.
        DataError: see `read_map`.
    """
    return read_map(map_file) if map_file is not None and name == "folder" else find_center(name)


def check_map(map_file: Path | None, names: Iterable[str]) -> None:
    """Raise a `UsageError` for a map that would be read for nothing."""
    if map_file is not None and "folder" not in names:
        raise UsageError(f"--map {map_file}: only center folder can be mapped; write folder=DIR for its images")


def open_center(
    text: str,
    preprocessing: Preprocessing,
    options: DataOptions,
    *,
    assumed_um: float | None = None,
    patients: str | None = None,
    tell: bool = True,
    quiet: bool,
) -> Opened:
    """Load ``NAME=DIR`` and, unless that was done before, tell of files that were left out.

    Raises:
        UsageError, DataError: see `find_patients`, `load_cells` and `with_patients`.
    """
    center, directory = split_named_folder(text)
    whose = None if patients is None else find_patients(patients, center)
    cells = load_cells(
        described_center(center, options.map_file),
        directory,
        preprocessing,
        image_um=scale_of(text, options, assumed_um),
        unmatched="skip" if options.skip_unmatched else "error",
        unreadable="skip" if options.skip_unreadable else "error",
        quiet=quiet,
    )
    if tell:
        tell_left_out(center, directory, cells, quiet=quiet)
    if whose is not None:
        cells = with_patients(cells, whose)
    name = directory.resolve().name if center == "folder" else center
    return Opened(cells, name, is_synthetic(directory / cells.paths[0]))


def tell_left_out(center: str, directory: Path, cells: Cells, *, quiet: bool) -> None:
    """Name the files that were skipped, and count those whose labels have no place among the classes."""
    _tell(directory, [f"{path}: {why}" for path, why in cells.skipped], "cannot be read")
    _tell(directory, cells.unmatched, "have no label")
    if cells.dropped:
        dropped = ", ".join(f"{label} {count:,}" for label, count in cells.dropped.items())
        why = "as the map says" if center == "folder" else "as their labels are none of the 13 classes"
        say(f"{center}: left out, {why}: {dropped}", quiet=quiet)


def _tell(directory: Path, files: "list[str] | tuple[str, ...]", what: str) -> None:
    if files:
        rest = f"\n  and {len(files) - NAMED} more" if len(files) > NAMED else ""
        lines = "".join(f"\n  {line}" for line in files[:NAMED])
        print(f"leukonca: {directory}: {len(files)} files {what} and were left out:{lines}{rest}", file=sys.stderr)
