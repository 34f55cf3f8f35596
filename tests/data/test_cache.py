"""Images are decoded once; whatever happens to what was kept, they are those of the files."""

import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leukonca.data.cells import Cells, load_cells
from leukonca.data.preprocessing import Preprocessing
from leukonca.errors import DataError

from .nine import SETTINGS, check_against_files, entries, load


def test_the_second_load_decodes_nothing(folder, tmp_path, decoded):
    first = load(folder, tmp_path / "cache")
    assert len(decoded) == 9
    second = load(folder, tmp_path / "cache", workers=1)
    assert len(decoded) == 9
    assert isinstance(second.images, np.memmap)
    np.testing.assert_array_equal(first.images, second.images)
    assert first.fingerprint == second.fingerprint
    assert first.groups.tolist() == second.groups.tolist()


def test_a_changed_file_is_noticed_even_with_its_size_and_time_kept(folder, tmp_path, decoded):
    first = load(folder, tmp_path / "cache")
    path = folder / "eosinophil" / "0.png"
    status, content = path.stat(), bytearray(path.read_bytes())
    Image.fromarray(np.zeros((20, 24, 3), np.uint8)).save(path)
    assert path.stat().st_size < len(content)
    path.write_bytes(path.read_bytes() + bytes(len(content) - path.stat().st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    second = load(folder, tmp_path / "cache")
    assert len(decoded) == 18
    assert not second.images[3].any()
    assert first.fingerprint != second.fingerprint
    assert first.images[3].any()  # what is mapped already stays what it was
    assert len(entries(tmp_path / "cache")) == 2  # the new entry took the old one's place


@pytest.mark.parametrize("change", ["added", "removed", "renamed", "moved to another class"])
def test_changed_folders_are_noticed(folder, tmp_path, change):
    first = load(folder, tmp_path / "cache")
    if change == "added":
        shutil.copyfile(folder / "basophil" / "0.png", folder / "basophil" / "9.png")
    elif change == "removed":
        (folder / "basophil" / "0.png").unlink()
    elif change == "renamed":
        (folder / "basophil" / "0.png").rename(folder / "basophil" / "9.png")
    else:
        (folder / "basophil" / "0.png").rename(folder / "eosinophil" / "9.png")
    second = load(folder, tmp_path / "cache")
    check_against_files(second, folder)
    assert first.fingerprint != second.fingerprint


def test_each_setting_has_its_own_entry(folder, tmp_path, decoded):
    for settings, um in ((SETTINGS, None), (Preprocessing(12), None), (Preprocessing(12, 2, 9.0), 20.0)):
        for _ in range(2):
            cells = load_cells("folder", folder, settings, image_um=um, cache_dir=tmp_path / "cache")
            assert cells.images.shape[1] == settings.side
    assert len(decoded) == 27
    assert len(entries(tmp_path / "cache")) == 6


def damage(array: Path, facts: Path, how: str) -> None:
    content = array.read_bytes()
    if how == "truncated":
        array.write_bytes(content[:-100])
    elif how == "no bytes at all":
        array.write_bytes(b"")
    elif how == "second half never written":
        array.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    elif how == "no array":
        array.unlink()
    elif how == "no facts":
        facts.unlink()
    elif how == "half the facts":
        facts.write_text(facts.read_text(encoding="utf-8")[:100])
    elif how == "other facts":
        facts.write_text("[]")
    else:
        array.write_bytes(b"nonsense")


@pytest.mark.parametrize(
    "how",
    [
        "truncated",
        "no bytes at all",
        "second half never written",
        "no array",
        "no facts",
        "half the facts",
        "other facts",
        "nonsense",
    ],
)
def test_a_damaged_cache_is_made_anew(folder, tmp_path, decoded, how):
    load(folder, tmp_path / "cache")
    facts, array = entries(tmp_path / "cache")
    assert (facts.suffix, array.suffix) == (".json", ".npy")
    damage(array, facts, how)
    check_against_files(load(folder, tmp_path / "cache"), folder)
    assert len(decoded) == 9 + 9 + 0
    load(folder, tmp_path / "cache")
    assert len(decoded) == 18


def test_the_array_is_a_plain_npy_file(folder, tmp_path):
    cells = load(folder, tmp_path / "cache")
    np.testing.assert_array_equal(np.load(entries(tmp_path / "cache")[1]), cells.images)


@pytest.mark.parametrize("unreadable", ["error", "skip"])
def test_without_a_writable_cache_images_stay_in_memory(folder, tmp_path, capsys, unreadable):
    (tmp_path / "file").write_text("")
    cells = load(folder, tmp_path / "file" / "cache", unreadable=unreadable)
    check_against_files(cells, folder)
    assert not cells.images.flags.writeable
    assert "Set LEUKONCA_CACHE" in capsys.readouterr().err
    assert load(folder, tmp_path / "cache").fingerprint == cells.fingerprint


def test_the_cache_folder_can_be_named_by_the_environment(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("LEUKONCA_CACHE", str(tmp_path / "named"))
    load_cells("folder", folder, SETTINGS)
    assert len(entries(tmp_path / "named")) == 2


LIMITED = """
import resource, signal, sys
from pathlib import Path
from leukonca.data.cells import load_cells
from leukonca.data.preprocessing import Preprocessing
from leukonca.errors import DataError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    load_cells("folder", Path(sys.argv[1]), Preprocessing(12, 2), cache_dir=Path(sys.argv[2]))
except DataError as error:
    print(error)
"""


def test_a_full_disk_is_told_and_leaves_nothing_behind(folder, tmp_path):
    told = subprocess.run(
        [sys.executable, "-c", LIMITED, str(folder), str(tmp_path / "cache")],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert "the disk is full" in told.stdout
    assert "LEUKONCA_CACHE" in told.stdout
    assert entries(tmp_path / "cache") == []


def test_a_disk_that_fills_up_at_the_last_moment(folder, tmp_path, monkeypatch):
    for room in (0, 1):  # files that still fit: the array, or none
        written: list[int] = []

        def fill(file: int, room: int = room, written: list[int] = written) -> None:
            written.append(file)
            if len(written) > room:
                raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", fill)
        with pytest.raises(DataError, match=r"the disk is full.* LEUKONCA_CACHE"):
            load(folder, tmp_path / "cache")
        assert entries(tmp_path / "cache") == []


def test_what_a_killed_process_left_is_removed_once_it_is_old(folder, tmp_path):
    load(folder, tmp_path / "cache")
    name = entries(tmp_path / "cache")[1].name
    old, new, foreign = (tmp_path / "cache" / f for f in (f".{name}.a.part", f".{name}.b.part", "notes.txt"))
    for path in (old, new, foreign):
        path.write_text("half")
        os.utime(path, (0, 0))
    os.utime(new)
    (folder / "basophil" / "0.png").unlink()
    load(folder, tmp_path / "cache")
    assert (old.exists(), new.exists(), foreign.exists()) == (False, True, True)


def test_loads_at_the_same_time_do_not_harm_each_other(folder, tmp_path):
    results: list[Cells] = []

    def work() -> None:
        results.append(load(folder, tmp_path / "cache", workers=2))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    for cells in results:
        check_against_files(cells, folder)
    assert len(entries(tmp_path / "cache")) == 2


def test_entries_that_nobody_uses_go_when_another_is_written(folder, tmp_path):
    cache = tmp_path / "cache"
    for side in (6, 7, 8):
        load_cells("folder", folder, Preprocessing(side), cache_dir=cache, quiet=True)
    half_year = time.time() - 180 * 24 * 3600
    foreign = cache / "cells-of-mine.npy"
    foreign.write_bytes(b"")
    for path in cache.iterdir():
        os.utime(path, (half_year, half_year))
    load_cells("folder", folder, Preprocessing(7), cache_dir=cache, quiet=True)  # this one is used
    assert len(list(cache.glob("*.npy"))) == 4
    load_cells("folder", folder, Preprocessing(9), cache_dir=cache, quiet=True)
    arrays = set(cache.glob("*.npy")) - {foreign}
    assert sorted(np.load(path).shape[1] for path in arrays) == [7, 9]
    assert {path.stem for path in cache.glob("*.json")} == {path.stem for path in arrays}
    assert foreign.exists()
