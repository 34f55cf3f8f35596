"""How long a center takes to load: decoded for the first time, and mapped from the cache.

    python benchmarks/loading.py [acevedo20=../shared/data/acevedo20] [--copies N]

With --copies, the files are linked under new names until there are N, so that the 104 untouched originals of
Acevedo-20 stand for all 17,092. Every measurement has a new, empty cache; the files themselves may be in memory.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from leukonca.cli.common import split_named_folder
from leukonca.data.cells import load_cells
from leukonca.data.listing import find_images
from leukonca.data.preprocessing import Preprocessing

SETTINGS = {
    "paper: 64 x 64, whole image": Preprocessing(64),
    "48 + 2 x 6, middle 28 um": Preprocessing(48, margin=6, field_um=28.0),
    "64 + 2 x 8, middle 28 um": Preprocessing(64, margin=8, field_um=28.0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="acevedo20=../shared/data/acevedo20")
    parser.add_argument("--copies", type=int, default=0, metavar="N")
    chosen = parser.parse_args()
    name, folder = split_named_folder(chosen.data)
    with enough_files(folder, chosen.copies) as root:
        print(f"{name}: {len(find_images(root)):,} files; {os.cpu_count()} cores, {platform.platform()}")
        print(f"load average {os.getloadavg()[0]:.1f} before the start, {time.strftime('%Y-%m-%d')}\n")
        print(f"{'setting':<30}{'images':>8}{'first, s':>10}{'second, s':>11}{'MB':>7}")
        for words, preprocessing in SETTINGS.items():
            with tempfile.TemporaryDirectory() as cache:
                first, images = timed(name, root, preprocessing, Path(cache))
                second, _ = timed(name, root, preprocessing, Path(cache))
                size = sum(path.stat().st_size for path in Path(cache).iterdir()) / 1e6
            print(f"{words:<30}{images:>8,}{first:>10.1f}{second:>11.2f}{size:>7.0f}")


def timed(name: str, root: Path, preprocessing: Preprocessing, cache: Path) -> tuple[float, int]:
    start = time.perf_counter()
    cells = load_cells(name, root, preprocessing, cache_dir=cache)
    return time.perf_counter() - start, len(cells)


@contextmanager
def enough_files(folder: Path, wanted: int) -> Iterator[Path]:
    if wanted == 0:
        yield folder
        return
    found = find_images(folder)
    with tempfile.TemporaryDirectory() as temporary:
        for i in range(wanted):
            source = folder / found[i % len(found)]
            link = (
                Path(temporary) / Path(found[i % len(found)]).parent / f"{source.stem}{i // len(found)}{source.suffix}"
            )
            link.parent.mkdir(exist_ok=True, parents=True)
            link.symlink_to(source.resolve())
        yield Path(temporary)


if __name__ == "__main__":
    main()
