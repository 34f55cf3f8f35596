"""The server of `server.py`, running, with the archives of two centers."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from leukonca.data.centers import ACEVEDO20, MLL23
from leukonca.data.downloads import connection, transfer

from .called import Told, told
from .server import MENDELEY_API, MENDELEY_FILE, MLL23_API, Archives, Handler, picture, small, zipped


@pytest.fixture
def archives(monkeypatch: pytest.MonkeyPatch) -> Iterator[Archives]:
    """An empty server, reached without any proxy."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(transfer, "BLOCK", 100)  # what is cut off within a block is lost
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # clients may leave before the end
    held = Archives(f"http://127.0.0.1:{server.server_port}")
    server.RequestHandlerClass = type("Bound", (Handler,), {"archives": held})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield held
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long transfers would have waited between attempts, seconds; no time passes."""
    waited: list[float] = []
    monkeypatch.setattr(connection.time, "sleep", waited.append)
    return waited


@pytest.fixture
def mll23(archives: Archives, monkeypatch: pytest.MonkeyPatch) -> Archives:
    """All classes of MLL23, two basophils and one image of each other, in the layout of Zenodo's record.

    One of the zips has no folder inside.
    """
    entries = []
    for k, label in enumerate(MLL23.labels):
        folder = "" if label == "monocyte" else f"{label}/"
        images = 2 if label == "basophil" else 1
        files = {f"{folder}{label}_{i:04}.TIF": picture(10 * k + i, "TIFF") for i in range(images)}
        files |= {f"__MACOSX/{folder}._{label}_0000.TIF": b"litter", f"{folder}.DS_Store": b"litter"}
        archive = zipped(files)
        archives.files[f"/zenodo.org/records/14277609/files/{label}.zip"] = archive
        digest = hashlib.md5(archive).hexdigest()
        entries.append({"id": "1", "key": f"{label}.zip", "size": len(archive), "checksum": f"md5:{digest}"})
    entries.append({"id": "2", "key": "README.md", "size": 3, "checksum": "md5:x"})
    archives.files[MLL23_API] = json.dumps({"id": 14277609, "files": entries}).encode()
    small(monkeypatch, MLL23, {label: 2 if label == "basophil" else 1 for label in MLL23.labels})
    return archives


@pytest.fixture
def acevedo20(archives: Archives, monkeypatch: pytest.MonkeyPatch) -> Archives:
    """A few images of Acevedo-20 in the layout of Mendeley Data."""
    archive = zipped(
        {
            "PBC_dataset_normal_DIB/basophil/BA_1.jpg": picture(1, "JPEG"),
            "PBC_dataset_normal_DIB/basophil/.DS_Store": b"litter",
            "PBC_dataset_normal_DIB/ig/PMY_2.jpg": picture(2, "JPEG"),
            "PBC_dataset_normal_DIB/ig/IG_3.jpg": picture(3, "JPEG"),
            "__MACOSX/PBC_dataset_normal_DIB/ig/._IG_3.jpg": b"litter",
        }
    )
    archives.files[MENDELEY_FILE] = archive
    archives.files[MENDELEY_API] = json.dumps(
        [
            {
                "id": "2fc38728",
                "filename": "PBC_dataset_normal_DIB.zip",
                "size": len(archive),
                "content_details": {
                    "download_url": "https:/" + MENDELEY_FILE,
                    "sha256_hash": hashlib.sha256(archive).hexdigest(),
                    "size": len(archive),
                },
            }
        ]
    ).encode()
    small(monkeypatch, ACEVEDO20, {label: int(label in ("BA", "PMY", "IG")) for label in ACEVEDO20.labels})
    return archives


@pytest.fixture
def get(archives: Archives, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Get a center from the server into ``there``."""

    def call(name: str, *words: str | Path) -> Told:
        return told(capsys, name, "--to", tmp_path / "there", "--mirror", archives.address, *words)

    return call
