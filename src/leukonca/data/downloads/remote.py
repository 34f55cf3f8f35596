"""Where the public centers are kept, and which files with which checksums make each of them up.

To add a center that can be fetched: one `Download` below and one line in `DOWNLOADS`.

Sources: Zenodo's REST API (https://developers.zenodo.org); the file list that the pages of Mendeley Data read.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlsplit

from leukonca.data.centers import MLL23
from leukonca.errors import DataError, UsageError

ZENODO_MLL23 = "14277609"
ZENODO_MEDMNIST = "10519652"
MENDELEY_ACEVEDO20 = "https://data.mendeley.com/public-api/datasets/snkd93bnjr/files?folder_id=root&version=1"
ACEVEDO20_ARCHIVE = "PBC_dataset_normal_DIB.zip"

BLOODMNIST_MD5: Mapping[int, str] = MappingProxyType(
    {
        28: "7053d0359d879ad8a5505303e11de1dc",
        64: "2b94928a2ae4916078ca51e05b6b800b",
        128: "adace1e0ed228fccda1f39692059dd4c",
        224: "b718ff6835fcbdb22ba9eacccd7b2601",
    }
)
"""Side of its images in pixels -> checksum of the file, as MedMNIST publishes them."""

DEFAULT_SIZE = 64
"""Side of BloodMNIST's images unless another is asked for: the paper's grid."""

ReadJson = Callable[[str], Any]
"""Gives what a public address holds, parsed."""


@dataclass(frozen=True)
class Remote:
    """One file to fetch.

    Args:
        name: of the file, a plain name.
        url: where it is.
        checksum: ``md5:`` or ``sha256:`` and hex digits.
        size: bytes; None: not known beforehand.
        archive: it is a zip to be unpacked, else it stays as it is.
        folder: where an archive's files go, below the center's folder; empty: into it.
    """

    name: str
    url: str
    checksum: str
    size: int | None = None
    archive: bool = True
    folder: str = ""


@dataclass(frozen=True)
class Download:
    """How one center is fetched.

    Args:
        gigabytes: of what goes over the network, about, for people.
        files: names of the files that make the center up, given the size that was asked for.
        record: asks the archive for them, given the size and how to read JSON; None: see `by_hand`.
        sizes: that can be asked for.
        by_hand: what a person has to do where no program can.
    """

    gigabytes: str
    files: Callable[[int], tuple[str, ...]]
    record: Callable[[int, ReadJson], tuple[Remote, ...]] | None = None
    sizes: tuple[int, ...] = ()
    by_hand: str = ""


def mirrored(url: str, mirror: str | None) -> str:
    """The same file below a mirror, which holds ``HOST/PATH`` of every address: ``MIRROR/zenodo.org/records/...``.

    Raises:
        UsageError: the mirror is no address of a server.
    """
    if not mirror:
        return url
    parts = urlsplit(mirror)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(f"mirror {mirror!r}: write the address of a server, as in https://mirror.example.org/cells")
    return f"{mirror.rstrip('/')}/{url.partition('://')[2]}"


def _mll23_files(_: int) -> tuple[str, ...]:
    return tuple(f"{label}.zip" for label in MLL23.labels)


def _mll23(_: int, read_json: ReadJson) -> tuple[Remote, ...]:
    """One zip a class; sizes and checksums as the record says them now."""
    address = f"https://zenodo.org/api/records/{ZENODO_MLL23}"
    listed = {str(entry["key"]): entry for entry in _entries(address, read_json(address), "files", "key")}
    remotes = []
    for name in _mll23_files(0):
        if name not in listed:
            raise DataError(f"{address}: lists no {name}, so the record is not what it was; see its page on Zenodo")
        remotes.append(
            Remote(
                name=name,
                url=_zenodo_file(ZENODO_MLL23, name),
                checksum=_checksum(address, name, listed[name].get("checksum"), "md5", 32),
                size=_size(address, name, listed[name].get("size")),
                folder=name.removesuffix(".zip"),
            )
        )
    return tuple(remotes)


def _acevedo20(_: int, read_json: ReadJson) -> tuple[Remote, ...]:
    """One zip; its address and checksum as the dataset's file list says them now."""
    listed = {str(entry["filename"]): entry for entry in _entries(MENDELEY_ACEVEDO20, read_json(MENDELEY_ACEVEDO20))}
    if ACEVEDO20_ARCHIVE not in listed:
        raise DataError(f"{MENDELEY_ACEVEDO20}: lists no {ACEVEDO20_ARCHIVE}; get it from the dataset's page by hand")
    details = listed[ACEVEDO20_ARCHIVE].get("content_details")
    details = details if isinstance(details, dict) else {}
    url = str(details.get("download_url"))
    parts = urlsplit(url)
    if parts.scheme != "https" or parts.netloc != "data.mendeley.com":
        raise DataError(f"{MENDELEY_ACEVEDO20}: gives no address of its own for {ACEVEDO20_ARCHIVE}: {url}")
    return (
        Remote(
            name=ACEVEDO20_ARCHIVE,
            url=url,
            checksum=_checksum(MENDELEY_ACEVEDO20, ACEVEDO20_ARCHIVE, details.get("sha256_hash"), "sha256", 64),
            size=_size(MENDELEY_ACEVEDO20, ACEVEDO20_ARCHIVE, details.get("size")),
        ),
    )


def bloodmnist_file(size: int) -> str:
    """Name of the file whose images have a side of so many pixels."""
    return "bloodmnist.npz" if size == 28 else f"bloodmnist_{size}.npz"


def _bloodmnist(size: int, _: ReadJson) -> tuple[Remote, ...]:
    name = bloodmnist_file(size)
    url = _zenodo_file(ZENODO_MEDMNIST, name)
    return (Remote(name=name, url=url, checksum=f"md5:{BLOODMNIST_MD5[size]}", archive=False),)


def _zenodo_file(record: str, name: str) -> str:
    return f"https://zenodo.org/records/{record}/files/{quote(name)}"


def _entries(address: str, record: Any, field: str = "", name: str = "filename") -> list[dict[str, Any]]:
    """The files of a record; whatever a server may send instead ends in an error."""
    listed = record.get(field) if field and isinstance(record, dict) else record
    if not isinstance(listed, list) or not all(isinstance(entry, dict) and entry.get(name) for entry in listed):
        raise DataError(f"{address}: not the list of files that was expected; look at it in a browser, or try later")
    return listed


def _checksum(address: str, name: str, told: Any, kind: str, digits: int) -> str:
    digest = str(told).removeprefix(f"{kind}:").lower()
    if not re.fullmatch(f"[0-9a-f]{{{digits}}}", digest):
        raise DataError(f"{address}: gives no {kind} checksum of {name} ({told}), so it cannot be verified")
    return f"{kind}:{digest}"


def _size(address: str, name: str, told: Any) -> int:
    if isinstance(told, bool) or not isinstance(told, int) or told < 1:
        raise DataError(f"{address}: gives no size of {name} ({told})")
    return told


MATEK19_BY_HAND = """\
Matek-19 is given out by The Cancer Imaging Archive (TCIA) through a program of its own (IBM Aspera), not by plain
HTTP, so it has to be fetched by hand:

  1. Open https://doi.org/10.7937/tcia.2019.36f5o9ld (collection AML-Cytomorphology_LMU, CC BY 3.0).
  2. Under "Data Access" fetch the images, about 12 GB, with the free IBM Aspera Connect that the page offers.
     The annotation and abbreviation tables are not needed: the folders carry the labels.
  3. Put the 15 class folders (BAS, EBO, EOS, KSC, LYA, LYT, MMZ, MOB, MON, MYB, MYO, NGB, NGS, PMB, PMO; 18,365
     TIFF files) into {folder}. A folder around them, as AML-Cytomorphology_LMU, may stay.
  4. leukonca data check {folder} --center matek19
     confirms that every image is there."""

DOWNLOADS: Mapping[str, Download] = MappingProxyType(
    {
        "acevedo20": Download("0.3", lambda _: (ACEVEDO20_ARCHIVE,), _acevedo20),
        "matek19": Download("12", lambda _: (), by_hand=MATEK19_BY_HAND),
        "mll23": Download("9.4", _mll23_files, _mll23),
        "bloodmnist": Download(
            "0.04 to 1.6", lambda size: (bloodmnist_file(size),), _bloodmnist, sizes=tuple(BLOODMNIST_MD5)
        ),
    }
)
"""Name of a center -> how it is fetched."""
