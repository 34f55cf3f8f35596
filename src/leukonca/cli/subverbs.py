"""Verbs that have verbs of their own, as ``leukonca data check``."""

from collections.abc import Callable, Mapping, Sequence

from leukonca.cli.common import join_repeated, parse
from leukonca.errors import UsageError

DONE, WRONG_CALL = 0, 2

SubVerbs = Mapping[str, tuple[Callable[..., int], str]]
"""Verb -> what runs it, and one line of help."""


def run_subverb(verb: str, subverbs: SubVerbs, arguments: Sequence[str], *, repeatable: Sequence[str] = ()) -> int:
    """Exit code of ``leukonca VERB`` with these arguments.

    Args:
        verb: that the others belong to.
        subverbs: its own.
        arguments: what follows the verb.
        repeatable: options whose values add up where they are given twice.

    Raises:
        UsageError: there is no such verb.
    """
    words = list(arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help(verb, subverbs))
        return DONE if words else WRONG_CALL
    if words[0] not in subverbs:
        there = ", ".join(subverbs)
        raise UsageError(f"{verb} {words[0]}: no such verb; there are: {there}. See leukonca {verb} --help")
    rest = words[1:]
    for option in repeatable:
        rest = join_repeated(rest, option)
    return parse(f"{verb} {words[0]}", subverbs[words[0]][0], rest)


def _help(verb: str, subverbs: SubVerbs) -> str:
    widest = max(map(len, subverbs))
    verbs = "\n".join(f"  {name:<{widest}}  {words}" for name, (_, words) in subverbs.items())
    return f"usage: leukonca {verb} VERB ...\n\n{verbs}\n\nleukonca {verb} VERB --help tells the rest."
