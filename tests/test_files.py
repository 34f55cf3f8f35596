"""Files appear whole or not at all, whatever happens in between."""

import errno
import hashlib
import json
import os
import resource
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leukonca.errors import DataError, UsageError
from leukonca.files import as_line, as_text, check_folder, fingerprint, whole_file, write_json, write_text


def everything(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    (tmp_path / "result.csv").write_text("old")
    return tmp_path / "result.csv"


def test_it_appears_at_the_end_and_not_before(old: Path) -> None:
    with whole_file(old) as temporary:
        assert temporary.parent == old.parent  # a move from another disk would not be whole
        temporary.write_text("half")
        assert old.read_text() == "old"
        temporary.write_text("whole")
    assert everything(old.parent) == {"result.csv": b"whole"}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(("mask", "expected"), [(0o077, 0o600), (0o022, 0o644), (0o007, 0o660)])
def test_who_may_read_a_new_file_is_the_users_choice(tmp_path: Path, mask: int, expected: int) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "result.csv", "about patients")
    finally:
        os.umask(before)
    assert mode(tmp_path / "result.csv") == expected


@pytest.mark.parametrize("chosen", [0o600, 0o640, 0o444])
def test_who_may_read_a_file_stays_when_it_is_written_again(old: Path, chosen: int) -> None:
    old.chmod(chosen)
    write_text(old, "new")
    assert (old.read_text(), mode(old)) == ("new", chosen)


def test_folders_are_made(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "c.txt", "Zellgröße µm\n")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == "Zellgröße µm\n".encode()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, OSError])
def test_a_failure_leaves_the_old_file_and_no_debris(old: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        with whole_file(old) as temporary:
            temporary.write_text("half")
            raise error("stop")

    with pytest.raises(error, match="stop"):
        fail()
    assert everything(old.parent) == {"result.csv": b"old"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("where", ["open", "block", "fsync", "replace"])
def test_a_full_disk_is_named_wherever_it_shows(
    old: Path, monkeypatch: pytest.MonkeyPatch, where: str, number: int
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    if where != "block":
        owner = {"open": "leukonca.files.os", "fsync": "leukonca.files.os", "replace": "pathlib.Path"}[where]
        monkeypatch.setattr(f"{owner}.{where}", fail)

    def write() -> None:
        with whole_file(old) as temporary:
            temporary.write_text("new")
            if where == "block":
                fail()

    with pytest.raises(DataError, match=r"result\.csv: the disk is full.*free some space"):
        write()
    monkeypatch.undo()
    assert everything(old.parent) == {"result.csv": b"old"}


def test_a_real_limit_of_the_operating_system(old: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_text(old, "x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert everything(old.parent) == {"result.csv": b"old"}


def test_an_error_of_another_file_is_not_blamed_on_this_one(old: Path) -> None:
    with pytest.raises(PermissionError, match=r"other\.png"), whole_file(old):
        raise PermissionError(errno.EACCES, "Permission denied", "other.png")


def test_places_that_cannot_be_written(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"table\.csv: cannot write there .*choose another --out"):
        write_text(old / "table.csv", "x")
    with pytest.raises(UsageError, match="is a folder"):
        write_text(old.parent, "x")
    with pytest.raises(UsageError, match="File name too long"):
        write_text(old.parent / ("n" * 300), "x")
    for number in (errno.EACCES, errno.EROFS):

        def fail(*_: Any, error: int = number, **__: Any) -> None:
            raise OSError(error, os.strerror(error))

        monkeypatch.setattr("leukonca.files.os.open", fail)
        with pytest.raises(UsageError, match="cannot write there"):
            write_text(old, "x")
    assert everything(old.parent) == {"result.csv": b"old"}


def test_a_folder_is_tried_before_the_work_and_left_as_it_was(old: Path) -> None:
    for folder in (old.parent, old.parent / "new", old.parent / "new" / "deep", old.parent / "new" / ".." / "x"):
        check_folder(folder)
    assert everything(old.parent) == {"result.csv": b"old"}


def test_a_folder_that_results_cannot_go_to_is_refused(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (old, old / "new", old / "new" / "deep"):
        with pytest.raises(UsageError, match=r"(?i)cannot write there \(not a (folder|directory)\); choose another"):
            check_folder(folder)
    with pytest.raises(UsageError, match="File name too long"):
        check_folder(old.parent / "new" / ("n" * 300))
    (old.parent / "link").symlink_to("gone")
    for folder in (old.parent / "link", old.parent / "link" / "new"):
        with pytest.raises(UsageError, match="a link to a folder that is gone"):
            check_folder(folder)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("leukonca.files.tempfile.TemporaryFile", fail)
    for folder in (old.parent, old.parent / "new"):
        with pytest.raises(UsageError, match="Read-only file system"):
            check_folder(folder)


@settings(max_examples=30, deadline=None)
@given(st.text())
def test_what_utf8_can_hold_is_left_as_it_is(name: str) -> None:
    assert as_text(name) == name


def test_bytes_that_are_no_utf8_are_spelled_out() -> None:
    assert as_text(os.fsdecode(b"caf\xe9,\xc3\xa9.png")) == r"caf\xe9,é.png"


@given(st.text(st.characters(exclude_categories=())))
def test_a_line_is_a_line_and_harmless(name: str) -> None:
    assert as_line(name).isprintable()
    as_line(name).encode()
    if name.isprintable():
        assert as_line(name) == name


def test_control_characters_are_spelled_out() -> None:
    assert as_line("two\nlines \x1b[31m é" + os.fsdecode(b"\xff")) == r"two\nlines \x1b[31m é\xff"


def test_text_with_names_that_are_no_utf8_is_written_as_utf8(old: Path) -> None:
    write_text(old, "\ud800 " + os.fsdecode(b"\xff\xc3\xa9.png\n"))
    assert old.read_bytes() == rb"\ud800 \xff" + b"\xc3\xa9.png\n"


def test_json_is_strict(old: Path) -> None:
    write_json(old, {"ä": [1, None, 0.1], "b": True})
    assert json.loads(old.read_text()) == {"ä": [1, None, 0.1], "b": True}
    for value in (float("nan"), float("inf"), {1, 2}):
        with pytest.raises((ValueError, TypeError)):
            write_json(old, value)
    assert json.loads(old.read_text())["b"] is True
    assert list(everything(old.parent)) == ["result.csv"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(parts=st.lists(JSON, max_size=3))
def test_fingerprint_is_the_sha256_of_canonical_json(parts: list[Any]) -> None:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    assert fingerprint(*parts) == hashlib.sha256(text.encode()).hexdigest()


def test_fingerprint_by_hand() -> None:
    assert fingerprint({"b": 1, "a": [2]}, "c") == hashlib.sha256(b'[{"a":[2],"b":1},"c"]').hexdigest()
    assert fingerprint("ab", "c") != fingerprint("a", "bc")
