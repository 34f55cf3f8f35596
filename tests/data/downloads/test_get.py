"""``leukonca data get`` against a server on this machine."""

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leukonca.cli import main
from leukonca.data import centers
from leukonca.data.centers import ACEVEDO20, BLOODMNIST, MLL23
from leukonca.data.downloads import get as get_module
from leukonca.data.downloads import remote, transfer

from .server import MENDELEY_API, MENDELEY_FILE, MLL23_API, Archives, images_of, small, zipped

BASOPHILS = "/zenodo.org/records/14277609/files/basophil.zip"
Told = tuple[int, str, str]


def told(capsys: pytest.CaptureFixture[str], *words: str | Path) -> Told:
    code = main(["data", "get", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def get(archives: Archives, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Get a center from the server into ``there``."""

    def call(name: str, *words: str | Path) -> Told:
        return told(capsys, name, "--to", tmp_path / "there", "--mirror", archives.address, *words)

    return call


def test_mll23_is_fetched_verified_unpacked_and_counted(mll23, get, tmp_path):
    code, out, err = get("mll23")
    assert (code, err) == (0, "")
    wanted = [f"{label}/{label}_0000.TIF" for label in MLL23.labels]
    assert images_of(tmp_path / "there") == sorted([*wanted, "basophil/basophil_0001.TIF"])
    assert "complete, 19 images as published" in out
    assert "10.5281/zenodo.14277609" in out
    assert not list((tmp_path / "there" / ".leukonca").glob("*.zip*"))
    assert len(mll23.downloads()) == 18
    assert main(["data", "check", str(tmp_path / "there"), "--quiet"]) == 0


def test_acevedo20_loses_its_outer_folder(acevedo20, get, tmp_path):
    code, out, err = get("acevedo20")
    assert (code, err) == (0, "")
    assert images_of(tmp_path / "there") == ["basophil/BA_1.jpg", "ig/IG_3.jpg", "ig/PMY_2.jpg"]
    assert "PBC_dataset_normal_DIB.zip: 3 files, verified" in out
    assert "next: leukonca train --data acevedo20=" in out


def test_a_second_run_asks_no_server(acevedo20, get, tmp_path):
    assert get("acevedo20")[0] == 0
    times = {path: (tmp_path / "there" / path).stat().st_mtime_ns for path in images_of(tmp_path / "there")}
    asked = len(acevedo20.asked)
    code, out, err = get("acevedo20")
    assert (code, err) == (0, "")
    assert out == f"{tmp_path / 'there'}: acevedo20 is complete and sound; nothing to do\n"
    assert len(acevedo20.asked) == asked
    assert times == {path: (tmp_path / "there" / path).stat().st_mtime_ns for path in times}


@pytest.mark.parametrize("damage", ["changed", "shortened", "gone"])
def test_a_damaged_file_is_fetched_again_and_only_its_archive(mll23, get, tmp_path, damage):
    assert get("mll23")[0] == 0
    path = tmp_path / "there" / "basophil" / "basophil_0001.TIF"
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-1] + (bytes([content[-1] ^ 1]) if damage == "changed" else b""))
    asked = len(mll23.downloads())
    code, out, _ = get("mll23")
    assert code == 0
    assert f"{path}: {'missing' if damage == 'gone' else 'damaged'}; fetching basophil.zip again" in out
    assert [request[0] for request in mll23.downloads()[asked:]] == [BASOPHILS]
    assert path.read_bytes() == content


def test_what_is_known_of_the_folder_may_be_lost(acevedo20, get, tmp_path):
    assert get("acevedo20")[0] == 0
    for text in ("", "{}", '{"format": 1, "files": {"x": 3}}', '{"format": 1, "files": []}'):
        (tmp_path / "there" / ".leukonca" / "unpacked.json").write_text(text)
        assert get("acevedo20")[0] == 0
        assert len(images_of(tmp_path / "there")) == 3
    assert len(acevedo20.downloads()) == 5


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


def test_fewer_images_than_published_are_told(acevedo20, get, monkeypatch):
    """By every call, though the second one has nothing to fetch."""
    with monkeypatch.context() as patch:
        small(patch, ACEVEDO20, {**dict.fromkeys(ACEVEDO20.labels, 0), "BA": 5, "PMY": 1})
        for _ in range(2):
            code, _, err = get("acevedo20")
            assert code == 3
            assert "not the published acevedo20: BA 1 of 5, IG 1 of 0" in err
    assert "complete, 3 images as published" in get("acevedo20")[1]
    assert "nothing to do" in get("acevedo20")[1]
    assert len(acevedo20.downloads()) == 1


def test_ctrl_c_while_the_images_are_counted_leaves_the_counting_to_the_next_call(acevedo20, get, monkeypatch):
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("leukonca.cli.fetch.check_folder", interrupted)
        assert get("acevedo20")[0] == 130
    assert "complete, 3 images as published" in get("acevedo20")[1]
    assert len(acevedo20.downloads()) == 1


def test_wrong_calls(capsys, tmp_path):
    for words, why in (
        (("nope",), "there are acevedo20, matek19, mll23, bloodmnist to fetch"),
        (("folder",), "there are acevedo20"),
        (("mll23", "--size", "64"), "no size 64"),
        (("bloodmnist", "--size", "32"), "there are 28, 64, 128, 224"),
        (("mll23", "--mirror", "ftp://x"), "write the address of a server"),
        (("mll23", "--mirror", "intranet"), "write the address of a server"),
    ):
        code, _, err = told(capsys, *words, "--to", tmp_path / "x")
        assert code == 2
        assert why in err
    (tmp_path / "file").write_text("")
    code, _, err = told(capsys, "mll23", "--to", tmp_path / "file")
    assert code == 2
    assert "choose another --to" in err
    assert not (tmp_path / "x").exists()


def test_the_mirror_may_stand_in_the_environment(acevedo20, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("LEUKONCA_MIRROR", acevedo20.address + "/")
    monkeypatch.chdir(tmp_path)
    code, out, _ = told(capsys, "acevedo20")
    assert code == 0
    assert "data/acevedo20: complete" in out
    assert len(images_of(tmp_path / "data" / "acevedo20")) == 3


def test_a_proxy_is_asked_for_addresses_as_they_are(capsys, archives, tmp_path, monkeypatch, waits):
    monkeypatch.setenv("HTTP_PROXY", archives.address)
    monkeypatch.setenv("NO_PROXY", "")
    archives.odd_lists.append(403)
    code, _, err = told(capsys, "acevedo20", "--to", tmp_path / "x", "--mirror", "http://mirror.invalid")
    assert code == 3
    assert "404" in err
    assert archives.asked[0][0] == "http://mirror.invalid" + MENDELEY_API


def test_matek19_is_explained(capsys, tmp_path):
    code, out, err = told(capsys, "matek19", "--to", tmp_path / "matek")
    assert (code, out) == (2, "")
    for fact in ("https://doi.org/10.7937/tcia.2019.36f5o9ld", "BAS, EBO", "18,365", f"data check {tmp_path}"):
        assert fact in err


def test_quiet_says_nothing(acevedo20, get):
    assert get("acevedo20", "--quiet") == (0, "", "")
    assert get("acevedo20", "--quiet") == (0, "", "")


def test_checksums_of_bloodmnist_are_the_published_ones():
    assert dict(remote.BLOODMNIST_MD5) == {
        28: "7053d0359d879ad8a5505303e11de1dc",
        64: "2b94928a2ae4916078ca51e05b6b800b",
        128: "adace1e0ed228fccda1f39692059dd4c",
        224: "b718ff6835fcbdb22ba9eacccd7b2601",
    }
    assert [remote.bloodmnist_file(size) for size in remote.BLOODMNIST_MD5] == [
        "bloodmnist.npz",
        "bloodmnist_64.npz",
        "bloodmnist_128.npz",
        "bloodmnist_224.npz",
    ]


def test_bloodmnist_is_fetched_as_it_is(archives, get, tmp_path, monkeypatch):
    file = io.BytesIO()
    arrays = {}
    for part, size in (("train", 16), ("val", 8), ("test", 8)):
        arrays[f"{part}_images"] = np.random.default_rng(size).integers(0, 256, (size, 28, 28, 3), dtype=np.uint8)
        arrays[f"{part}_labels"] = (np.arange(size) % 8)[:, None].astype(np.uint8)
    np.savez_compressed(file, **arrays)
    archives.files["/zenodo.org/records/10519652/files/bloodmnist.npz"] = file.getvalue()
    monkeypatch.setattr(remote, "BLOODMNIST_MD5", {28: hashlib.md5(file.getvalue()).hexdigest()})
    small(monkeypatch, BLOODMNIST, dict.fromkeys(BLOODMNIST.labels, 4))
    code, _, err = get("bloodmnist", "--size", "28")
    assert code == 3
    assert "part train 16 of 11,959, part val 8 of 1,712, part test 8 of 3,421" in err
    smaller = replace(centers.CENTERS["bloodmnist"], expected_parts={"train": 16, "val": 8, "test": 8})
    monkeypatch.setattr(centers, "CENTERS", {**centers.CENTERS, "bloodmnist": smaller})
    (tmp_path / "there" / "bloodmnist.npz").write_bytes(b"damaged")
    code, out, err = get("bloodmnist", "--size", "28")
    assert (code, err) == (0, "")
    assert "bloodmnist.npz: damaged; fetching bloodmnist.npz again" in out
    assert f"next: leukonca train --data bloodmnist={tmp_path / 'there' / 'bloodmnist.npz'}" in out
    assert (tmp_path / "there" / "bloodmnist.npz").read_bytes() == file.getvalue()
    assert "nothing to do" in get("bloodmnist", "--size", "28")[1]
    assert len(archives.asked) == 2
