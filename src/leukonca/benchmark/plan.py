"""What is to be trained and tested: the plan of a benchmark, its units of work, and where their results lie."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from leukonca.benchmark.centers import Place
from leukonca.benchmark.models import find_runner
from leukonca.errors import DataError, UsageError
from leukonca.evaluation.protocol import Protocol, find_protocol
from leukonca.files import write_json

FORMAT = 1
NAME = "plan.json"


@dataclass(frozen=True)
class Variant:
    """One contender of the table: a model with all of its settings.

    Args:
        name: in the table and in paths.
        model: a key of `leukonca.benchmark.models.RUNNERS`.
        settings: of its training, as plain JSON types.
        value: of the ablated setting; None: nothing is ablated.
    """

    name: str
    model: str
    settings: Mapping[str, Any]
    value: float | None = None


@dataclass(frozen=True)
class Unit:
    """What one worker does at a stretch: train one model, and test it.

    Args:
        variant: name of the contender.
        source: name of the center that it is trained on.
        fold: that is kept for the test.
        adapts: the training sees images of the other centers, without labels.
    """

    variant: str
    source: str
    fold: int
    adapts: bool = False

    @property
    def name(self) -> str:
        """Unique in a plan; also the place of its model in the folder of trainings."""
        return f"{self.variant}/{self.source}/fold{self.fold}{'-adapted' if self.adapts else ''}"


@dataclass(frozen=True)
class Test:
    """One model on one center by one protocol; several, one a fold, make a cell of the table."""

    unit: Unit
    target: str
    protocol: str

    @property
    def name(self) -> str:
        """Unique in a plan; also its place in the folder of tests."""
        unit = self.unit
        return f"{unit.variant}/{unit.source}/{self.target}/{self.protocol}-fold{unit.fold}"


@dataclass(frozen=True)
class Plan:
    """All settings of a benchmark; written into its folder, from which workers read it.

    Args:
        title: heading of the report.
        places: the centers, in the order of the table.
        sources: names of those that are trained on.
        variants: the contenders, in the order of the table.
        protocols: names of the protocols.
        folds: into how many each source is divided.
        only_folds: which of them are done.
        seed: of splits, trainings and tests.
        ablated: the setting that the variants differ in; empty: they are different models.
        engine, device: of the trainings and tests; no part of what makes two results comparable.
    """

    title: str
    places: tuple[Place, ...]
    sources: tuple[str, ...]
    variants: tuple[Variant, ...]
    protocols: tuple[str, ...]
    folds: int
    only_folds: tuple[int, ...]
    seed: int
    ablated: str = ""
    engine: str = "auto"
    device: str = "cpu"

    def __post_init__(self) -> None:
        for what, names in (
            ("center", [each.name for each in self.places]),
            ("model", [each.name for each in self.variants]),
            ("protocol", list(self.protocols)),
            ("fold", [str(fold) for fold in self.only_folds]),
        ):
            if not names:
                raise UsageError(f"benchmark: at least one {what} is needed")
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise UsageError(f"benchmark: {what} {', '.join(sorted(twice))} is given twice")
        unknown = set(self.sources) - {each.name for each in self.places}
        if unknown:
            known = ", ".join(each.name for each in self.places)
            raise UsageError(f"--sources {', '.join(sorted(unknown))}: no such center among {known}")
        if self.folds < 2 or not all(0 <= fold < self.folds for fold in self.only_folds):
            raise UsageError(
                f"folds {', '.join(map(str, self.only_folds))} of {self.folds}: needs 2 folds or more, and folds from "
                f"0 to {self.folds - 1}"
            )
        for name in self.protocols:
            find_protocol(name)

    def place(self, name: str) -> Place:
        """The center of that name."""
        return next(each for each in self.places if each.name == name)

    def variant(self, name: str) -> Variant:
        """The contender of that name."""
        return next(each for each in self.variants if each.name == name)

    def units(self) -> Iterator[Unit]:
        """All units, fold by fold: a table with a column for everything comes first, its error bars later."""
        for fold in self.only_folds:
            for variant in self.variants:
                adapting = sorted({self._adapts(variant, find_protocol(name)) for name in self.protocols})
                for source in self.sources:
                    yield from (Unit(variant.name, source, fold, adapts) for adapts in adapting)

    def tests(self, unit: Unit) -> Iterator[Test]:
        """The tests of a unit's model."""
        for name in self.protocols:
            if self._adapts(self.variant(unit.variant), find_protocol(name)) == unit.adapts:
                yield from (Test(unit, place.name, name) for place in self.places)

    def unit(self, name: str) -> Unit:
        """The unit of that name.

        Raises:
            UsageError: there is none.
        """
        for unit in self.units():
            if unit.name == name:
                return unit
        raise UsageError(f"{name}: no unit of this plan; {NAME} lists what there is")

    @staticmethod
    def _adapts(variant: Variant, protocol: Protocol) -> bool:
        return protocol.target_unlabelled and find_runner(variant.model).adapts


def write_plan(folder: Path, plan: Plan, command: str, version: str) -> None:
    """Write the plan, with the names of its units for whoever starts them one by one."""
    units = [unit.name for unit in plan.units()]
    write_json(
        folder / NAME, {"format": FORMAT, "version": version, "command": command, "units": units, **asdict(plan)}
    )


def read_plan(folder: Path) -> tuple[Plan, str]:
    """The plan of a benchmark's folder, and the command that made it.

    Raises:
        DataError: there is none, or it is damaged.
    """
    path = folder / NAME
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw["format"] != FORMAT:
            raise DataError(f"{path}: format {raw['format']}; this leukonca reads format {FORMAT}: update it")
        values = {item.name: raw[item.name] for item in fields(Plan)}
        values["places"] = tuple(Place(**each) for each in values["places"])
        values["variants"] = tuple(Variant(**each) for each in values["variants"])
        for name in ("sources", "protocols", "only_folds"):
            values[name] = tuple(values[name])
        return Plan(**values), str(raw["command"])
    except FileNotFoundError as error:
        raise DataError(f"{folder}: no {NAME} there; `leukonca benchmark cross-center --out` makes one") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError | UsageError):
            raise
        raise DataError(f"{path}: damaged ({error!r}); run the benchmark again with the same options") from error
