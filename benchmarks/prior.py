"""What it does to expect blood's usual shares of the kinds: at home, where they are others, and at foreign centers.

python benchmarks/prior.py MODEL [--shared ../shared/data] [--write]

Eight varied runs without and with `--prior blood`, on the test fold of Acevedo-20, on BCCD, where the idea was tried,
and on JTSC. With --write the scores are kept in results/prior.json, and docs/uncertainty.md is filled with them.
"""

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import leukonca
from leukonca.data.cells import Cells, load_cells
from leukonca.data.mapping import read_map
from leukonca.evaluation.holdout import held_out
from leukonca.evaluation.prior import find_prior
from leukonca.evaluation.run import evaluate_cells
from leukonca.files import write_json
from leukonca.models.classifier import Classifier
from leukonca.models.folder import find_model, weights_digest
from marks import fill, table

HERE = Path(__file__).parent
RUNS = 8
PRIOR = "blood"
SHOWN = ("accuracy", "balanced_accuracy", "macro_f1")
KEPT = (*SHOWN, "ece", "classes", "certainty", "unusual", "prior", "note")
FLAGS = ("none", "uncertain", "unusual")
Row = dict[str, Any]


def tested(model: Classifier, folder: Path, cells: Cells, asked: str | None) -> Row:
    indices, note = held_out(cells, model.config, folder, None)
    prior = find_prior(asked, model.config)
    scores = evaluate_cells(model, cells, indices, note=note, runs=RUNS, varied=True, prior=prior, quiet=True).metrics
    return {name: scores[name] for name in KEPT if name in scores}


def markdown(found: Row) -> str:
    centers = found["centers"]
    scores = table(
        (
            *("8 varied runs", "prior", "accuracy", "balanced", "macro-F1", "changed"),
            *("no flag: cells, of them right", "`uncertain`", "`unusual`"),
        ),
        [
            (
                center,
                prior,
                *(share(scores[name]) for name in SHOWN),
                f"{100 * scores['prior']['changed']:.0f}%" if "prior" in scores else "",
                *(answers(scores["unusual"]["answers"][flag]) for flag in FLAGS),
            )
            for center, priors in centers.items()
            for prior, scores in priors.items()
        ],
    )
    kinds = {center: recalls(priors) for center, priors in centers.items()}
    every = dict.fromkeys(kind for each in kinds.values() for kind in each)
    found_kinds = table(
        ("cells, and found without → with the prior", *kinds),
        [(kind, *(each.get(kind, "") for each in kinds.values())) for kind in every],
    )
    told = f"{found['date'][:10]}, `{found['command']}` (weights {found['weights']}); 95% intervals."
    return f"{told}\n\n{scores}\n\n{found_kinds}"


def answers(flagged: Row) -> str:
    """How many cells have a flag, and how many of these are named rightly."""
    cells, right = flagged["share"]["value"], flagged["accuracy"]["value"]
    return f"{100 * cells:.0f}%" + ("" if right is None else f", {100 * right:.0f}%")


def recalls(priors: Row) -> dict[str, str]:
    """Kind -> cells, and the share of them that is found without and with the prior."""
    without, informed = (scores["classes"] for scores in priors.values())

    def percent(facts: Row) -> str:
        return f"{100 * facts['recall']['value']:.0f}%"

    return {
        kind: f"{facts['support']}: {percent(facts)} → {percent(informed[kind])}"
        for kind, facts in without.items()
        if facts["support"]
    }


def share(score: Row) -> str:
    return f"{100 * score['value']:.1f} [{100 * score['low']:.1f}, {100 * score['high']:.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--shared", type=Path, default=HERE.parent.parent / "shared" / "data")
    parser.add_argument("--write", action="store_true", help="keep the results and fill docs/uncertainty.md")
    options = parser.parse_args()
    folder, model = find_model(options.model), leukonca.load(options.model)
    settings = model.config.preprocessing
    mapped = read_map(HERE.parent / "docs" / "maps" / "five-classes.toml")
    centers = {
        "Acevedo-20, test fold": load_cells("acevedo20", options.shared / "acevedo20", settings, quiet=True),
        "BCCD": load_cells(mapped, options.shared / "bccd", settings, quiet=True),
        "JTSC": load_cells(mapped, options.shared / "jtsc", settings, quiet=True),
    }
    found: Row = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"python benchmarks/prior.py {options.model} --write",
        "weights": weights_digest(model.weights())[:12],
        "centers": {
            name: {asked or "none": tested(model, folder, cells, asked) for asked in (None, PRIOR)}
            for name, cells in centers.items()
        },
    }
    text = markdown(found)
    print(text)
    if options.write:
        write_json(HERE / "results" / "prior.json", found)
        fill("uncertainty.md", "prior", text)


if __name__ == "__main__":
    main()
