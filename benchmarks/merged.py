"""How often is a model of Acevedo-20 right in BloodMNIST's classes? Seven of the eight: platelets have no label here.

leukonca evaluate acevedo20-compact --data acevedo20=DIR --out tested     # and with --runs 8 --varied
python benchmarks/merged.py tested/predictions.csv

Promyelocyte, myelocyte and metamyelocyte count as one class, banded and segmented neutrophils as another; the
probabilities of a class's parts are added up. The split is our own.
"""

import csv
import sys
from pathlib import Path

from leukonca.evaluation.intervals import wilson_interval
from leukonca.taxonomy import CLASSES

MERGED = {
    "promyelocyte": "immature_granulocyte",
    "myelocyte": "immature_granulocyte",
    "metamyelocyte": "immature_granulocyte",
    "neutrophil_banded": "neutrophil",
    "neutrophil_segmented": "neutrophil",
}


def answer(row: dict[str, str]) -> str:
    sums: dict[str, float] = {}
    for name in CLASSES:
        merged = MERGED.get(name, name)
        sums[merged] = sums.get(merged, 0.0) + float(row[name])
    return max(sums, key=lambda name: sums[name])


def main() -> None:
    with Path(sys.argv[1]).open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["center"] == "acevedo20"]
    right = sum(answer(row) == MERGED.get(row["truth"], row["truth"]) for row in rows)
    found = wilson_interval(right, len(rows))
    if found is None:
        raise SystemExit(f"{sys.argv[1]}: holds no predictions on acevedo20")
    low, high = found
    print(f"{100 * right / len(rows):.1f}% of {len(rows):,} right [{100 * low:.1f}, {100 * high:.1f}]")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main()
