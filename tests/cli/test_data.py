import contextlib
import csv
import os
import pty
import shutil
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leukonca.cli import main
from leukonca.data.centers import CENTERS
from leukonca.taxonomy import CLASSES


@pytest.fixture
def own(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("basophil", "monocyte"):
        (tmp_path / "own" / name).mkdir(parents=True)
        for i in range(3):
            coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
            coarse.resize((30, 30)).save(tmp_path / "own" / name / f"{i}.png")
    return tmp_path / "own"


def told(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    code = main(["data", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_help(capsys):
    for words, wanted in (((), 2), (("--help",), 0)):
        code, out, _ = told(capsys, *words)
        assert code == wanted
        assert all(verb in out for verb in ("list", "get", "check", "stats"))
    for verb in ("list", "get", "check", "stats"):
        code, out, _ = told(capsys, verb, "--help")
        assert code == 0
        assert "--seed" in out
        assert "--quiet" in out


def test_wrong_calls(capsys, own, tmp_path):
    code, _, err = told(capsys, "chekc", own)
    assert code == 2
    assert "there are: list, get, check, stats" in err
    assert told(capsys, "check")[0] == 2
    assert told(capsys, "check", own, "--nonsense")[0] == 2
    assert told(capsys, "stats")[0] == 2
    code, _, err = told(capsys, "check", own, "--center", "nope")
    assert code == 2
    assert "acevedo20, matek19, mll23, bloodmnist, folder" in err
    code, _, err = told(capsys, "stats", f"nope={own}")
    assert code == 2
    assert "NAME=DIR" in err
    (tmp_path / "file").write_text("")
    code, _, err = told(capsys, "stats", own, "--out", tmp_path / "file" / "out")
    assert code == 2
    assert "cannot write there" in err


def test_wrong_input(capsys, tmp_path, shared_data):
    for verb in ("check", "stats"):
        code, _, err = told(capsys, verb, tmp_path / "nowhere")
        assert code == 3
        assert "no such folder" in err
        code, _, err = told(capsys, verb, shared_data / "jtsc")
        assert code == 3
        assert "no center's labels match" in err


def test_list_shows_every_center(capsys):
    code, out, _ = told(capsys, "list")
    assert code == 0
    for center in CENTERS.values():
        for fact in (center.name, center.title, center.licence, center.citation, center.source):
            assert fact in out
    assert "17,092, 14,543 of them in 10 of the 13 classes" in out
    assert "BNE 1,633" in out
    assert out.splitlines()[1].split()[:4] == ["acevedo20", "17,092", "10", "0.3"]


def test_list_fits_a_narrow_terminal_and_a_reader_that_has_read_enough():
    words = [sys.executable, "-m", "leukonca", "data", "list"]
    command = f"{sys.executable} -m leukonca data list | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 80))
    with subprocess.Popen(words, stdout=slave, env={**os.environ, "TERM": "dumb"}) as process:
        os.close(slave)
        text = b""
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while part := os.read(master, 4096):
                text += part
    os.close(master)
    assert process.returncode == 0
    assert max(map(len, text.decode().splitlines())) <= 80


def test_check_of_a_sound_part_of_a_center(capsys, shared_data):
    code, out, err = told(capsys, "check", shared_data / "acevedo20-originals")
    assert code == 0
    assert err == ""
    assert "104 images, center acevedo20" in out
    line = next(line for line in out.splitlines() if "neutrophil_banded" in line)
    assert [cell.strip() for cell in line.strip("│").split("│")] == [
        "BNE",
        "neutrophil_banded",
        "8",
        "1,633",
        "1,625 missing",
    ]
    assert "has no myeloblast, lymphocyte_atypical, smudge_cell" in out
    assert "Every file can be used" in out


def test_check_shows_contradicting_duplicates_first(capsys, shared_data, tmp_path):
    for name in (
        "basophil/BA_20201",
        "basophil/BA_809918",
        "eosinophil/EO_225902",
        "neutrophil/BNE_191112",
    ):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(shared_data / "acevedo20" / f"{name}.jpg", tmp_path / "data" / f"{name}.jpg")
    code, out, _ = told(capsys, "check", tmp_path / "data")
    assert code == 0
    crossing = "eosinophil/EO_225902.jpg (EO) = neutrophil/BNE_191112.jpg (BNE)"
    within = "basophil/BA_20201.jpg (BA) = basophil/BA_809918.jpg (BA)"
    assert "1 duplicates with DIFFERENT labels:" in out
    assert "2 groups of byte-identical files" in out
    assert out.index(crossing) < out.index(within)


def test_check_names_every_unusable_file(capsys, own):
    for i in range(30):
        (own / "basophil" / f"bad{i}.png").write_text("no image")
    (own / "neutrophil").mkdir()
    shutil.copyfile(own / "basophil" / "0.png", own / "neutrophil" / "0.png")
    code, _, err = told(capsys, "check", own, "--center", "folder")
    assert code == 4
    assert "30 images that cannot be read" in err
    assert all(f"basophil/bad{i}.png: not an image" in err for i in range(30))
    assert "1 images without a label of the center:\n  neutrophil/0.png" in err
    assert all(name in err for name in CLASSES)


def test_check_of_nothing_usable(capsys, own):
    for path in own.glob("*/*.png"):
        path.write_text("no image")
    code, _, err = told(capsys, "check", own)
    assert code == 3
    assert "none of its 6 images can be used" in err


def test_quiet_says_nothing(capsys, own):
    assert told(capsys, "check", own, "--quiet") == (0, "", "")
    assert told(capsys, "stats", own, "--quiet", "--seed", "3") == (0, "", "")


def test_stats_prints_and_writes(capsys, own, shared_data, tmp_path):
    acevedo = shared_data / "acevedo20-originals"
    code, out, err = told(capsys, "stats", f"acevedo20={acevedo}", own, "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    rows = list(csv.DictReader((tmp_path / "out" / "classes.csv").read_text(encoding="utf-8").splitlines()))
    assert {row["class"]: (row["acevedo20"], row["folder"]) for row in rows}["monocyte"] == ("8", "3")
    line = next(line for line in out.splitlines() if "monocyte" in line)
    assert [cell.strip() for cell in line.strip("│").split("│")] == ["monocyte", "8", "10.0", "3", "50.0"]
    for name in ("classes.csv", "colors.csv", "classes.png", "classes.svg"):
        assert (tmp_path / "out" / name).stat().st_size > 0
        assert name in out


def test_stats_tells_two_folders_of_one_center_apart(capsys, own, tmp_path):
    shutil.copytree(own, tmp_path / "other")
    assert told(capsys, "stats", own, tmp_path / "other", "--out", tmp_path / "out")[0] == 0
    header = (tmp_path / "out" / "classes.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "class,folder (own),folder (other)"


def test_stats_of_a_folder_with_bad_files(capsys, own, tmp_path):
    (own / "basophil" / "0.png").write_text("no image")
    (own / "stray.png").write_text("no image")
    code, _, err = told(capsys, "stats", own)
    assert code == 3
    assert "--skip-unmatched" in err
    code, out, err = told(capsys, "stats", own, "--skip-unmatched")
    assert code == 4
    assert f"{own / 'basophil' / '0.png'}: not an image" in err
    assert f"1 images without a label of their center, left out:\n  {own / 'stray.png'}\n" in err
    assert "60.0" in out
    (own / "basophil" / "0.png").unlink()
    code, _, err = told(capsys, "stats", own, "--skip-unmatched", "--quiet")
    assert code == 4
    assert str(own / "stray.png") in err


def test_names_with_brackets_are_no_markup(capsys, own, tmp_path):
    odd = tmp_path / "x[y" / "z] [bold]b :smile:"
    odd.parent.mkdir()
    own.rename(odd)
    code, out, err = told(capsys, "check", odd)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == f"{odd}: 6 images, center folder"
    shutil.copytree(odd, tmp_path / "[i]")
    code, out, err = told(capsys, "stats", odd, tmp_path / "[i]", "--out", tmp_path / "[o][u]t")
    assert (code, err) == (0, "")
    assert "folder (z] [bold]b :smile:)" in out
    assert out.count("folder ([i])") == 2
    assert f"written: {tmp_path}/[o][u]t/classes.csv" in out.splitlines()


STRICT = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}


@pytest.mark.parametrize("verb", ["check", "stats"])
def test_names_that_are_no_utf8_are_spelled_out(own, tmp_path, odd_name, verb):
    shutil.copyfile(own / "basophil" / "0.png", own / "basophil" / f"{odd_name}.png")
    shutil.copytree(own, tmp_path / odd_name)
    (own / "basophil" / f"{odd_name}b.png").write_text("no image")
    words = [sys.executable, "-m", "leukonca", "data", verb, own]
    if verb == "stats":
        words += [tmp_path / odd_name, "--out", tmp_path / odd_name / "out"]
    done = subprocess.run(words, env=STRICT, capture_output=True, check=False, timeout=300)
    out, err = done.stdout.decode("utf-8"), done.stderr.decode("utf-8")
    assert done.returncode == 4, err
    assert r"basophil/\xffb.png: not an image" in err
    if verb == "check":
        assert r"basophil/0.png (basophil) = basophil/\xff.png (basophil)" in out
        return
    assert out.count(r"folder (\xff)") == 2
    header = (tmp_path / odd_name / "out" / "classes.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == r"class,folder (own),folder (\xff)"
    assert "folder" in (tmp_path / odd_name / "out" / "classes.svg").read_text(encoding="utf-8")
