"""The parameters of the automaton's rule, as plain arrays: what every engine starts from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leukonca.errors import ModelError

IMAGE_CHANNELS = 3
"""Red, green and blue. The first channels of a state hold them, of one pixel or of several, and never change."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Rule:
    """One update rule (Deutges et al. 2024, eq. 2-4), float32.

    Args:
        kernels: two depthwise 3 x 3 filters, [2, C, 3, 3].
        kernel_bias: [2, C].
        hidden_weight: perception -> hidden, [hidden, 3C]; columns ordered itself, first view, second view.
        hidden_bias: [hidden].
        update_weight: hidden -> change, [C, hidden]; its first rows, as many as the images have channels, have no
            effect (the image is frozen).

    Raises:
        ModelError: shapes that do not belong together, or values that are not finite.
    """

    kernels: Array
    kernel_bias: Array
    hidden_weight: Array
    hidden_bias: Array
    update_weight: Array

    def __post_init__(self) -> None:
        channels, hidden = self.channels, self.hidden
        wanted = {
            "kernels": (2, channels, 3, 3),
            "kernel_bias": (2, channels),
            "hidden_weight": (hidden, 3 * channels),
            "hidden_bias": (hidden,),
            "update_weight": (channels, hidden),
        }
        for name, shape in wanted.items():
            array = getattr(self, name)
            if array.shape != shape:
                raise ModelError(
                    f"{name} has shape {array.shape}; {channels} channels and {hidden} hidden need {shape}"
                )
            if not np.isfinite(array).all():
                raise ModelError(f"{name} holds values that are not finite")

    @property
    def channels(self) -> int:
        """Channels of the state, the image's included."""
        return int(self.update_weight.shape[0])

    @property
    def hidden(self) -> int:
        """Width of the hidden layer."""
        return int(self.update_weight.shape[-1])

    def of_channels(self, low: int, high: int) -> "Rule":
        """What the rule does with these channels alone, as if there were no others."""
        columns = self.hidden_weight.reshape(self.hidden, 3, self.channels)[:, :, low:high]
        return Rule(
            kernels=self.kernels[:, low:high],
            kernel_bias=self.kernel_bias[:, low:high],
            hidden_weight=columns.reshape(self.hidden, -1),
            hidden_bias=self.hidden_bias,
            update_weight=self.update_weight[low:high],
        )


@dataclass(frozen=True)
class RuleGradient:
    """Gradients of a loss by the parameters of a `Rule`: the same names and shapes; unlike them, they may overflow."""

    kernels: Array
    kernel_bias: Array
    hidden_weight: Array
    hidden_bias: Array
    update_weight: Array
