"""The centers of a benchmark: where they are, and their cells as a model wants them."""

from dataclasses import dataclass
from pathlib import Path

from leukonca.data.cells import Cells, load_cells
from leukonca.data.centers import Center, find_center
from leukonca.data.mapping import read_map
from leukonca.data.preprocessing import Preprocessing
from leukonca.data.synthetic.marks import is_synthetic


@dataclass(frozen=True)
class Place:
    """A center's images, and how they are read.

    Args:
        name: in the table and in paths.
        kind: a key of `leukonca.data.centers.CENTERS`.
        directory: its folder, absolute.
        image_um: what the images' shorter side shows, um, where the center does not say; None: unknown.
        map_file: which class each folder of a center ``folder`` holds; None: they are named after the classes.
        skip_unmatched, skip_unreadable: leave such files out, instead of stopping.
    """

    name: str
    kind: str
    directory: str
    image_um: float | None = None
    map_file: str | None = None
    skip_unmatched: bool = False
    skip_unreadable: bool = False

    @property
    def center(self) -> Center:
        """Its description."""
        return find_center(self.kind) if self.map_file is None else read_map(Path(self.map_file))

    def scale(self, assumed_um: float | None = None) -> float | None:
        """What an image shows, um: as the center knows, as the user says, or as assumed."""
        return self.center.scale(self.image_um if self.image_um is not None else assumed_um)


class Opener:
    """Opens centers, each once for every preprocessing."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._opened: dict[tuple[Place, Preprocessing, float | None], Cells] = {}
        self._synthetic: dict[Place, bool] = {}

    def cells(self, place: Place, preprocessing: Preprocessing, assumed_um: float | None = None) -> Cells:
        """A center's cells.

        Args:
            place: the center.
            preprocessing: of the model.
            assumed_um: the scale of the training center, for a center whose own is unknown.

        Raises:
            UsageError, DataError: see `load_cells`.
        """
        key = (place, preprocessing, place.scale(assumed_um))
        if key not in self._opened:
            self._opened[key] = load_cells(
                place.center,
                Path(place.directory),
                preprocessing,
                image_um=key[2],
                unmatched="skip" if place.skip_unmatched else "error",
                unreadable="skip" if place.skip_unreadable else "error",
                quiet=self._quiet,
            )
        return self._opened[key]

    def synthetic(self, place: Place, cells: Cells) -> bool:
        """Whether the center's files say that a generator made them."""
        if place not in self._synthetic:
            self._synthetic[place] = is_synthetic(Path(place.directory) / cells.paths[0])
        return self._synthetic[place]
