"""Is one model better than another on the same images, or is it chance? The exact sign test (McNemar's, exact).

python benchmarks/paired.py RUN/predictions.csv OTHER/predictions.csv [--center acevedo20]

Only images that one of the two names rightly and the other does not say anything.
"""

import argparse
import csv
from pathlib import Path

from scipy.stats import binomtest


def right(path: Path, center: str) -> dict[str, bool]:
    """Path of each tested image -> whether its answer is right."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["center"] == center]
    return {row["path"]: row["label"] == row["truth"] for row in rows}


def by_chance(first: int, second: int) -> float:
    """How probable so uneven a share is, or a more uneven one, where both are equally good: two-sided."""
    return float(binomtest(first, first + second).pvalue) if first + second else 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("predictions", type=Path, nargs=2)
    parser.add_argument("--center", default="acevedo20")
    options = parser.parse_args()
    one, other = (right(path, options.center) for path in options.predictions)
    if not one or one.keys() != other.keys():
        raise SystemExit(f"{options.center}: the two files do not hold predictions of the same images")
    first = sum(one[path] and not other[path] for path in one)
    second = sum(other[path] and not one[path] for path in one)
    p = by_chance(first, second)
    print(f"{len(one):,} images: right by the first alone {first}, by the second alone {second}; p = {p:.3f}")


if __name__ == "__main__":
    main()
