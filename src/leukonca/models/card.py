"""The model card that is written beside the weights."""

from typing import Any

from leukonca.models.config import ModelConfig

HIDDEN = ("split_sha256", "comprises")
"""Facts about the training data that are no reading matter, or stand elsewhere on the card."""


def model_card(config: ModelConfig, parameters: int) -> str:
    """Markdown: what the model is, what it was trained on, what it scores, and what it is not for."""
    a, data = config.architecture, config.data
    unseen = [name for name in config.classes if name not in config.trained_classes]
    lines = [
        "# Model card",
        "",
        f"{a.title} that names the class of a single white blood cell image (leukonca {config.version}; "
        f"method: {a.source}).",
        "",
        "**Not a medical device.** For research and teaching; no decision about a patient may rest on it.",
        "",
        f"- Parameters: {parameters:,}; {', '.join(f'{name} {value}' for name, value in a.facts().items())}.",
        f"- Input: RGB, {_field(config)}; {_colors(config)}.",
        f"- Classes: {', '.join(_meant(name, data) for name in config.classes)}.",
    ]
    if config.trained_classes:
        lines.append(f"- Never seen in training, so never to be trusted: {', '.join(unseen) or 'none'}.")
    if data:
        told = ", ".join(f"{name} {value}" for name, value in data.items() if name not in HIDDEN)
        lines.append(f"- Trained on: {told}.")
    lines += ["", "## Test", ""]
    if config.metrics:
        facts = {name: value for name, value in config.metrics.items() if not isinstance(value, dict)}
        lines += [", ".join(f"{name}: {value}" for name, value in facts.items()) + ".", ""] if facts else []
        lines += ["| metric | value | 95% interval |", "|---|---|---|"]
        lines += [
            f"| {name} | {entry['value']:.4f} | {entry['low']:.4f} to {entry['high']:.4f} |"
            for name, entry in config.metrics.items()
            if isinstance(entry, dict)
            and all(isinstance(entry.get(key), int | float) for key in ("value", "low", "high"))
        ]
    else:
        lines.append("Not tested yet: run `leukonca evaluate`.")
    return "\n".join(lines) + "\n"


def _meant(name: str, data: dict[str, Any]) -> str:
    """A class's name, and what a coarser one comprises."""
    finer = data.get("comprises", {}).get(name, [name])
    return name if list(finer) == [name] else f"{name} ({', '.join(finer)})"


def _colors(config: ModelConfig) -> str:
    if (config.mean, config.std) == ((0, 0, 0), (1, 1, 1)):
        return "colors as they are"
    return "colors normalised with the training center's mean and standard deviation"


def _field(config: ModelConfig) -> str:
    grid = f"{config.preprocessing.grid} x {config.preprocessing.grid} pixels"
    if config.preprocessing.field_um is None:
        return f"the whole image resized to {grid}"
    return f"the middle {config.preprocessing.field_um:g} um resized to {grid}"
