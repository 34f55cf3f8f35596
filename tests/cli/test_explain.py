"""``leukonca explain`` as a user calls it."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import leukonca
from leukonca.cli import main
from leukonca.data.images import read_image

QUICK = ["--quiet", "--no-animation"]


class Sources(HTMLParser):
    """What a page shows or would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attributes if name in ("src", "srcset", "href")]


def without_torch(call: list[str]) -> subprocess.CompletedProcess[str]:
    """The command in an interpreter that finds no torch."""
    code = (
        "import sys\n"
        "class Nothing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch': raise ModuleNotFoundError('no torch', name='torch')\n"
        "sys.meta_path.insert(0, Nothing())\n"
        "from leukonca.cli import main\n"
        f"sys.exit(main({call!r}))"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def cells(laboratory: Path, number: int) -> list[str]:
    return [str(path) for path in sorted(laboratory.rglob("*.png"))[::7][:number]]


def test_pages_figures_and_arrays(
    trained: Path, laboratory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, out = cells(laboratory, 2), tmp_path / "why"
    code = main(
        [
            "explain",
            str(trained),
            *images,
            "--out",
            str(out),
            "--arrays",
            "--figures",
            "pdf",
            "--top",
            "3",
            "--animation",
        ]
    )
    assert code == 0
    assert "2 explained; 0 skipped" in capsys.readouterr().out
    names = sorted(path.name for path in out.iterdir())
    stem = "1-" + Path(images[0]).stem
    assert "index.html" in names
    assert [name for name in names if name.startswith("1-")] == sorted(
        [f"{stem}.html", f"{stem}.npz", *(f"{stem}-{figure}.pdf" for figure in ("maps", "channels", "top", "steps"))]
    )
    index = (out / "index.html").read_text(encoding="utf-8")
    assert [source for source in Sources(index).found if not source.startswith("data:")] == [
        f"{stem}.html",
        f"2-{Path(images[1]).stem}.html",
    ]
    why = leukonca.Explanation.load(out / f"{stem}.npz")
    told = leukonca.Predictor(trained)([read_image(Path(images[0]))])
    assert why.predicted == told.labels[0]
    assert len(why.top) == 3
    page = (out / f"{stem}.html").read_text(encoding="utf-8")
    shown = Sources(page).found
    assert all(source == "index.html" or source.startswith("data:image/") for source in shown)
    assert sum(source.startswith("data:image/svg") for source in shown) == 4
    assert sum(source.startswith("data:image/webp") for source in shown) == 1
    assert f"Why {why.predicted.replace('_', ' ')}?" in page
    assert f"{why.logit:+.2f}" in page
    assert "Not a medical device" in page
    assert (out / f"{stem}-maps.pdf").read_bytes().startswith(b"%PDF")


def test_another_class_is_explained_when_asked_for(trained: Path, laboratory: Path, tmp_path: Path) -> None:
    (image,) = cells(laboratory, 1)
    call = ["explain", str(trained), image, "--out", str(tmp_path), "--class", "smudge_cell", "--arrays", *QUICK]
    assert main(call) == 0
    (kept,) = tmp_path.glob("*.npz")
    why = leukonca.Explanation.load(kept)
    assert why.target == "smudge_cell"
    page = kept.with_suffix(".html").read_text(encoding="utf-8")
    if why.predicted != "smudge_cell":
        assert "smudge cell is explained because it was asked for" in page


def test_the_answer_that_a_prior_gives_is_explained(trained: Path, laboratory: Path, tmp_path: Path) -> None:
    (image,) = cells(laboratory, 1)
    shares = tmp_path / "monocytes.toml"
    shares.write_text("monocyte = 1", encoding="utf-8")
    out = tmp_path / "why"
    assert main(["explain", str(trained), image, "--out", str(out), "--prior", str(shares), "--arrays", *QUICK]) == 0
    (kept,) = out.glob("*.npz")
    why = leukonca.Explanation.load(kept)
    assert (why.predicted, why.target, why.prior) == ("monocyte", "monocyte", "monocytes.toml")
    assert "how often each kind is expected (monocytes.toml)" in kept.with_suffix(".html").read_text(encoding="utf-8")


def test_the_film_is_a_file_of_its_own(trained: Path, laboratory: Path, tmp_path: Path) -> None:
    (image,) = cells(laboratory, 1)
    call = ["explain", str(trained), image, "--out", str(tmp_path), "--film", "gif", "--show-steps", "1", "3"]
    assert main([*call, "--steps", "4", *QUICK]) == 0
    (film,) = tmp_path.glob("1-*.gif")
    with Image.open(film) as frames:
        assert (frames.format, frames.n_frames) == ("GIF", 4)
    assert "data:image/webp" not in film.with_suffix(".html").read_text(encoding="utf-8")


def test_bad_files_are_named_and_the_others_explained(
    trained: Path, laboratory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, out = tmp_path / "<b>broken.png", tmp_path / "why"
    broken.write_bytes(b"no image")
    assert main(["explain", str(trained), str(broken), *cells(laboratory, 1), "--out", str(out), *QUICK]) == 4
    assert "broken.png: not an image" in capsys.readouterr().err
    index = (out / "index.html").read_text(encoding="utf-8")
    assert "skipped: not an image" in index
    assert "<b>broken" not in index
    assert len(list(out.glob("*.html"))) == 2
    assert main(["explain", str(trained), str(broken), "--out", str(out), *QUICK]) == 3


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--class", "thrombocyte"], 2, "this model knows basophil, eosinophil"),
        (["--mask", "nowhere"], 2, "not a folder"),
        (["--steps", "0"], 2, "--steps 0"),
        (["--top", "-1"], 2, "--top -1"),
        (["--show-steps", "0"], 2, "steps to show 0"),
        (["--steps", "4", "--show-steps", "1", "5"], 2, "steps to show 1, 5: at most 6 of them, from 1 to 4"),
        (["--film", "avi"], 2, "Expected one of"),
        (["--engine", "gpu-of-mine"], 2, "Expected one of"),
        (["--prior", "marrow"], 2, "no such file; give blood"),
        (["--image-um", "-3"], 2, "positive number of micrometers"),
        (["--seed", "-1"], 2, "must lie in"),
    ],
)
def test_wrong_calls_write_nothing(
    options: list[str], code: int, message: str, trained: Path, laboratory: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "why"
    assert main(["explain", str(trained), *cells(laboratory, 1), "--out", str(out), *options]) == code
    assert message in capsys.readouterr().err
    assert not out.exists()
    assert main(["explain", str(tmp_path / "no-model"), "a.png", "--out", str(out)]) == 3
    assert main(["explain", str(trained), "--out", str(out)]) == 2


def test_masks_give_shares_and_wrong_ones_are_named(
    trained: Path, laboratory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = cells(laboratory, 3)
    masks = tmp_path / "masks"
    for place, image in enumerate(images[:2]):
        mask = masks / Path(image).parent.name / Path(image).name
        mask.parent.mkdir(parents=True, exist_ok=True)
        size = read_image(Path(image)).shape[:2]
        pixels = np.zeros(size, np.uint8)
        pixels[20:70, 20:70] = 255
        Image.fromarray(pixels if place == 0 else pixels[1:]).save(mask)
    out = tmp_path / "why"
    code = main(["explain", str(trained), *images, "--mask", str(masks), "--out", str(out), "--arrays", *QUICK])
    assert code == 4
    said = capsys.readouterr().err
    assert "must be of its image's size" in said
    assert re.search(r"skipped .*: (no mask of that name|\d+ masks fit)", said)
    (kept,) = out.glob("*.npz")
    inside = leukonca.Explanation.load(kept).inside()
    assert inside is not None
    assert sum(inside.values()) == pytest.approx(1)
    assert "Relevance inside the cell" in kept.with_suffix(".html").read_text(encoding="utf-8")
    audit = json.loads((out / "audit.json").read_text(encoding="utf-8"))
    (found,) = audit["classes"].values()
    assert found["cells"] == 1
    assert found["outside"] == pytest.approx(inside["background"])
    assert "Inside the cell" in (out / "index.html").read_text(encoding="utf-8")


def test_it_works_where_torch_cannot_be_imported(trained: Path, laboratory: Path, tmp_path: Path) -> None:
    call = ["explain", str(trained), *cells(laboratory, 1), "--out", str(tmp_path / "why"), "--arrays", *QUICK]
    done = without_torch(call)
    assert done.returncode == 0, done.stderr
    (kept,) = (tmp_path / "why").glob("*.npz")
    assert np.abs(leukonca.Explanation.load(kept).pixels).sum() > 0
    other = without_torch([*call, "--engine", "reference"])
    assert other.returncode == 2
    assert "explain needs torch, which is not installed" in other.stderr


def test_a_second_run_gives_the_same_pages(trained: Path, laboratory: Path, tmp_path: Path) -> None:
    images = cells(laboratory, 1)
    call = ["explain", str(trained), *images, "--out", str(tmp_path / "why"), *QUICK]
    pages = []
    for _ in range(2):
        assert main(call) == 0
        (page,) = (tmp_path / "why").glob("1-*.html")
        pages.append(page.read_bytes())
    assert pages[0] == pages[1]


def test_an_interrupted_run_keeps_its_pages_and_leaves_no_half_index(
    trained: Path, laboratory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from leukonca.report import explain_files as module

    real = module.write_page

    def once(path: Path, *arguments: object, **settings: object) -> None:
        if path.name.startswith("2-"):
            raise KeyboardInterrupt
        real(path, *arguments, **settings)

    monkeypatch.setattr(module, "write_page", once)
    out = tmp_path / "why"
    assert main(["explain", str(trained), *cells(laboratory, 3), "--out", str(out), *QUICK]) == 130
    assert [path.name[:2] for path in out.iterdir()] == ["1-"]
    assert "its index was not written" in capsys.readouterr().err
