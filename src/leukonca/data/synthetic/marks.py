"""Tells a synthetic image file by the note that its writer left in it."""

from pathlib import Path

from PIL import Image, UnidentifiedImageError

NOTE = "synthetic image of leukonca"
"""Every file of `write_synthetic` says so in its description."""


def is_synthetic(path: Path) -> bool:
    """Whether an image file was written by `leukonca.data.synthetic`; False for files that cannot be read."""
    try:
        with Image.open(path) as image:
            return str(image.info.get("Description", "")).startswith(NOTE)
    except (OSError, UnidentifiedImageError, ValueError):
        return False
