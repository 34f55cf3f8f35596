"""The paper's table and the works after it, against the text that they were taken from."""

from leukonca.benchmark.published import OTHERS, PAPER

TABLE = """
| trained on | tested on | NCA, 86k | ResNeXt, 25M | AE-CFE, 3.9M |
|---|---|---|---|---|
| Matek-19 | Matek-19 | 92.6 +- 0.6 | 96.1 | 83.7 +- 0.5 |
| Matek-19 | Acevedo-20 | 43.9 +- 1.6 | 8.1 | 21.9 +- 0.4 |
| Matek-19 | INT-20 | 24.3 +- 5.1 | 29.5 | 48.4 +- 0.2 |
| Acevedo-20 | Matek-19 | 32.2 +- 9.1 | 7.3 +- 3.1 | 45.1 +- 0.5 |
| Acevedo-20 | Acevedo-20 | 90.6 +- 0.2 | 85.7 +- 2.4 | 65.2 +- 0.5 |
| Acevedo-20 | INT-20 | 13.6 +- 2.8 | 8.1 +- 1.4 | 21.0 +- 0.5 |
| INT-20 | Matek-19 | 50.0 +- 11.1 | 49.0 +- 6.3 | 73.2 +- 0.1 |
| INT-20 | Acevedo-20 | 46.9 +- 4.7 | 16.9 +- 1.6 | 31.8 +- 0.4 |
| INT-20 | INT-20 | 88.0 +- 0.3 | 88.7 +- 1.5 | 65.6 +- 0.5 |
"""

LATER = {
    "DoRL": "M->A 63.2, A->M 62.9, M->M 95.3, A->A 88.9",
    "ResNeXt, trained anew": "M->M 96.4, M->A 19.6, A->M 9.3, A->A 93.3",
}

NAMES = {"Matek-19": "matek19", "Acevedo-20": "acevedo20", "INT-20": "mll23", "M": "matek19", "A": "acevedo20"}


def test_all_27_cells_are_the_papers() -> None:
    seen = 0
    for line in TABLE.strip().splitlines()[2:]:
        source, target, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        for model, cell in zip(("nca", "resnext", "aecfe"), cells, strict=True):
            published = PAPER[model][NAMES[source], NAMES[target]]
            assert str(published) == cell.replace("+-", "±")
            seen += 1
    assert seen == sum(len(cells) for cells in PAPER.values()) == 27


def test_later_works_are_as_reported() -> None:
    told = {
        system: {tuple(NAMES[end] for end in pair.split("->")): float(value) for pair, value in map(str.split, cells)}
        for system, cells in ((name, text.split(", ")) for name, text in LATER.items())
    }
    assert told == {name: {pair: each.mean for pair, each in cells.items()} for name, cells in OTHERS.items()}
