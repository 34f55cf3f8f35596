"""Settings of models as they are typed: ``--set nca.epochs=3 resnext.batch_size=8``."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from leukonca.errors import UsageError


def read_changes(words: Sequence[str], models: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Read ``MODEL.SETTING=VALUE``.

    Args:
        words: as typed.
        models: that are in the benchmark.

    Returns:
        Model -> setting -> value, by the last part of the setting's name or by all of it (``architecture.grid``).

    Raises:
        UsageError: another form, or a model that is not in the benchmark.
    """
    changes: dict[str, dict[str, Any]] = {model: {} for model in models}
    for word in words:
        name, equals, text = word.partition("=")
        model, dot, setting = name.partition(".")
        if not (equals and dot and setting and text):
            raise UsageError(f"--set {word}: write MODEL.SETTING=VALUE, for example nca.epochs=3")
        if model not in changes:
            raise UsageError(f"--set {word}: no model {model!r} here; there are {', '.join(models)}")
        try:
            changes[model][setting] = json.loads(text)
        except ValueError:  # a word
            changes[model][setting] = None if text == "none" else text
    return changes


def changed(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with some replaced; nested ones are found by the last part of their name.

    Raises:
        UsageError: there is no such setting, or there are several.
    """
    known = [path for path, _ in _paths(settings)]
    result: dict[str, Any] = json.loads(json.dumps(settings))
    for name, value in changes.items():
        wanted = tuple(name.split("."))
        found = [path for path in known if path[-len(wanted) :] == wanted]
        if len(found) != 1:
            why = "no such setting" if not found else f"there are {', '.join('.'.join(path) for path in found)}"
            there = "" if found else f"; there are {', '.join(sorted(path[-1] for path in known))}"
            raise UsageError(f"setting {name}: {why}{there}")
        *folders, last = found[0]
        inner = result
        for folder in folders:
            inner = inner[folder]
        inner[last] = value
    return result


def _paths(settings: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _paths(value, (*above, name))
        else:
            yield (*above, name), value
