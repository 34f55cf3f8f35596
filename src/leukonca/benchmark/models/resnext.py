"""The paper's large baseline."""

from types import MappingProxyType
from typing import Any

from leukonca.benchmark.models.network import Network
from leukonca.benchmark.settings import changed

TINY = {
    "grid": 24,
    "blocks": [1, 1, 1, 1],
    "width": 16,
    "groups": 4,
    "group_width": 16,
    "field_um": None,
    "nucleus_um": None,
    "margin": 0,
    "stain_normalisation": "plain",
    "beyond": "reflection",
    "label_smoothing": 0.0,
    **dict.fromkeys(("scale", "stain", "mixing", "levels", "blur", "noise", "cut", "mild"), 0.0),
    "warmup": 20,
    "average": 0.98,
}
"""What the smallest size changes: the least that still has all parts."""


class ResNeXt(Network):
    """ResNeXt-50 32x4d from scratch, and smaller ones."""

    recipes = MappingProxyType({"paper": "resnext", "compact": "resnext-small", "tiny": "resnext-small"})

    def settings(self, size: str) -> dict[str, Any]:
        """The recipe, as JSON."""
        settings = super().settings(size)
        return changed(settings, TINY) if size == "tiny" else settings
