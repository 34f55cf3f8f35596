"""The few ways in which leukonca refuses, each with the exit code that the command line gives for it."""


class LeukoncaError(Exception):
    """Base of all errors that leukonca raises on purpose; its message names the fact and the remedy."""

    exit_code = 3


class DataError(LeukoncaError, ValueError):
    """Images, labels or a data folder that cannot be used."""


class ModelError(LeukoncaError, ValueError):
    """A model folder or checkpoint that is missing, damaged or of another architecture."""


class UsageError(LeukoncaError, ValueError):
    """A call whose arguments cannot be meant."""

    exit_code = 2
