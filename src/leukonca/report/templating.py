"""The templates of all pages, and what they can call."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from leukonca.report import words


@cache
def templates() -> Environment:
    """Everything put into a page is escaped; a name that is not there is an error."""
    environment = Environment(
        loader=PackageLoader("leukonca.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(plain=words.plain, percent=words.percent, number=words.number, fact=words.fact)
    return environment
