import os
from pathlib import Path

import pytest

from leukonca.data.listing import find_images
from leukonca.deploy.inputs import find_inputs

FILES = [
    "b.png",
    "a.JPG",
    "notes.txt",
    ".hidden.png",
    "deep/er/c.tiff",
    "deep/d.bmp",
    "deep/Thumbs.db",
    ".cache/e.png",
    "odd[1].png",
    "odd1.png",
]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in FILES:
        path = tmp_path / "cells" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


IN_CELLS = [
    "cells/a.JPG",
    "cells/b.png",
    "cells/deep/d.bmp",
    "cells/deep/er/c.tiff",
    "cells/odd1.png",
    "cells/odd[1].png",
]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["cells"], IN_CELLS),
        (["cells/"], IN_CELLS),
        (["./cells/b.png"], ["./cells/b.png"]),
        (["cells/notes.txt"], ["cells/notes.txt"]),  # named: it counts, whatever its name
        (["cells/.hidden.png"], ["cells/.hidden.png"]),
        (["gone.png"], ["gone.png"]),
        (["empty"], ["empty"]),
        (["cells/*.png"], ["cells/b.png", "cells/odd1.png", "cells/odd[1].png"]),
        (["cells/*.[jJ]*"], ["cells/a.JPG"]),
        (["cells/d*"], ["cells/deep/d.bmp", "cells/deep/er/c.tiff"]),
        (["cells/**/*.tiff"], ["cells/deep/er/c.tiff"]),
        (["cells/deep/**"], ["cells/deep/Thumbs.db", "cells/deep/d.bmp", "cells/deep/er/c.tiff"]),
        (["cells/odd[1].png"], ["cells/odd[1].png"]),  # a file of that name comes before the pattern
        (["cells/odd[1].pn?"], ["cells/odd1.png"]),
        (["cells/b.png", "cells/a.JPG", "cells/b.png"], ["cells/b.png", "cells/a.JPG", "cells/b.png"]),
    ],
)
def test_each_path_stands_for_these_files(tree: Path, given: list[str], expected: list[str]) -> None:
    assert find_inputs(given) == expected


def test_absolute_paths_stay_absolute(tree: Path) -> None:
    assert find_inputs([str(tree / "cells")]) == [str(tree / name) for name in IN_CELLS]
    assert find_inputs([f"{tree}/c*/b.png"]) == [f"{tree}/cells/b.png"]


def test_a_pattern_without_a_match_stands_for_itself(tree: Path) -> None:
    assert find_inputs(["cells/b.png", "cells/*.webp"]) == ["cells/b.png", "cells/*.webp"]


def test_links_are_followed_and_cannot_go_round_in_circles(tree: Path) -> None:
    (tree / "cells/deep/link.png").symlink_to(tree / "cells/b.png")
    (tree / "cells/deep/broken.png").symlink_to(tree / "gone.png")
    (tree / "cells/deep/circle").symlink_to(tree / "cells")
    (tree / "cells/deep/folder.jpg").mkdir()
    found = find_inputs(["cells/deep"])
    assert found == [
        "cells/deep/broken.png",
        "cells/deep/circle/a.JPG",
        "cells/deep/circle/b.png",
        "cells/deep/circle/odd1.png",
        "cells/deep/circle/odd[1].png",
        "cells/deep/d.bmp",
        "cells/deep/er/c.tiff",
        "cells/deep/link.png",
    ]
    assert found == [f"cells/deep/{path}" for path in find_images(tree / "cells/deep")]  # as training finds them


def test_a_pattern_for_any_depth_cannot_go_round_in_circles(tree: Path) -> None:
    """With two links back, glob would try 2^40 ways before the system says that there are too many links."""
    for name in ("one", "two"):
        (tree / "cells/deep" / name).symlink_to(tree / "cells")
    found = find_inputs(["cells/**/*.png"])
    assert found == ["cells/b.png", "cells/odd1.png", "cells/odd[1].png"]
    assert "cells/deep/d.bmp" in find_inputs(["**"])
    assert find_inputs(["c*/**/er/**"]) == ["cells/deep/er/c.tiff"]
    assert find_inputs(["./cells/**/d.*", f"{tree}/**/c.tiff"]) == [
        "./cells/deep/d.bmp",
        f"{tree}/cells/deep/er/c.tiff",
    ]


def test_a_link_to_itself_is_a_row_of_its_own(tree: Path) -> None:
    (tree / "cells/deep/itself.png").symlink_to("itself.png")
    assert find_inputs(["cells/deep"]) == ["cells/deep/d.bmp", "cells/deep/er/c.tiff", "cells/deep/itself.png"]


def test_a_linked_folder_is_searched(tree: Path) -> None:
    (tree / "elsewhere").mkdir()
    (tree / "elsewhere/linked").symlink_to(tree / "cells/deep")
    expected = ["elsewhere/linked/d.bmp", "elsewhere/linked/er/c.tiff"]
    assert find_inputs(["elsewhere"]) == find_inputs(["elsewhere/linked"]) == expected


def test_names_that_are_no_utf8_are_found(tree: Path) -> None:
    name = os.fsdecode(b"empty/caf\xe9.png")
    try:
        Path(name).touch()
    except OSError:
        pytest.skip("this file system takes no names but in UTF-8")
    assert find_inputs(["empty"]) == [name]
    assert find_inputs(["empty/*.png"]) == [name]


def test_a_folder_that_cannot_be_searched_is_not_lost(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def closed_to_us(path: str) -> object:
        if str(path).endswith("er"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed_to_us)
    assert find_inputs(["cells/deep"]) == ["cells/deep/d.bmp", "cells/deep/er"]
