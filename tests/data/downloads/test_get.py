"""``leukonca data get`` against a server on this machine."""

import hashlib
import io
from dataclasses import replace

import numpy as np
import pytest

from leukonca.cli import main
from leukonca.data import centers
from leukonca.data.centers import ACEVEDO20, BLOODMNIST, MLL23
from leukonca.data.downloads import remote

from .called import told
from .server import MENDELEY_API, images_of, small

BASOPHILS = "/zenodo.org/records/14277609/files/basophil.zip"


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
