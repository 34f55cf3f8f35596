"""Tables as Markdown, and their places in the documents: between ``<!-- PART -->`` and ``<!-- end -->``."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from leukonca.files import write_json

DOCS = Path(__file__).parent.parent / "docs"


def table(head: Sequence[object], lines: Sequence[Sequence[object]]) -> str:
    every = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in every)


def keep_row(path: Path, epochs: int, key: str, found: dict[str, Any], order: Iterable[str]) -> list[dict[str, Any]]:
    """Put a row among those of as many epochs that a file of results holds; all of them in their order."""
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"epochs": None}
    rows = {row[key]: row for row in kept["rows"]} if kept["epochs"] == epochs else {}
    rows[found[key]] = found
    ordered = [rows[name] for name in order if name in rows]
    write_json(path, {"epochs": epochs, "rows": ordered})
    return ordered


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
