"""Recipes as files: all settings of a training run as JSON, and as TOML that people write and change.

preset = "compact"            # what the file leaves out; without it, the paper's recipe
epochs = 32
muon_rate = "none"            # where a setting may be none

[architecture]
channels = 64

[augmentation]
stain = 0.2

[run]                         # which of the images, and what everything random follows from
seed = 1
fold = 2
teachers = ["large.toml"]     # recipes of the models that teach, beside this file
pretrained = "coarse.toml"    # recipe of the model that it begins as, likewise
"""

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from leukonca.data.augmentation import Augmentation
from leukonca.errors import UsageError
from leukonca.models.folder import SHIPPED, shipped_models
from leukonca.models.registry import DEFAULT, KINDS, architecture_from_json, kind_of
from leukonca.training.recipe import OPTIONAL, Recipe, recipe_for

RECIPE_FILE = "recipe.toml"
"""Beside a shipped model: what it was trained with."""

TABLES = ("architecture", "augmentation")
"""Settings of a recipe that are tables themselves."""


@dataclass(frozen=True)
class Plan:
    """A recipe, and what else a run needs to be repeated on the same images.

    Args:
        recipe: all settings of the training.
        seed: that everything random follows from, the folds included.
        fold: that is kept for the test, from 0; `leukonca train` leaves it out where a center's split is official.
        folds: how many.
        teachers: files with the recipes of the models that teach, relative to the file that names them.
        pretrained: the file with the recipe of the model that it begins as, likewise; None: it begins at random.

    Raises:
        UsageError: no such fold, a seed that cannot be meant, or what is no name of a file.
    """

    recipe: Recipe
    seed: int = 0
    fold: int = 0
    folds: int = 5
    teachers: tuple[str, ...] = ()
    pretrained: str | None = None

    def __post_init__(self) -> None:
        for name, least in (("seed", 0), ("fold", 0), ("folds", 2)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UsageError(f"{name} is {value!r}: must be a whole number of at least {least}")
        if self.seed >= 2**32:
            raise UsageError(f"seed is {self.seed}: must be below 2^32")
        if self.fold >= self.folds:
            raise UsageError(f"fold is {self.fold}: must be below {self.folds}, the number of folds")
        named = self.teachers if isinstance(self.teachers, tuple) else ("",)
        stems = [Path(name).stem if isinstance(name, str) else "" for name in named]
        if not all(stems) or len(set(stems)) != len(stems):
            raise UsageError(f"teachers is {self.teachers!r}: must be a list of TOML files, each of another name")
        if self.pretrained is not None and not (isinstance(self.pretrained, str) and Path(self.pretrained).stem):
            raise UsageError(f"pretrained is {self.pretrained!r}: must be the name of a TOML file")

    @property
    def teaches_itself(self) -> bool:
        """Whether the model that it begins as is one of its teachers."""
        return self.pretrained is not None and Path(self.pretrained) in map(Path, self.teachers)


_RUN = tuple(item.name for item in fields(Plan) if item.name != "recipe")


def from_json(settings: Mapping[str, Any]) -> Recipe:
    """The recipe that `leukonca.training.recipe.to_json` wrote; what an older one left out is as by default.

    Raises:
        UsageError: settings that no recipe has, or values that cannot be meant.
    """
    values = dict(settings)
    try:
        architecture = architecture_from_json(values.pop("kind", DEFAULT), values.pop("architecture"))
        augmentation = Augmentation(**values.pop("augmentation"))
        return Recipe(architecture=architecture, augmentation=augmentation, **values)
    except (TypeError, KeyError) as error:
        raise UsageError(f"these are no settings of a training: {error}") from error


def plan_of(recipe: Mapping[str, Any], data: Mapping[str, Any]) -> Plan:
    """The plan that a trained model's config tells of.

    Args:
        recipe: ``recipe`` of the config, its seed included.
        data: ``data`` of the config. Of its teachers, and of the model of the same images that it began as, it knows
            the names, for which there must be files with recipes.

    Raises:
        UsageError: see `from_json`; a model that was not trained by a recipe has none.
    """
    settings = {name: value for name, value in recipe.items() if name != "seed"}
    usual = Plan(from_json(settings))
    fold, folds = (int(data.get(name) or getattr(usual, name)) for name in ("fold", "folds"))
    teachers = tuple(f"{each['model']}.toml" for each in data.get("teachers", ()))
    began = next((f"{each['model']}.toml" for each in data.get("pretrained", ())[:1] if each.get("same_images")), None)
    seed = int(recipe.get("seed", 0))
    return replace(usual, seed=seed, fold=fold, folds=folds, teachers=teachers, pretrained=began)


def to_toml(plan: Plan) -> str:
    """Every setting as TOML; settings that are none are left out, which is their default."""
    recipe = plan.recipe
    plain = {name: value for name, value in asdict(recipe).items() if name not in TABLES}
    parts = [_lines({"kind": kind_of(recipe.architecture), **plain})]
    tables = {name: asdict(getattr(recipe, name)) for name in TABLES}
    tables["run"] = {name: value for name in _RUN if (value := getattr(plan, name)) != ()}
    parts += [f"[{name}]\n{_lines(table)}" for name, table in tables.items()]
    return "\n\n".join(parts) + "\n"


def find_recipe(file_or_name: str | Path) -> Path:
    """The TOML file that is given by its path, or by the name of the shipped model that it makes.

    A path that is not there comes back as it is; `read_plan` refuses it.
    """
    path = Path(file_or_name).expanduser()
    if path.exists() or str(file_or_name) not in shipped_models():
        return path
    return SHIPPED / str(file_or_name) / RECIPE_FILE


def read_plan(path: Path) -> Plan:
    """Read a recipe from a TOML file.

    Raises:
        UsageError: missing, no TOML, a setting that there is not, or a value that cannot be meant; the message names
            the file, the setting and the remedy.
    """
    path = Path(path)
    try:
        return from_toml(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        names = ", ".join(shipped_models()) or "none yet"
        raise UsageError(
            f"{path}: no such file; --recipe needs a TOML file with settings, or the name of a shipped model ({names})"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: no text in UTF-8 ({error.reason}); save it as UTF-8") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); --recipe needs a TOML file") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: no valid TOML: {error}; write settings as in epochs = 14") from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def from_toml(text: str) -> Plan:
    """The plan that a TOML text describes.

    Raises:
        tomllib.TOMLDecodeError: no TOML.
        UsageError: a setting that there is not, or a value that cannot be meant.
    """
    facts = tomllib.loads(text)
    preset, kind = facts.pop("preset", None), facts.pop("kind", None)
    base = _base(preset, kind)
    tables = {name: facts.pop(name, {}) for name in (*TABLES, "run")}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UsageError(f"{name} is no table; write [{name}], and each setting on a line of its own beneath")
    plain = [item.name for item in fields(Recipe) if item.name not in TABLES]
    _check_known(facts, plain, "")
    for name in TABLES:
        _check_known(tables[name], [item.name for item in fields(getattr(base, name))], f"[{name}] ")
    _check_known(tables["run"], _RUN, "[run] ")
    for name in set(facts) & set(OPTIONAL):
        facts[name] = None if facts[name] == "none" else facts[name]  # TOML has no word for it
    inner = {name: _changed(getattr(base, name), tables[name], f"[{name}] ") for name in TABLES}
    recipe = replace(base, **inner, **facts)
    run: dict[str, Any] = tables["run"]
    if isinstance(run.get("teachers"), list):
        run = {**run, "teachers": tuple(run["teachers"])}
    try:
        return Plan(recipe, **run)
    except UsageError as error:
        raise UsageError(f"[run] {error}") from error


def _base(preset: object, kind: object) -> Recipe:
    """The recipe whose settings count where a file has none."""
    if preset is None:
        if kind is not None and (not isinstance(kind, str) or kind not in KINDS):
            raise UsageError(f"kind is {kind!r}: there are {', '.join(KINDS)}")
        return Recipe(architecture=KINDS[str(kind or DEFAULT)].architecture())
    recipe = recipe_for(str(preset))
    if kind not in (None, kind_of(recipe.architecture)):
        raise UsageError(f"kind is {kind!r}, and preset {preset!r} is of kind {kind_of(recipe.architecture)}; keep one")
    return recipe


def _check_known(given: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    known = list(known)
    for name, value in given.items():
        if name in known:
            continue
        close = get_close_matches(name, known, n=1)
        words = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
        what = "table" if isinstance(value, dict) and not where else "setting"
        raise UsageError(f"{where}{name}: there is no such {what}; {words}")


def _changed(settings: Any, table: Mapping[str, Any], where: str) -> Any:
    """A frozen dataclass with some of its values replaced."""
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in table.items()}
    for name, value in values.items():
        kind = _kind_of(getattr(settings, name))
        if _kind_of(value) != kind:
            raise UsageError(f"{where}{name} is {value!r}: must be {kind}")
    try:
        return replace(settings, **values)
    except UsageError as error:
        raise UsageError(f"{where}{str(error).removeprefix('augmentation: ')}") from error


def _kind_of(value: object) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a text"
    return "a list" if isinstance(value, tuple) else "of another type"


def _lines(table: Mapping[str, Any]) -> str:
    return "\n".join(f"{name} = {_value(value)}" for name, value in table.items() if value is not None)


def _value(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value, ensure_ascii=False)  # numbers, texts and truth values are spelled alike in TOML
