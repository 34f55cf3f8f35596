import os
import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leukonca.data.downloads.unpack import SLACK, checksum, unpack
from leukonca.errors import DataError

from .server import images_of, zipped


def entry(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def packed(path: Path, entries: list[tuple[zipfile.ZipInfo | str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w") as opened:
        for info, content in entries:
            opened.writestr(info, content)
    return path


def unpacked(archive: Path, folder: Path, below: str = "") -> dict[str, tuple[int, int]]:
    folder.mkdir(exist_ok=True)
    return dict(unpack(archive, folder, folder / ".work", below=below))


def test_files_arrive_whole_and_are_accounted_for(tmp_path):
    archive = tmp_path / "a.zip"
    archive.write_bytes(zipped({"outer/b/1.png": b"one", "outer/2.png": b"", "outer/c/.hidden/3.png": b"x"}))
    contents = unpacked(archive, tmp_path / "out")
    assert images_of(tmp_path / "out") == ["2.png", "b/1.png"]
    assert contents == {"b/1.png": (3, 0x7A6C86F1), "2.png": (0, 0)}  # by another program's crc32
    assert contents == {name: checksum(tmp_path / "out" / name) for name in contents}
    assert not (tmp_path / "out" / ".work").exists()


def test_folders_that_all_share_give_way_to_the_one_that_is_asked_for(tmp_path):
    for k, name in enumerate(("1.png", "x/1.png", "a/b/1.png")):
        archive = tmp_path / f"{k}.zip"
        archive.write_bytes(zipped({name: b"one", "__MACOSX/._1.png": b"x", "Thumbs.db": b"x"}))
        assert list(unpacked(archive, tmp_path / "out", "x")) == ["x/1.png"]


HOSTILE = {
    "a path upwards": ([("../evil", b"x")], "would leave the folder"),
    "a path upwards inside": ([("a/../../evil", b"x")], "would leave the folder"),
    "an absolute path": ([("/tmp/evil", b"x")], "is no relative path"),
    "a drive": ([("C:/evil", b"x")], "is no relative path"),
    "a path of Windows": ([("..\\evil", b"x")], "is no relative path"),
    "an empty part": ([("a//evil", b"x")], "would leave the folder"),
    "a link": ([(entry("evil", stat.S_IFLNK | 0o777), b"/etc/passwd")], "is a link"),
    "a device": ([(entry("evil", stat.S_IFCHR | 0o666), b"")], "is no file"),
    "a pipe": ([(entry("evil", stat.S_IFIFO | 0o666), b"")], "is no file"),
    "a name twice": ([("a/1.png", b"x"), ("A/1.PNG", b"y")], "stands in it twice"),
    "a file that is a folder": ([("a/b", b"x"), ("A", b"y")], "a folder that is also a file"),
    "nothing": ([], "holds no file"),
    "litter": ([("__MACOSX/1.png", b"x"), (".DS_Store", b"x")], "holds no file"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_archives_are_refused_as_a_whole(tmp_path, kind):
    entries, why = HOSTILE[kind]
    entries = [("fine/1.png", b"fine"), *entries] if entries and why != "holds no file" else entries
    archive = packed(tmp_path / "evil.zip", entries)
    with pytest.raises(DataError, match=why):
        unpacked(archive, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["evil.zip", "out"]


def test_exact_duplicates_are_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive = packed(tmp_path / "twice.zip", [("1.png", b"x"), ("1.png", b"y")])
    with pytest.raises(DataError, match="twice"):
        unpacked(archive, tmp_path / "out")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    archive = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened, opened.open("1.png", "w") as file:
        for _ in range(SLACK // 1_000_000 + 2):
            file.write(bytes(1_000_000))
    assert archive.stat().st_size < 100_000
    with pytest.raises(DataError, match="zip bomb"):
        unpacked(archive, tmp_path / "out")
    assert images_of(tmp_path / "out") == []


def test_a_bomb_that_lies_about_its_size_is_damaged(tmp_path):
    archive = tmp_path / "bomb.zip"
    archive.write_bytes(zipped({"1.png": bytes(5_000_000)}))
    raw = archive.read_bytes().replace((5_000_000).to_bytes(4, "little"), (7).to_bytes(4, "little"))
    archive.write_bytes(raw)
    with pytest.raises(DataError, match=r"damaged|larger"):
        unpacked(archive, tmp_path / "out")
    assert images_of(tmp_path / "out") == []


def test_encrypted_and_damaged_archives_are_refused(tmp_path):
    plain = zipped({"1.png": os.urandom(500)})
    archive = tmp_path / "a.zip"
    central = plain.index(b"PK\x01\x02")
    archive.write_bytes(plain[: central + 8] + b"\x01" + plain[central + 9 :])
    with pytest.raises(DataError, match="is encrypted"):
        unpacked(archive, tmp_path / "out")
    for damaged in (plain[:-30], plain[:200] + b"\xff\xff" + plain[202:], b"", b"no zip at all"):
        archive.write_bytes(damaged)
        with pytest.raises(DataError, match="damaged"):
            unpacked(archive, tmp_path / "out")
    assert images_of(tmp_path / "out") == []


@settings(max_examples=60, deadline=None)
@given(
    names=st.lists(
        st.text("ab./\\:\0_~\u00e9", min_size=1, max_size=9),
        min_size=1,
        max_size=4,
        unique_by=lambda name: name.split("\0")[0],
    )
)
def test_no_name_leads_out_of_the_folder(tmp_path_factory, names):
    base = tmp_path_factory.mktemp("any")
    archive = packed(base / "a.zip", [(entry(name), b"x") for name in names if name.split("\0")[0]])
    try:
        contents = unpacked(archive, base / "out")
    except DataError:
        assert images_of(base / "out") == []
    else:
        assert sorted(contents) == images_of(base / "out")
    assert {path.name for path in base.iterdir()} == {"a.zip", "out"}
