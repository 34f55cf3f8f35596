"""Talking to servers: what may pass is tried again, and every other answer is an error that says what to do."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import requests

from leukonca import __version__
from leukonca.errors import DataError

T = TypeVar("T")

TIMEOUT = (20, 60)
"""Seconds until a connection stands, and between two pieces of an answer."""

BLOCK = 1 << 18

ATTEMPTS = 5
"""In a row without a single new byte, before giving up."""

LONGEST_WAIT = 60.0
"""Seconds between two attempts, whatever the server wishes."""

PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Answers that may be another in a moment."""

LARGEST_RECORD = 10_000_000
"""Bytes of a list of files; more is none."""

REMEDY = "Check the network; a proxy is named by HTTPS_PROXY, a mirror by --mirror or LEUKONCA_MIRROR"


class Cut(Exception):  # noqa: N818 - an event, not an error, until it has come too often
    """The connection failed in a way that may pass.

    Args:
        reason: for people.
        wait: seconds that the server asks for.
    """

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


def persist(
    url: str,
    once: Callable[[requests.Session], T],
    *,
    held: Callable[[], int] = lambda: 0,
    kept: Callable[[], str] = lambda: "",
) -> T:
    """What `once` returns; after a `Cut` it is called again, until `ATTEMPTS` in a row brought no new byte.

    Args:
        url: what it asks for; named in errors.
        once: asks.
        held: how many bytes there are.
        kept: what becomes of them, for people.

    Raises:
        DataError: the connection failed again and again, or `once` does.
    """
    failures = 0
    with _session() as session:
        while True:
            before = held()
            try:
                with _cuts():
                    return once(session)
            except Cut as cut:
                failures = 1 if held() > before else failures + 1
                if failures >= ATTEMPTS:
                    raise DataError(" ".join(filter(None, (f"{url}: {cut}.", kept(), REMEDY)))) from cut
                time.sleep(min(LONGEST_WAIT, max(2.0 ** (failures - 1), cut.wait)))


def read_json(url: str) -> Any:
    """What a public address holds, parsed.

    Raises:
        DataError: the server cannot be reached, has nothing there, or sends no JSON.
    """

    def once(session: requests.Session) -> bytes:
        with session.get(url, timeout=TIMEOUT, stream=True) as answer:
            check_answer(url, answer)
            return b"".join(_up_to(answer.iter_content(BLOCK), LARGEST_RECORD))

    text = persist(url, once)
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(f"{url}: not the list of files that was expected ({error}). {REMEDY}") from error


def _session() -> requests.Session:
    session = requests.Session()
    session.headers["User-Agent"] = f"leukonca/{__version__}"
    session.headers["Accept-Encoding"] = "identity"  # bytes as they are on the server, or no range would fit
    return session


@contextmanager
def _cuts() -> Iterator[None]:
    """Whatever goes wrong between here and the server is a cut; an address that cannot be meant is an error."""
    try:
        yield
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema) as e:
        raise DataError(f"{e}. {REMEDY}") from e
    except requests.exceptions.Timeout as error:
        raise Cut("the server does not answer in time") from error
    except requests.exceptions.ProxyError as error:
        raise Cut("the proxy cannot be reached") from error
    except requests.exceptions.SSLError as error:
        raise Cut("the connection is not secure (the certificate cannot be verified)") from error
    except requests.exceptions.ChunkedEncodingError as error:
        raise Cut("the connection was cut") from error
    except requests.exceptions.RequestException as error:
        raise Cut("the server cannot be reached, or closed the connection") from error


def check_answer(url: str, answer: requests.Response) -> None:
    """Raise a `Cut` for an answer that may be another in a moment, a `DataError` for any other that is no content."""
    told = f"the server answered {answer.status_code} ({answer.reason})"
    if answer.status_code in PASSING:
        asked = answer.headers.get("Retry-After", "")
        raise Cut(told, float(asked) if re.fullmatch(r"\d{1,6}", asked) else 0.0)
    if answer.status_code not in (200, 206):
        raise DataError(f"{url}: {told}. {REMEDY}")


def length_of(answer: requests.Response) -> int | None:
    """Bytes of the content, if the server says."""
    told = answer.headers.get("Content-Length", "")
    return int(told) if re.fullmatch(r"\d{1,18}", told) else None


def first_byte(answer: requests.Response) -> int:
    """Where a partial content begins; -1 if the server does not say."""
    told = re.fullmatch(r"bytes (\d{1,18})-.*", answer.headers.get("Content-Range", ""))
    return int(told[1]) if told else -1


def _up_to(blocks: Iterator[bytes], most: int) -> Iterator[bytes]:
    for block in blocks:
        most -= len(block)
        if most < 0:
            raise DataError("the server sends a list of files without end")
        yield block
