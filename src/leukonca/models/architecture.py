"""What the architectures of all kinds of model have in common; read and written without torch."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from leukonca.errors import UsageError


class AnyArchitecture:
    """Base of the frozen dataclasses that say what a model is made of; `leukonca.models.registry` lists them.

    The fields of a subclass are numbers, texts and tuples of them: they are written into ``config.json`` and are
    options of ``leukonca train``.
    """

    title: ClassVar[str]
    """The kind in a few words, as a model card begins."""
    source: ClassVar[str]
    """Where the method is described."""
    has_hidden_matrices: ClassVar[bool] = False
    """Whether there are matrices within the network that Muon can train (`leukonca.training.optimisers`)."""

    @property
    def fires_at_random(self) -> bool:
        """Whether another seed is another answer."""
        return False

    @property
    def words(self) -> str:
        """The title within a sentence."""
        return self.title[0].lower() + self.title[1:]

    @property
    def grid(self) -> int:
        """Side of the square that the model sees, pixels; a field of every subclass."""
        raise NotImplementedError

    @property
    def patch(self) -> int:
        """Side of the squares of pixels that the model takes as one; a field where that can be chosen."""
        return 1

    @property
    def weights_fit_any_grid(self) -> bool:
        """Whether a model of another grid can have the same weights."""
        return False

    def unlike(self, wanted: Self) -> list[str]:
        """Settings in which the weights of this architecture are of no use to one of the same kind, in words."""
        return [
            f"{name} {value} (and not {getattr(wanted, name)})"
            for name, value in vars(self).items()
            if value != getattr(wanted, name) and not (name == "grid" and self.weights_fit_any_grid)
        ]

    def facts(self) -> dict[str, Any]:
        """What a reader of a card or report wants to know, in the order shown."""
        raise NotImplementedError


def check_counts(settings: object, lowest: Mapping[str, int]) -> None:
    """Raise a `UsageError` unless the fields named are whole numbers of at least what is given."""
    for name, least in lowest.items():
        value = getattr(settings, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UsageError(f"{name} is {value!r}: must be a whole number of at least {least}")
