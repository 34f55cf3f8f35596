"""The names of the engines, for those who must not load torch to know them."""

from typing import Literal

EngineName = Literal["auto", "reference", "cpu", "torch", "triton"]
"""`auto`, or a key of `leukonca.automaton.engines.ENGINES`."""
