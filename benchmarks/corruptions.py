"""Every corruption at every strength, on one synthetic cell: docs/figures/corruptions.jpg, or on a cell of one's own.

python benchmarks/corruptions.py [--cell FILE --image-um UM --out FILE]
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from PIL import Image, ImageDraw, ImageFont

from leukonca.data.images import read_image
from leukonca.data.preprocessing import Preprocessing, centre_view, preprocess
from leukonca.data.synthetic import synthetic_cells
from leukonca.evaluation.corruption import CORRUPTIONS, STRENGTHS, corrupt, pixel_um
from marks import DOCS

PREPROCESSING = Preprocessing(grid=64, margin=10, field_um=24.0)
GAP, NAMES, HEAD = 4, 110, 24


@dataclass(frozen=True)
class Settings:
    """What to show."""

    cell: Path | None = None
    """An image; none: a synthetic neutrophil."""
    image_um: float = 36.0
    """What its shorter side shows, um."""
    place: int = 1
    """The image's place in its center, from which follows what is random."""
    out: Path = DOCS / "figures" / "corruptions.jpg"


def main(settings: Settings) -> None:
    if settings.cell is None:
        cells = synthetic_cells("synthetic_cream", 1, 0, PREPROCESSING, quiet=True)[0]
        square, image_um = cells.images[cells.labels == cells.classes.index("neutrophil_segmented")][0], cells.image_um
    else:
        square, image_um = preprocess(read_image(settings.cell), PREPROCESSING, settings.image_um), settings.image_um
    side = PREPROCESSING.grid
    columns = (0, *STRENGTHS)
    size = (NAMES + len(columns) * (side + GAP), HEAD + len(CORRUPTIONS) * (side + GAP))
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for column, strength in enumerate(columns):
        left = NAMES + column * (side + GAP)
        draw.text((left + side / 2, HEAD / 2), str(strength), fill="black", font=font, anchor="mm")
        for row, name in enumerate(CORRUPTIONS):
            top = HEAD + row * (side + GAP)
            draw.text((4, top + side / 2), name, fill="black", font=font, anchor="lm")
            changed = corrupt(
                square[None],
                name,
                strength,
                places=np.array([settings.place]),
                um_per_pixel=pixel_um(PREPROCESSING, image_um),
            )
            sheet.paste(Image.fromarray(centre_view(changed, PREPROCESSING)[0]), (left, top))
    sheet.save(settings.out, quality=90, subsampling=0)


if __name__ == "__main__":
    main(tyro.cli(Settings))
