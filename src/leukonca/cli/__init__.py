"""The command line: one small file per verb, imported only when its verb is called."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper

from leukonca.errors import LeukoncaError, UsageError
from leukonca.interrupts import taken_over

VERBS = {
    "demo": "the whole story on synthetic cells, offline: train, test, predict, report",
    "data": "public centers and your own images: list, get, check, stats",
    "train": "train a model on one center",
    "evaluate": "test a model on one or more centers",
    "predict": "classify images into a CSV file",
    "benchmark": "the cross-center table and ablations: many trainings and tests, restartable",
    "explain": "show why: channels, pixels and steps behind predictions",
    "calibrate": "choose temperatures and thresholds of a model that has none",
}
"""Verb -> one line of help; the verb's file is ``cli/<verb>.py`` and holds ``run(arguments)``."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells expect it, and after SIGTERM, by which schedulers end a job."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        arguments: what follows the program's name; None: the process's own.

    Returns:
        Exit code: 0 done; 2 wrong call; 3 wrong input; 4 done, some inputs skipped; 130 interrupted.
    """
    if arguments is not None:
        return _answered(list(arguments))
    with taken_over():  # the process is ours: it ends in order, and leaves no half-written files
        return _answered(sys.argv[1:])


def _answered(words: Sequence[str]) -> int:
    for stream in (sys.stdout, sys.stderr):  # a file name that is no valid text must not stop a run
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read our output has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except LeukoncaError as error:
        return _fail(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("leukonca"):
            raise
        remedy = "pip install 'leukonca[train]', or '.[train]' in the project's folder"
        return _fail(f"{words[0]} needs {error.name}, which is not installed: {remedy}", 2)
    except KeyboardInterrupt:
        return _fail("interrupted; what was finished is kept", INTERRUPTED)
    except MemoryError:
        return _fail("not enough memory; try a smaller --batch-size", 3)
    except OSError as error:
        return _fail(f"{error.filename or 'the file system'}: {error.strerror or error}", 3)


def _run(words: Sequence[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        from leukonca import __version__

        print(f"leukonca {__version__}")
        return 0
    if words[0] not in VERBS:
        raise UsageError(f"no verb {words[0]!r}; there are: {', '.join(VERBS)}. See leukonca --help")
    if words[0] != "train" and "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1":
        raise UsageError(f"{words[0]} is one process's work, and every process of torchrun would do it; call it alone")
    from leukonca.cli.common import remember_call

    remember_call(words)
    code: int = import_module(f"leukonca.cli.{words[0]}").run(words[1:])
    return code


def _help() -> str:
    verbs = "\n".join(f"  {verb:<10} {words}" for verb, words in VERBS.items())
    return (
        "usage: leukonca VERB ...\n\n"
        "Classifies single white blood cell images with a neural cellular automaton.\n"
        "For research; not a medical device.\n\n"
        f"{verbs}\n\n"
        "leukonca VERB --help tells the rest.  leukonca --version"
    )


def _fail(message: str, code: int) -> int:
    print(f"leukonca: {message}", file=sys.stderr)
    return code
