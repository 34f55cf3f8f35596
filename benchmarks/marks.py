"""Tables as Markdown, and their places in the documents: between ``<!-- PART -->`` and ``<!-- end -->``."""

import re
from collections.abc import Sequence
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def table(head: Sequence[object], lines: Sequence[Sequence[object]]) -> str:
    every = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in every)


def fill(page: str, part: str, text: str) -> None:
    """Put a text into its place in a page of the documents.

    Raises:
        SystemExit: the page has no such place.
    """
    path = DOCS / page
    between = re.compile(rf"(<!-- {part} -->\n)(?:(?!<!-- ).)*(<!-- end -->)", re.DOTALL)
    filled, found = between.subn(lambda match: f"{match[1]}\n{text}\n\n{match[2]}", path.read_text(encoding="utf-8"))
    if not found:
        raise SystemExit(f"{path}: has no place <!-- {part} --> ... <!-- end -->")
    path.write_text(filled, encoding="utf-8")
