"""How often does a 95% interval of an accuracy hold the truth, if cells of one patient are alike? Simulated.

python benchmarks/intervals.py --write      # half a minute; into docs/protocol.md

Patients have about 40 cells each, half as many or twice as many (a gamma distribution), and shares of their own that a
model is right for, beta-distributed around the true one. The correlation of a patient's cells is 0.02 (hardly any),
0.1 or 0.3. "Of images": Wilson's interval, every cell by itself. "Of patients": what `--patients` gives an accuracy;
"drawn": what it would give it as a score that needs draws.
"""

import argparse
from itertools import product

import numpy as np

from leukonca.evaluation.intervals import bootstrap_counts, drawn_interval, share_interval
from marks import fill, table

PATIENTS, SHARES, WITHIN = (5, 10, 30), (0.6, 0.9, 0.98), (0.02, 0.1, 0.3)
TESTS, CELLS, DRAWS = 1000, 40, 400


def held(patients: int, share: float, within: float) -> tuple[float, ...]:
    """Per cent of the intervals, each way, that hold the truth, and their mean widths in points."""
    generator = np.random.default_rng(0)
    spread = (1 - within) / within
    found = np.zeros((TESTS, 3, 2))
    for test in found:
        sizes = np.maximum(1, generator.poisson(CELLS * generator.gamma(2, 0.5, patients)))
        own = generator.beta(share * spread, (1 - share) * spread, patients)
        whose = np.repeat(np.arange(patients), sizes)
        right = generator.random(len(whose)) < own[whose]
        drawn = [right @ counts / counts.sum(axis=0) for counts in bootstrap_counts(len(whose), DRAWS, 0, whose)]
        ways = (
            share_interval(right),
            share_interval(right, whose),
            drawn_interval(np.concatenate(drawn), patients),
        )
        for way, ends in zip(test, ways, strict=True):
            low, high = ends or (1, 0)
            way[:] = low <= share <= high, high - low
    return tuple(100 * found.mean(axis=0).ravel())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into docs/protocol.md")
    write = parser.parse_args().write
    rows = []
    for patients, share in product(PATIENTS, SHARES):
        cells = []
        for within in WITHIN:
            told = held(patients, share, within)
            cells += [f"{told[way]:.0f}% ({told[way + 1]:.0f})" for way in (0, 2, 4)]
        rows.append((patients, f"{share:.0%}", *cells))
    columns = [f"{within:g}: {way}" for within in WITHIN for way in ("of images", "of patients", "drawn")]
    text = table(("patients", "truth", *columns), rows)
    print(text)
    if write:
        fill("protocol.md", "intervals", text)


if __name__ == "__main__":
    main()
