"""How often does a 95% interval of an accuracy hold the truth, if cells of one patient are alike? Simulated.

python benchmarks/intervals.py --write      # a minute; into docs/protocol.md

Patients have about 40 cells each, half as many or twice as many (a gamma distribution), and shares of their own that a
model is right for, beta-distributed around the true one. The correlation of a patient's cells is 0.02 (hardly any),
0.1 or 0.3. "Of images": Wilson's interval, every cell by itself. "Of patients": what `--patients` gives.
"""

import argparse
from itertools import product

import numpy as np

from leukonca.evaluation.intervals import share_interval
from marks import fill, table

PATIENTS, SHARES, WITHIN = (5, 10, 30), (0.6, 0.9, 0.98), (0.02, 0.1, 0.3)
TESTS, CELLS = 2000, 40


def held(patients: int, share: float, within: float) -> tuple[float, ...]:
    """Per cent of the intervals of images and of patients that hold the truth, and their mean widths in points."""
    generator = np.random.default_rng(0)
    spread = (1 - within) / within
    found = np.zeros((TESTS, 2, 2))
    for test in found:
        sizes = np.maximum(1, generator.poisson(CELLS * generator.gamma(2, 0.5, patients)))
        own = generator.beta(share * spread, (1 - share) * spread, patients)
        whose = np.repeat(np.arange(patients), sizes)
        right = generator.random(len(whose)) < own[whose]
        for way, numbers in enumerate((None, whose)):
            low, high = share_interval(right, numbers) or (1, 0)
            test[way] = low <= share <= high, high - low
    return tuple(100 * found.mean(axis=0).ravel())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into docs/protocol.md")
    rows = []
    for patients, share in product(PATIENTS, SHARES):
        cells = []
        for within in WITHIN:
            images, width, of_patients, wider = held(patients, share, within)
            cells += [f"{images:.0f}% ({width:.0f})", f"{of_patients:.0f}% ({wider:.0f})"]
        rows.append((patients, f"{share:.0%}", *cells))
    columns = [f"{within:g}: {way}" for within in WITHIN for way in ("of images", "of patients")]
    text = table(("patients", "truth", *columns), rows)
    print(text)
    if parser.parse_args().write:
        fill("protocol.md", "intervals", text)


if __name__ == "__main__":
    main()
