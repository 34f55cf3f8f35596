"""How the tests of cells and of their cache load the nine files of the fixture ``folder``."""

from pathlib import Path

import numpy as np
from PIL import Image

from leukonca.data.cells import Cells, load_cells
from leukonca.data.preprocessing import Preprocessing, preprocess

SETTINGS = Preprocessing(12, margin=2)


def load(folder: Path, cache: Path, **options: object) -> Cells:
    return load_cells("folder", folder, SETTINGS, cache_dir=cache, **options)


def entries(cache: Path) -> list[Path]:
    return sorted(cache.iterdir())


def check_against_files(cells: Cells, folder: Path) -> None:
    wanted = [preprocess(np.asarray(Image.open(folder / p)), SETTINGS, cells.image_um) for p in cells.paths]
    np.testing.assert_array_equal(cells.images, np.stack(wanted))
    contents = [(folder / p).read_bytes() for p in cells.paths]
    same = [[a == b for b in contents] for a in contents]
    np.testing.assert_array_equal(cells.groups[:, None] == cells.groups[None], same)
