"""What a model computes for one image, counted from its architecture; torch is not needed."""

from leukonca.errors import UsageError
from leukonca.models.architecture import AnyArchitecture
from leukonca.models.presets import Architecture, ResNeXtArchitecture
from leukonca.taxonomy import CLASSES

_EXPANSION = 4


def multiply_adds(architecture: AnyArchitecture, classes: int = len(CLASSES)) -> float:
    """Multiply-adds of one image's prediction: those of all filters and linear layers, and of nothing else.

    Of an automaton, those of the cells that fire (their expected number): the others need not be computed.

    Args:
        architecture: of an automaton or a ResNeXt.
        classes: number of outputs.

    Raises:
        UsageError: of another kind of model.
    """
    if isinstance(architecture, Architecture):
        return _automaton(architecture, classes)
    if isinstance(architecture, ResNeXtArchitecture):
        return _resnext(architecture, classes)
    raise UsageError(f"{architecture.title}: its multiply-adds are not counted")


def _automaton(a: Architecture, classes: int) -> float:
    """Two depthwise 3 x 3 filters, the hidden layer and the change for each firing cell; then the head once."""
    cell = 18 * a.channels + 3 * a.channels * a.hidden + a.hidden * a.channels
    return a.steps * a.cells**2 * a.fire_rate * cell + a.channels * a.hidden + a.hidden * classes


def _resnext(a: ResNeXtArchitecture, classes: int) -> float:
    """The stem, every block's three filters and its short cut where that has one, and the last layer."""
    side = _halved(a.grid)  # the stem's stride
    count = 3 * 7**2 * a.width * side**2
    side, come = _halved(side), a.width  # the pooling's stride
    for stage, blocks in enumerate(a.blocks):
        inner, out = a.inner_width(stage), a.stage_width(stage) * _EXPANSION
        for block in range(blocks):
            before = side
            if stage and not block:
                side = _halved(side)
            count += come * inner * before**2 + 9 * inner**2 // a.groups * side**2 + inner * out * side**2
            if not block:
                count += come * out * side**2
            come = out
    return count + come * classes


def _halved(side: int) -> int:
    """What a stride of 2 leaves, with the padding that keeps a filter of odd size in the middle."""
    return (side + 1) // 2
