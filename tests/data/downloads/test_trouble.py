"""What goes wrong on the way costs nothing that came: connection, server, disk, Ctrl-C, files that are other ones."""

import hashlib
import json
from typing import Any

import pytest

from leukonca.data.downloads import get as get_module
from leukonca.data.downloads import transfer

from .called import told
from .server import MENDELEY_API, MENDELEY_FILE, MLL23_API, images_of, zipped

BASOPHILS = "/zenodo.org/records/14277609/files/basophil.zip"


def test_a_cut_connection_goes_on_where_it_was(acevedo20, get, waits):
    acevedo20.odd.extend([-1000, -700])
    assert get("acevedo20")[0] == 0
    assert [(wanted, status) for _, wanted, status in acevedo20.downloads()] == [
        ("", 200),
        ("bytes=1000-", 206),
        ("bytes=1700-", 206),
    ]
    assert waits == [1.0, 1.0]


def test_without_ranges_it_starts_anew(acevedo20, get, waits):
    acevedo20.ranges = False
    acevedo20.odd.append(-500)
    assert get("acevedo20")[0] == 0
    assert [status for _, _, status in acevedo20.downloads()] == [200, 200]


def test_what_came_is_kept_for_the_next_call(acevedo20, get, waits, tmp_path):
    acevedo20.odd.extend([-1000, *[503] * 4])
    code, _, err = get("acevedo20")
    assert code == 3
    assert "the server answered 503" in err
    assert ".zip.part" in err
    assert "the same command goes on from there" in err
    assert waits == [1.0, 7.0, 7.0, 8.0]  # the server asked for seven seconds
    part = tmp_path / "there" / ".leukonca" / "PBC_dataset_normal_DIB.zip.part"
    assert part.read_bytes() == acevedo20.files[MENDELEY_FILE][:1000]
    assert get("acevedo20")[0] == 0
    assert acevedo20.downloads()[-1][1:] == ("bytes=1000-", 206)


def test_errors_of_the_server_pass_or_do_not(acevedo20, get, waits):
    acevedo20.odd_lists.extend([500, 503])
    acevedo20.odd.extend([502, 500])
    assert get("acevedo20")[0] == 0
    assert waits == [1.0, 7.0, 1.0, 2.0]


@pytest.mark.parametrize("lists", [True, False])
def test_a_file_that_is_not_there(acevedo20, get, waits, lists):
    (acevedo20.odd_lists if lists else acevedo20.odd).append(404)
    code, _, err = get("acevedo20")
    assert code == 3
    assert "the server answered 404 (Not Found)" in err
    assert "--mirror" in err
    assert waits == []


def test_a_server_that_is_not_there(capsys, archives, tmp_path, waits):
    code, _, err = told(capsys, "acevedo20", "--to", tmp_path / "x", "--mirror", "http://127.0.0.1:9")
    assert code == 3
    assert "cannot be reached" in err
    assert len(waits) == 4


def test_another_checksum_is_no_center(acevedo20, get, tmp_path):
    right = acevedo20.files[MENDELEY_FILE]
    acevedo20.files[MENDELEY_FILE] = right[:-1] + bytes([right[-1] ^ 1])
    code, _, err = get("acevedo20")
    assert code == 3
    assert "not what was published" in err
    assert images_of(tmp_path / "there") == []
    assert not list((tmp_path / "there" / ".leukonca").glob("*.zip*"))
    acevedo20.files[MENDELEY_FILE] = right
    assert get("acevedo20")[0] == 0


def test_the_beginning_of_another_file_costs_one_more_download(acevedo20, get, tmp_path):
    (tmp_path / "there" / ".leukonca").mkdir(parents=True)
    (tmp_path / "there" / ".leukonca" / "PBC_dataset_normal_DIB.zip.part").write_bytes(b"x" * 1000)
    assert get("acevedo20")[0] == 0
    assert [wanted for _, wanted, _ in acevedo20.downloads()] == ["bytes=1000-", ""]


def test_a_beginning_that_is_too_long_counts_for_nothing(acevedo20, get, tmp_path):
    (tmp_path / "there" / ".leukonca").mkdir(parents=True)
    (tmp_path / "there" / ".leukonca" / "PBC_dataset_normal_DIB.zip.part").write_bytes(b"x" * 100_000)
    (tmp_path / "there" / ".leukonca" / "tmpabcdefgh").write_bytes(b"left by a process that was killed")
    assert get("acevedo20")[0] == 0
    assert sorted(path.name for path in (tmp_path / "there" / ".leukonca").iterdir()) == ["lock", "unpacked.json"]
    assert [wanted for _, wanted, _ in acevedo20.downloads()] == [""]


def test_a_page_of_a_proxy_does_not_replace_what_was_kept(acevedo20, get, tmp_path):
    part = tmp_path / "there" / ".leukonca" / "PBC_dataset_normal_DIB.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(acevedo20.files[MENDELEY_FILE][:1000])
    right, acevedo20.ranges = acevedo20.files[MENDELEY_FILE], False
    acevedo20.files[MENDELEY_FILE] = b"<html>please log in</html>"
    code, _, err = get("acevedo20")
    assert code == 3
    assert "it may be a page of a proxy" in err
    assert part.read_bytes() == right[:1000]


def test_a_full_disk_keeps_what_came(acevedo20, get, tmp_path, monkeypatch):
    write = transfer.write_block

    def full(file: Any, block: bytes) -> None:
        write(file, block[:70])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(transfer, "write_block", full)
        code, _, err = get("acevedo20")
    assert code == 3
    assert "the disk is full" in err
    assert "Free some space" in err
    assert get("acevedo20")[0] == 0
    assert acevedo20.downloads()[-1][1] == "bytes=70-"


def test_a_disk_that_fills_up_while_unpacking_keeps_the_archive(acevedo20, get, tmp_path, monkeypatch):
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(get_module, "unpack", full)
        code, _, err = get("acevedo20")
    assert code == 3
    assert "the disk is full" in err
    assert get("acevedo20")[0] == 0
    assert len(acevedo20.downloads()) == 1


def test_too_small_a_disk_is_refused_before_anything_is_fetched(mll23, get, tmp_path, monkeypatch):
    usage = get_module.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(get_module.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    code, _, err = get("mll23")
    assert code == 3
    assert "GB are needed there" in err
    assert mll23.downloads() == []


def test_ctrl_c_keeps_what_came(acevedo20, get, monkeypatch):
    write = transfer.write_block

    def interrupted(file: Any, block: bytes) -> None:
        write(file, block[:80])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(transfer, "write_block", interrupted)
        code, _, err = get("acevedo20")
    assert code == 130
    assert "kept" in err
    assert get("acevedo20")[0] == 0
    assert acevedo20.downloads()[-1][1] == "bytes=80-"


def test_ctrl_c_while_the_checksum_is_computed_keeps_it_all(acevedo20, get, monkeypatch):
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pooch.core.hash_matches", interrupted)
        assert get("acevedo20")[0] == 130
    assert get("acevedo20")[0] == 0
    assert len(acevedo20.downloads()) == 1


def test_a_hostile_archive_leaves_the_folder_as_it_was(mll23, get, tmp_path):
    hostile = zipped({"basophil/basophil_0000.TIF": b"x", "../../evil.TIF": b"x"})
    facts = json.loads(mll23.files[MLL23_API])
    for entry in facts["files"]:
        if entry["key"] == "basophil.zip":
            entry |= {"size": len(hostile), "checksum": f"md5:{hashlib.md5(hostile).hexdigest()}"}
    mll23.files |= {BASOPHILS: hostile, MLL23_API: json.dumps(facts).encode()}
    code, _, err = get("mll23")
    assert code == 3
    assert "'../../evil.TIF' would leave the folder" in err
    assert images_of(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "list_", "words"),
    [
        ("mll23", b"<html>", "not the list of files that was expected"),
        ("mll23", b'{"files": 3}', "not the list of files that was expected"),
        ("mll23", b'{"files": [3]}', "not the list of files that was expected"),
        ("mll23", b'{"files": []}', "lists no basophil.zip"),
        ("mll23", b'{"files": [{"key": "basophil.zip", "size": 3}]}', "no md5 checksum of basophil.zip"),
        (
            "mll23",
            b'{"files": [{"key": "basophil.zip", "size": -3, "checksum": "md5:00000000000000000000000000000000"}]}',
            "gives no size of basophil.zip",
        ),
        ("acevedo20", b"[]", "lists no PBC_dataset_normal_DIB.zip"),
        ("acevedo20", b'[{"filename": "PBC_dataset_normal_DIB.zip"}]', "gives no address of its own"),
        (
            "acevedo20",
            b'[{"filename": "PBC_dataset_normal_DIB.zip", "content_details": {"download_url": "https://e.org/x"}}]',
            "gives no address of its own",
        ),
    ],
)
def test_a_record_that_is_none_is_refused(archives, get, name, list_, words):
    archives.files |= {MLL23_API: list_, MENDELEY_API: list_}
    code, _, err = get(name)
    assert code == 3
    assert words in err
    assert archives.downloads() == []


def test_ctrl_c_while_the_images_are_counted_leaves_the_counting_to_the_next_call(acevedo20, get, monkeypatch):
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("leukonca.cli.fetch.check_folder", interrupted)
        assert get("acevedo20")[0] == 130
    assert "complete, 3 images as published" in get("acevedo20")[1]
    assert len(acevedo20.downloads()) == 1
