"""The cellular automaton: fire masks, the rollout and its interchangeable engines."""
