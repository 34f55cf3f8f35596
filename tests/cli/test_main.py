"""Exit codes and messages of the program as a whole; the verbs have tests of their own."""

import subprocess
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import leukonca
from leukonca.cli import VERBS, main
from leukonca.errors import DataError, LeukoncaError, ModelError, UsageError

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def verb_that(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Replace the verb `predict` by one that gives or raises something."""

    def install(result: Any) -> None:
        def run(_: Any) -> int:
            if isinstance(result, BaseException):
                raise result
            return int(result)

        module = ModuleType("leukonca.cli.predict")
        module.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "leukonca.cli.predict", module)

    return install


def test_version_and_help(capsys: Capture) -> None:
    for flag in ("--version", "-V"):
        assert main([flag]) == 0
        assert capsys.readouterr().out == f"leukonca {leukonca.__version__}\n"
    for flag in ("--help", "-h", "help"):
        assert main([flag]) == 0
        told = capsys.readouterr().out
        assert all(f"  {verb} " in told for verb in VERBS)
        assert "not a medical device" in told


def test_no_verb_and_unknown_verbs_are_wrong_calls(capsys: Capture) -> None:
    assert main([]) == 2
    assert main(["predcit"]) == 2
    out = capsys.readouterr()
    assert "no verb 'predcit'; there are: demo, data, train, evaluate, predict" in out.err


@pytest.mark.parametrize("words", [["../predict"], [""], ["common"], ["--quiet", "predict"]])
def test_only_verbs_are_run(words: list[str], capsys: Capture) -> None:
    assert main(words) == 2
    assert "no verb" in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: Capture) -> None:
    assert main([verb, "--help"]) == 0
    assert "usage: leukonca" in capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_refuses_an_unknown_option(verb: str, capsys: Capture) -> None:
    assert main([verb, "--no-such-option", "3"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"leukonca {verb} " in captured.err + " "


@pytest.mark.parametrize("code", [0, 4])
def test_a_verbs_own_code_is_passed_on(verb_that: Callable[[Any], None], code: int) -> None:
    verb_that(code)
    assert main(["predict"]) == code


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UsageError("--runs 0: must be at least 1"), 2, "--runs 0: must be at least 1"),
        (DataError("cells: no images"), 3, "cells: no images"),
        (ModelError("config.json: damaged"), 3, "config.json: damaged"),
        (LeukoncaError("something"), 3, "something"),
        (KeyboardInterrupt(), 130, "interrupted; what was finished is kept"),
        (ModuleNotFoundError("no", name="torch"), 2, "predict needs torch, which is not installed: pip install"),
        (PermissionError(13, "Permission denied", "x.csv"), 3, "x.csv: Permission denied"),
        (OSError(28, "No space left on device"), 3, "No space left on device"),
    ],
)
def test_errors_become_codes_and_one_line_without_a_traceback(
    verb_that: Callable[[Any], None], capsys: Capture, error: BaseException, code: int, words: str
) -> None:
    verb_that(error)
    assert main(["predict"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("leukonca: ")
    assert words in captured.err
    assert captured.err.count("\n") == 1


def test_a_missing_part_of_leukonca_itself_is_not_blamed_on_the_user(verb_that: Callable[[Any], None]) -> None:
    verb_that(ModuleNotFoundError("no", name="leukonca.cli.predict"))
    with pytest.raises(ModuleNotFoundError):
        main(["predict"])


BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("no torch", name="torch")

sys.meta_path.insert(0, Blocked())
from leukonca.cli import main
sys.exit(main(["train", "--data", "folder=."]))
"""


def test_training_without_torch_says_what_to_install() -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("leukonca: train needs torch, which is not installed: pip install 'leukonca[train]'")
    assert len(done.stderr.splitlines()) == 1


def test_the_program_and_the_module_are_the_same() -> None:
    done = subprocess.run([sys.executable, "-m", "leukonca", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"leukonca {leukonca.__version__}\n", "")
    done = subprocess.run([sys.executable, "-m", "leukonca", "nonsense"], capture_output=True, text=True, check=False)
    assert done.returncode == 2


def test_under_torchrun_only_training_is_shared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["data", "list"]) == 2
    assert "data is one process's work" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert main(["data", "list"]) == 0
