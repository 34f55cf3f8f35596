"""Wrong calls, wrong input and interruptions of ``leukonca predict``: clear words, and nothing is changed."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from leukonca.cli import main, predict


@pytest.mark.parametrize(
    ("words", "fact"),
    [
        (["cells"], "--out"),
        (["--out", "o.csv"], "no images given"),
        (["cells", "--out", "cells"], "a folder"),
        (["cells", "--out", "cells/a.png"], "name of an image"),
        (["cells", "--out", "cells/a.png/o.csv"], "cannot write"),
        (["cells", "--out", "/dev/null"], "not a regular file"),
        (["cells", "--out", "o.csv", "--runs", "0"], "runs 0"),
        (["cells", "--out", "o.csv", "--runs", "two"], "runs"),
        (["cells", "--out", "o.csv", "--runs", "2", "--deterministic"], "all runs would be the same"),
        (["cells", "--out", "o.csv", "--varied"], "a single run sees the image as it is"),
        (["cells", "--out", "o.csv", "--runs", "25", "--varied", "--deterministic"], "there are 24 views"),
        (["cells", "--out", "o.csv", "--prior", "bloood"], "prior bloood: no such file; give blood"),
        (["cells", "--out", "o.csv", "--seed", "-1"], "seed"),
        (["cells", "--out", "o.csv", "--image-um", "0"], "image_um"),
        (["cells", "--out", "o.csv", "--batch-size", "0"], "batch_size"),
        (["cells", "--out", "o.csv", "--color"], "--color"),
    ],
)
def test_wrong_calls_are_exit_2_and_change_nothing(
    model: str, cells: Path, capsys: pytest.CaptureFixture[str], words: list[str], fact: str
) -> None:
    before = {path: path.read_bytes() for path in cells.rglob("*") if path.is_file()}
    assert main(["predict", model, *words]) == 2
    assert fact in capsys.readouterr().err
    assert {path: path.read_bytes() for path in cells.rglob("*") if path.is_file()} == before


def test_wrong_input_is_exit_3(model: str, cells: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", model, "cells/*.webp", "--out", "o.csv"]) == 3
    assert "cells/*.webp" in capsys.readouterr().err
    Path("o.csv").unlink()
    assert main(["predict", "no-such-model", "cells", "--out", "o.csv"]) == 3
    assert "no-such-model" in capsys.readouterr().err
    weights = Path(model, "model.safetensors").read_bytes()
    damaged = cells / "damaged"
    damaged.mkdir()
    (damaged / "config.json").write_bytes(Path(model, "config.json").read_bytes())
    (damaged / "model.safetensors").write_bytes(weights[:-5])
    assert main(["predict", "damaged", "cells", "--out", "o.csv"]) == 3
    assert "damaged/model.safetensors" in capsys.readouterr().err
    assert not Path("o.csv").exists()


def test_a_full_disk_names_the_file(
    model: str, cells: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(predict, "predict_files", full)
    assert main(["predict", model, "cells", "--out", "o.csv"]) == 3
    assert "o.csv: cannot be written (No space left on device)" in capsys.readouterr().err


UNTIL_INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts with it ignored
from leukonca.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_the_old_file_and_says_so(model: str, cells: Path, how: signal.Signals) -> None:
    (cells / "out").mkdir()
    out = cells / "out" / "o.csv"
    out.write_text("old")
    words = ["predict", model, "cells", "--out", str(out), "--runs", "100000000"]
    call = [sys.executable, "-c", UNTIL_INTERRUPTED, *words]
    with subprocess.Popen(call, stderr=subprocess.PIPE, text=True) as process:
        try:
            for _ in range(3000):
                if len(list(out.parent.iterdir())) == 2 or process.poll() is not None:
                    break
                time.sleep(0.1)
            assert len(list(out.parent.iterdir())) == 2
            time.sleep(0.3)
            process.send_signal(how)
            _, said = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode == 130
    assert f"interrupted; {out} was not written" in said
    assert "Traceback" not in said
    assert list(out.parent.iterdir()) == [out]
    assert out.read_text(encoding="utf-8") == "old"
