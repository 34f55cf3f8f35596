"""A laboratory's own folder names: which class each of them holds, read from a TOML file.

[folders]
Neutrophils = "neutrophil"
"Lymphozyten 2024" = "lymphocyte"
Blasts = "blast"
junk = "ignore"

[classes]                     # only for coarser classes that leukonca does not know
blast = ["myeloblast"]
"""

import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from leukonca.data.centers import CENTERS, Center, top_folder
from leukonca.errors import DataError
from leukonca.taxonomy import CLASSES, COARSE_CLASSES, EACH_ITSELF, OTHER, Comprises

IGNORE = "ignore"
"""What a folder is mapped to when its images are to be left out."""

_RESERVED = (IGNORE, OTHER, "center", "path", "truth", "label", "probability", "uncertainty", "flag", "error")
"""No class can be called so: columns of the tables bear these names."""

_EXAMPLE = '[folders], then lines such as "Neutrophils" = "neutrophil"'


def read_map(path: Path) -> Center:
    """Read a map of folders.

    Where all folders are mapped to some of the 13 classes, labels are those 13. As soon as one is mapped to a
    coarser class, labels are the classes that the map uses and no others, in the order of the 13.

    Args:
        path: a TOML file. ``[folders]`` maps every folder that lies directly in the center's to one of the 13
            classes, to one of `COARSE_CLASSES`, to a class of ``[classes]`` or to ``ignore``; folders that a center
            does not have may be mentioned. ``[classes]``, which may be missing, maps names to lists of some of the 13.

    Returns:
        Center ``folder`` with these labels.

    Raises:
        DataError: the file is missing or no map; the message names the file, the fact and the remedy.
    """
    path = Path(path)
    tables = _read(path)
    known = {**EACH_ITSELF, **COARSE_CLASSES, **_own_classes(path, tables.get("classes", {}))}
    labels = _labels(path, tables["folders"], known)
    used = sorted(
        {name for name in labels.values() if name is not None},
        key=lambda name: (CLASSES.index(known[name][0]), name),
    )
    _check_overlap(path, {name: known[name] for name in used})
    fine = set(used) <= set(CLASSES)
    return replace(
        CENTERS["folder"],
        title=f"your own cells: one subfolder a class, named as in {path}",
        rule=_folder,
        labels=MappingProxyType(labels),
        comprises=EACH_ITSELF if fine else MappingProxyType({name: known[name] for name in used}),
        map_file=str(path),
    )


def _folder(path: PurePosixPath) -> str:
    """The first folder of the path, its letters composed alike whether they come from a Mac or not."""
    return _composed(top_folder(path))


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _read(path: Path) -> dict[str, Any]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; --map needs a TOML file with {_EXAMPLE}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: no text in UTF-8 ({error.reason}); save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path}: no valid TOML: {error}. It needs {_EXAMPLE}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); --map needs a TOML file") from error
    strange = [name for name in tables if name not in ("folders", "classes")]
    if strange:
        raise DataError(f"{path}: {', '.join(strange)} means nothing here; a map has [folders] and [classes]")
    if not tables.get("folders"):
        raise DataError(f"{path}: maps no folder; it needs {_EXAMPLE}")
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise DataError(f"{path}: {name} is no table; write [{name}], and each entry on a line of its own beneath")
    return tables


def _own_classes(path: Path, table: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    own = {}
    for name, listed in table.items():
        here = f"{path}: [classes] {name}"
        if not name.isidentifier() or name in _RESERVED:
            raise DataError(
                f"{here}: no class can be called so; use letters, digits and _, and none of {_words(_RESERVED)}"
            )
        if not (isinstance(listed, list) and listed and all(isinstance(each, str) for each in listed)):
            raise DataError(f"{here}: must list the classes that it comprises, as in ['myelocyte', 'metamyelocyte']")
        for finer in listed:
            if finer not in CLASSES:
                raise DataError(f"{here}: {_unknown(finer, CLASSES)} Classes comprise some of {_words(CLASSES)}")
        if len(set(listed)) != len(listed):
            raise DataError(f"{here}: names a class twice; once is enough")
        settled = EACH_ITSELF.get(name) or COARSE_CLASSES.get(name)
        if settled is not None and set(settled) != set(listed):
            raise DataError(f"{here}: that name means {_words(settled)} everywhere; give yours another name")
        own[name] = tuple(sorted(listed, key=CLASSES.index))
    return own


def _labels(path: Path, table: Mapping[str, Any], known: Comprises) -> dict[str, str | None]:
    labels: dict[str, str | None] = {}
    for written, name in table.items():
        folder = _composed(written)
        if not isinstance(name, str):
            dotted = f'; a name with a dot needs quotes: "{folder}.x" = "class"' if isinstance(name, dict) else ""
            raise DataError(f"{path}: [folders] {folder}: not the name of a class{dotted}")
        if "/" in folder or not folder.strip():
            raise DataError(f"{path}: [folders] {folder!r}: not a name of a folder that lies directly in the center's")
        if folder in labels:
            raise DataError(f"{path}: [folders] {folder}: stands twice, spelled with different letter codes; keep one")
        if name != IGNORE and name not in known:
            raise DataError(
                f"{path}: [folders] {folder}: {_unknown(name, [*known, IGNORE])} There are {_words(known)}; "
                f"'{IGNORE}' leaves a folder out, and [classes] defines coarser classes"
            )
        labels[folder] = None if name == IGNORE else name
    if not any(labels.values()):
        raise DataError(f"{path}: every folder is ignored; map at least one to a class")
    return labels


def _check_overlap(path: Path, used: Comprises) -> None:
    owner: dict[str, str] = {}
    for name, comprised in used.items():
        for finer in comprised:
            if finer in owner:
                raise DataError(
                    f"{path}: {finer} belongs to two classes, {owner[finer]} and {name}, so an answer could be right "
                    "for both; map all folders at one level"
                )
            owner[finer] = name


def _unknown(name: str, known: Any) -> str:
    close = get_close_matches(name.lower().replace(" ", "_"), list(known), n=1)
    return f"no class is called {name!r}{f', did you mean {close[0]!r}?' if close else '.'}"


def _words(names: Any) -> str:
    return ", ".join(names)
