"""Draws one SYNTHETIC cell in its surroundings as dye amounts, with the true outlines of nucleus and cytoplasm."""

import numpy as np
from numpy.typing import NDArray

from leukonca.data.synthetic.anatomy import Anatomy, Granules, Nucleus, Span
from leukonca.data.synthetic.fields import Field, Point, dent, ellipse
from leukonca.data.synthetic.nuclei import band_nucleus, kidney_nucleus, lobed_nucleus, round_nucleus
from leukonca.data.synthetic.optics import Amounts, SyntheticCenter
from leukonca.data.synthetic.surroundings import RED_CELL_UM, surroundings

NUCLEUS, CYTOPLASM = 255, 128
"""Values of a mask; the rest is 0."""


def paint(anatomy: Anatomy, center: SyntheticCenter, rng: np.random.Generator) -> tuple[Amounts, NDArray[np.uint8]]:
    """One cell near the middle of the center's field, among red cells and platelets.

    Args:
        anatomy: the class.
        center: gives the scale and the number of red cells.
        rng: this cell's own generator.

    Returns:
        Dye amounts [H, W], and the mask, uint8 [H, W]: 255 nucleus, 128 cytoplasm, 0 the rest.
    """
    return _Painter(anatomy, center, rng).paint()


class _Painter:
    """One cell at work: its class, its place, and where between its class' early and late end it lies."""

    def __init__(self, anatomy: Anatomy, center: SyntheticCenter, rng: np.random.Generator) -> None:
        self.anatomy, self.canvas, self.rng = anatomy, center.canvas, rng
        self.stage = rng.random()
        self.radius = self.draw(anatomy.diameter_um, 0.07) / 2
        x, y = rng.normal(0, 0.5, 2)
        self.centre: Point = (x, y)
        self.amounts = surroundings(center, self.centre, self.radius, rng)

    def draw(self, span: Span, spread: float = 0.0) -> float:
        """A property: it follows the stage, with scatter; `spread` is a further relative scatter."""
        at = np.clip(self.stage + self.rng.normal(0, 0.25), -0.2, 1.2)
        value = span[0] + (span[1] - span[0]) * at
        return float(max(value, 0.0) * np.exp(self.rng.normal(0, spread)))

    def paint(self) -> tuple[Amounts, NDArray[np.uint8]]:
        outline = self._outline()
        kinds, weights = zip(*self.anatomy.nuclei, strict=True)
        kind: Nucleus = kinds[int(self.rng.choice(len(kinds), p=weights))]
        if kind == "smear":
            return self._smudge(outline)
        nucleus = np.maximum(self._nucleus(kind), outline + np.float32(0.2))
        cell, core = self.canvas.coverage(outline), self.canvas.coverage(nucleus)
        a = self.amounts
        for dye in (a.azure, a.blue, a.eosin, a.hemoglobin):
            np.multiply(dye, 1 - cell, out=dye)
        self._cytoplasm(outline, cell * (1 - core))
        self._chromatin(nucleus, core)
        for granules in self.anatomy.granules:
            self._granules(granules, cell, core)
        mask = np.where(core > 0.5, NUCLEUS, np.where(cell > 0.5, CYTOPLASM, 0)).astype(np.uint8)
        return a, mask

    def _outline(self) -> Field:
        flat = np.sqrt(1 + self.anatomy.elongation * self.rng.random())
        radii = (self.radius * flat, self.radius / flat)
        outline = ellipse(self.canvas, self.centre, radii, self.rng.uniform(0, np.pi))
        outline += np.float32(self.anatomy.roughness_um * 0.6) * self.canvas.texture(3.5, self.rng)
        if self.anatomy.dented:
            for angle in self.rng.uniform(0, 2 * np.pi, int(self.rng.integers(1, 4))):
                far = self.radius + self.rng.uniform(1.6, 3.0)
                place = (self.centre[0] + far * np.cos(angle), self.centre[1] + far * np.sin(angle))
                red_cell = ellipse(self.canvas, place, (RED_CELL_UM / 2, RED_CELL_UM / 2), 0.0)
                outline = dent(outline, red_cell, 1.0)
        return outline

    def _nucleus(self, kind: Nucleus) -> Field:
        canvas, centre, radius, rng = self.canvas, self.centre, self.radius, self.rng
        if kind == "band":
            return band_nucleus(canvas, centre, radius, rng.uniform(0.2, 0.28), rng)
        if kind == "lobes":
            fewest, most = self.anatomy.lobes
            return lobed_nucleus(canvas, centre, radius, int(rng.integers(fewest, most + 1)), rng)
        share = min(self.draw(self.anatomy.nucleus_share, 0.06), 0.96)
        eccentric = self.anatomy.eccentric
        if kind == "kidney":
            notch = self.draw(self.anatomy.notch)
            return kidney_nucleus(canvas, centre, radius, share, notch, eccentric, rng)
        return round_nucleus(canvas, centre, radius, share, eccentric, rng)

    def _cytoplasm(self, outline: Field, body: Field) -> None:
        uneven = 1 + np.float32(0.14) * self.canvas.texture(1.2, self.rng)
        edge = 1 + np.float32(self.anatomy.rim) * np.exp(-((outline / np.float32(0.9)) ** 2))
        for _ in range(int(self.rng.integers(0, self.anatomy.vacuoles + 1))):
            size = self.rng.uniform(0.3, 0.7)
            body = body * (1 - np.float32(0.85) * self._spot(outline < -0.5, size, 0.4))
        self.amounts.blue += body * uneven * edge * np.float32(self.draw(self.anatomy.blue, 0.3))
        self.amounts.eosin += body * uneven * np.float32(self.draw(self.anatomy.eosin, 0.3))
        self.amounts.azure += body * np.float32(0.06)

    def _chromatin(self, nucleus: Field, core: Field) -> None:
        clumps = np.float32(self.anatomy.contrast) * self.canvas.texture(self.anatomy.clumps_um, self.rng)
        membrane = np.float32(0.18) * np.exp(-(((nucleus + np.float32(0.3)) / np.float32(0.3)) ** 2))
        amount = np.float32(self.draw(self.anatomy.chromatin, 0.12))
        chromatin = amount * np.maximum(1 + clumps + membrane, 0)
        fewest, most = self.anatomy.nucleoli
        for _ in range(int(self.rng.integers(fewest, most + 1))):
            nucleolus = self._spot(nucleus < -1.0, self.rng.uniform(0.6, 1.1), 0.6)
            chromatin *= 1 - np.float32(0.45) * nucleolus
            self.amounts.blue += np.float32(0.3) * nucleolus * core
        self.amounts.azure += core * chromatin
        self.amounts.blue += core * np.float32(0.12)

    def _granules(self, kind: Granules, cell: Field, core: Field) -> None:
        cover = min(self.draw(kind.cover), 0.95)
        if cover <= 0:
            return
        grains = self.canvas.texture(kind.size_um, self.rng)
        level = np.quantile(grains[::3, ::3], 1 - cover)
        dots = np.clip((grains - np.float32(level)) * 2 + np.float32(0.5), 0, 1)
        dots *= cell * (1 - np.float32(1 - kind.over_nucleus) * core)
        dots *= np.float32(np.exp(self.rng.normal(0, 0.25)))
        self.amounts.azure += np.float32(kind.azure) * dots
        self.amounts.eosin += np.float32(kind.eosin) * dots

    def _smudge(self, outline: Field) -> tuple[Amounts, NDArray[np.uint8]]:
        """A burst nucleus: a pale smear with a frayed edge and no cytoplasm."""
        frayed = outline + np.float32(0.7) * self.canvas.texture(2.0, self.rng)
        cover = self.canvas.coverage(frayed, 3.0)
        texture = self.canvas.texture(0.9, self.rng) + self.canvas.texture(2.5, self.rng)
        streaks = np.maximum(1 + np.float32(self.anatomy.contrast) * texture, np.float32(0.1))
        self.amounts.hemoglobin *= 1 - cover
        self.amounts.azure += cover * streaks * np.float32(self.draw(self.anatomy.chromatin, 0.12))
        self.amounts.eosin += cover * np.float32(0.08)
        return self.amounts, np.where(cover > 0.5, NUCLEUS, 0).astype(np.uint8)

    def _spot(self, allowed: NDArray[np.bool_], size_um: float, soft_um: float) -> Field:
        """A small soft disc around one of the allowed pixels; nothing where none is allowed."""
        pixels = np.flatnonzero(allowed)
        if len(pixels) == 0:
            return np.zeros(allowed.shape, dtype=np.float32)
        row, column = divmod(int(pixels[self.rng.integers(len(pixels))]), self.canvas.pixels)
        x, y = self.canvas.axes()
        place = (float(x[0, column]), float(y[row, 0]))
        return self.canvas.coverage(ellipse(self.canvas, place, (size_um, 0.9 * size_um), 0.0), soft_um)
