"""The model card that is written beside the weights."""

from collections.abc import Mapping, Sequence
from typing import Any

from leukonca.data.centers import CENTERS
from leukonca.errors import UsageError
from leukonca.models.card_tests import CardTest, told_failures, told_tests
from leukonca.models.config import ModelConfig
from leukonca.models.cost import multiply_adds

HIDDEN = (
    "split_sha256",
    "seen_sha256",
    "seen_earlier_sha256",
    "pretrained",
    "teachers",
    "comprises",
    "files",
    "same_images",
    "seen_as",
)
"""Facts about the training data that are no reading matter, or stand elsewhere on the card."""

_TERMS = {f"CC BY {version}": f"https://creativecommons.org/licenses/by/{version}/" for version in ("3.0", "4.0")}
"""Where the licence of a center's images can be read."""

_MORE = """\
Slower, and the mean of eight views: `--runs 8 --varied`. Where the cells are known to come from the blood of healthy
adults: `--prior blood`, which expects each kind as often as there, and flags what that changes. It hides what is rare
there (banded neutrophils, immature granulocytes, erythroblasts): leave it out wherever these matter.

"""

_USES = """\
- Meant for: research and teaching on images of single white blood cells from a blood smear, one cell in the middle of
  each; sorting cells for a person who looks at them; a starting point for training on a center's own cells
  (`leukonca train --pretrained`).
- Not meant for: diagnosis, treatment, screening, or any decision about a patient; cells of other tissues; whole slides.
- Scores at home are optimistic: images were split one by one, since file names do not tell the patient.
- A cell of a kind that it was never taught gets the name of a known kind, possibly with high probability and without
  any flag: a count without flags excludes no disease.
- Before use at another center (stain, microscope, camera): measure it there with `leukonca evaluate`, and doubt what is
  flagged `uncertain` or `unusual`."""


def model_card(config: ModelConfig, parameters: int, *, name: str = "", tests: Sequence[CardTest] = ()) -> str:
    """Markdown: what the model is, what it was trained on, what it scores, and what it is not for.

    Args:
        config: of the model.
        parameters: how many numbers were trained.
        name: of a shipped model, under which it is asked for; none: it is a folder.
        tests: of the model, with all scores of each; none: those in the config.
    """
    a, data = config.architecture, config.data
    unseen = [each for each in config.classes if each not in config.trained_classes]
    lines = [
        f"# Model card: {name}" if name else "# Model card",
        "",
        f"{a.title} that names the class of a single white blood cell image (leukonca {config.version}; "
        f"method: {a.source}).",
        "",
        "**Not a medical device.** For research and teaching; no decision about a patient may rest on it.",
        "",
        f"- Parameters: {parameters:,}; {', '.join(f'{fact} {value}' for fact, value in a.facts().items())}.",
        *_cost(config),
        f"- Input: RGB, {_field(config)}; {_colors(config)}.",
        f"- Classes: {', '.join(_meant(each, data) for each in config.classes)}.",
    ]
    if config.trained_classes:
        never = "Not seen in its last training" if config.learned_elsewhere else "Never seen in training"
        lines.append(f"- {never}, so never to be trusted: {', '.join(unseen) or 'none'}.")
    if data:
        lines.append(f"- Trained on: {_told(data)}.")
    lines += [f"- Began as: {_began_as(each)}." for each in config.pretrained]
    lines += [f"- Taught by: {taught_by(each)}, of the same split." for each in config.teachers]
    lines += _certainty(config)
    if name:
        more = _MORE if config.recipe.get("balance") is True else ""
        lines += ["", "## Use", "", f"    leukonca predict {name} my-cells/ --out cells.csv", "", more + _USES]
        lines += ["", "## Data and license", "", _license(data), "", "## Recipe", "", *_recipe(config, name)]
    lines += ["", "## Tests" if tests else "## Test", ""]
    lines += told_tests(tests) if tests else _scores(config.metrics)
    if tests:
        lines += ["", "## Known failures", "", *told_failures(tests), *_never_seen(unseen, config)]
    return "\n".join(lines) + "\n"


def _told(data: Mapping[str, Any]) -> str:
    """Facts about the images of a training, for a reader."""
    told = (f"{fact} {value}" for fact, value in data.items() if fact not in (*HIDDEN, "model", "seed", "weights"))
    return ", ".join(told) or "what nobody knows"


def _began_as(facts: Mapping[str, Any]) -> str:
    images = "the same images, split alike" if facts.get("same_images") else _told(facts)
    return f"{facts.get('model')}, trained on {images}"


def taught_by(facts: Mapping[str, Any]) -> str:
    """A teacher, for a reader."""
    number = facts.get("parameters")
    size = f"{number:,} parameters" if isinstance(number, int) else "size unknown"
    return f"{facts.get('model')} ({facts.get('kind', 'unknown')}, {size})"


def _cost(config: ModelConfig) -> list[str]:
    try:
        count = multiply_adds(config.architecture, len(config.classes))
    except UsageError:  # of a kind that is not counted
        return []
    return [f"- Multiply-adds an image: {count / 1e6:,.0f} million."]


def _certainty(config: ModelConfig) -> list[str]:
    lines = [f"- Calibration: logits are divided by {config.temperature:g}{_chosen(config)}."]
    if config.varied_temperature is not None:
        lines.append(f"- Those of varied runs by {config.varied_temperature:g}{_reached_varied(config.calibration)}.")
    limits = ", ".join(f"{flag} {value:.4g}" for flag, value in config.thresholds.items())
    lines += [f"- Thresholds of flags: {limits}."] if limits else []
    return [*lines, *_reached(config.calibration)]


def _reached_varied(facts: Mapping[str, Any]) -> str:
    """How varied runs do on the validation images at the temperature of one run, and at their own."""
    varied = _table(facts.get("varied"))
    before, after = (_table(varied.get(part)) for part in ("before", "after"))
    if not (before and after):
        return ""
    return (
        f" (of {varied.get('runs')} together the calibration error on these images is {_plain(after.get('ece'))}, "
        f"where the temperature of one run leaves {_plain(before.get('ece'))}; not flagged `uncertain` are "
        f"{_plain(varied.get('accepted'))}, of which {_plain(varied.get('accuracy_of_accepted'))} are right)"
    )


def _reached(facts: Mapping[str, Any]) -> list[str]:
    """What temperature and threshold do on the images that they were chosen on."""
    before, after, accepted = (_table(facts.get(part)) for part in ("before", "after", "uncertain"))
    lines = []
    if before and after:
        told = ", ".join(
            f"{words} {_plain(before.get(fact))} before, {_plain(after.get(fact))} after"
            for fact, words in (("nll", "negative log likelihood"), ("ece", "calibration error"))
        )
        lines.append(f"- On these validation images: {told}.")
    if accepted:
        lines.append(
            f"- Not flagged `uncertain` are {_plain(accepted.get('accepted'))} of them, and of those "
            f"{_plain(accepted.get('accuracy_of_accepted'))} are right; wanted was "
            f"{_plain(accepted.get('wanted_accuracy'))}."
        )
    if usual := _table(facts.get("unusual")):
        lines.append(f"- Not flagged `unusual` are {_plain(usual.get('accepted'))} of them.")
    return lines


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _plain(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "not defined"


def _chosen(config: ModelConfig) -> str:
    facts = ", ".join(
        f"{fact.replace('_', ' ')} {value:.4g}" if isinstance(value, float) else f"{fact.replace('_', ' ')} {value}"
        for fact, value in config.calibration.items()
        if isinstance(value, int | float | str)
    )
    return f" ({facts})" if facts else ""


def _license(data: Mapping[str, Any]) -> str:
    center = CENTERS.get(str(data.get("center")))
    if center is None or not center.citation:
        return f"Trained on images of center {data.get('center', 'unknown')}; ask their owner for the terms."
    terms = f"{center.licence} ({_TERMS[center.licence]})" if center.licence in _TERMS else center.licence
    return (
        f"Trained on {center.title}. The images are used under {terms} and are not part of this folder; "
        f"whoever uses the model names their source: {center.citation}. The weights: Apache License 2.0."
    )


def _recipe(config: ModelConfig, name: str) -> list[str]:
    center = config.data.get("center", "NAME")
    return [
        "All settings, with seed and fold, are in [recipe.toml](recipe.toml). The same training again, images in DIR:",
        "",
        f"    leukonca train --recipe {name} --data {center}=DIR --out runs/{name}",
    ]


def _never_seen(unseen: Sequence[str], config: ModelConfig) -> list[str]:
    if not unseen:
        return []
    tells = "unusual" in config.thresholds
    flag = (
        f"flagged `unusual` above {config.thresholds['unusual']:.4g}"
        if tells
        else "nothing in this model flags them `unusual`"
    )
    return [
        f"- Never seen: {', '.join(unseen)}. Such a cell is called something else or, rarely and by chance, what it "
        f"is. An answer of these classes is flagged `{'unusual' if tells else 'uncertain'}`. What is unlike the "
        f"training images: {flag}. A kind that was never taught, of the same stain and microscope, often is not, and "
        "may be named as something else "
        "without any flag (measured with kinds left out of short trainings: docs/uncertainty.md of the project).",
    ]


def _scores(metrics: Mapping[str, Any]) -> list[str]:
    """The short table of a model whose own test is all that is known."""
    if not metrics:
        return ["Not tested yet: run `leukonca evaluate`."]
    facts = {fact: value for fact, value in metrics.items() if not isinstance(value, dict)}
    lines = [", ".join(f"{fact}: {value}" for fact, value in facts.items()) + ".", ""] if facts else []
    lines += ["| metric | value | 95% interval |", "|---|---|---|"]
    lines += [
        f"| {score} | {entry['value']:.4f} | {_between(entry.get('low'), entry.get('high'))} |"
        for score, entry in metrics.items()
        if isinstance(entry, dict) and isinstance(entry.get("value"), int | float)
    ]
    return lines


def _between(low: object, high: object) -> str:
    return f"{low:.4f} to {high:.4f}" if isinstance(low, int | float) and isinstance(high, int | float) else "–"


def _meant(name: str, data: Mapping[str, Any]) -> str:
    """A class's name, and what a coarser one comprises."""
    finer = data.get("comprises", {}).get(name, [name])
    return name if list(finer) == [name] else f"{name} ({', '.join(finer)})"


def _colors(config: ModelConfig) -> str:
    if (config.mean, config.std) == ((0, 0, 0), (1, 1, 1)):
        return "colors as they are"
    scale = {"stretched": "optical densities", "lightness": "lightness"}.get(config.preprocessing.stain)
    what = f"{scale} of red and green, stretched from each image's background to its nucleus, then"
    whose = "the first model's" if config.learned_elsewhere else "the training center's"
    return f"{what if scale else 'colors'} normalised with {whose} mean and standard deviation"


def _field(config: ModelConfig) -> str:
    grid = f"{config.preprocessing.grid} x {config.preprocessing.grid} pixels"
    if config.preprocessing.field_um is None:
        return f"the whole image resized to {grid}"
    told = f"the middle {config.preprocessing.field_um:g} um resized to {grid}"
    if config.preprocessing.beyond == "background":
        told += ", in the color of its background beyond the image"
    if config.preprocessing.nucleus_um is None:
        return told
    return f"{told} (of an image of unknown scale as much as makes its nucleus {config.preprocessing.nucleus_um:g} um)"
