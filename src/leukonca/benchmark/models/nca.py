"""The neural cellular automaton."""

from types import MappingProxyType

from leukonca.benchmark.models.network import Network


class NCA(Network):
    """Presets of the automaton."""

    engines = True
    recipes = MappingProxyType({"paper": "paper", "compact": "compact", "tiny": "tiny"})
