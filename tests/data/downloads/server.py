"""A server on this machine that holds small archives of the public centers' layout, and misbehaves on request."""

import io
import re
import zipfile
from collections import deque
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from leukonca.data import centers

MLL23_API = "/zenodo.org/api/records/14277609"
MENDELEY_API = "/data.mendeley.com/public-api/datasets/snkd93bnjr/files"
MENDELEY_FILE = "/data.mendeley.com/public-files/datasets/snkd93bnjr/files/2fc38728/file_downloaded"


@dataclass
class Archives:
    """What the server holds, how it behaves, and what it was asked for.

    Args:
        address: to be given as the mirror.
        files: path without its query -> content.
        ranges: whether it knows the Range header.
        odd: how the next requests for files other than lists go wrong, in turn: a status code to answer with, or a
            number of bytes, negative, after which the connection is cut. 0: nothing goes wrong.
        asked: path, Range header and status of each request.
    """

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    odd: deque[int] = field(default_factory=deque)
    odd_lists: deque[int] = field(default_factory=deque)
    asked: list[tuple[str, str, int]] = field(default_factory=list)

    def downloads(self) -> list[tuple[str, str, int]]:
        """Requests for files, not for lists of them."""
        return [request for request in self.asked if "api/" not in request[0]]


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    archives: Archives

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        path, wanted = self.path.partition("?")[0], self.headers.get("Range", "")
        queue = self.archives.odd_lists if "api/" in path else self.archives.odd
        odd = queue.popleft() if queue else 0
        status, body, start = 200, self.archives.files.get(path), 0
        if body is None:
            status, body = 404, b"nothing here"
        elif odd > 0:
            status, body = odd, b"not now"
        elif wanted and self.archives.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            status = 206 if start < len(body) else 416
        self.archives.asked.append((path, wanted, status))
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if status == 416:
            self.send_header("Content-Range", f"bytes */{len(body)}")
            body = b""
        if status in (429, 503):
            self.send_header("Retry-After", "7")
        rest = body[start:]
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[:-odd] if odd < 0 else rest)
        self.close_connection = odd < 0


def picture(seed: int, kind: str) -> bytes:
    """A small image file of random pixels."""
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, format=kind)
    return file.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    """A zip archive."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return archive.getvalue()


def small(monkeypatch: pytest.MonkeyPatch, center: centers.Center, counts: dict[str, int]) -> None:
    """Replace a center's published counts by small ones."""
    smaller = replace(center, expected=MappingProxyType(counts))
    known = {**centers.CENTERS, center.name: smaller}
    monkeypatch.setattr(centers, "CENTERS", MappingProxyType(known))


def images_of(folder: Path) -> list[str]:
    """Everything in a folder that is not hidden, relative, sorted."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
