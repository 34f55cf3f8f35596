"""Bars on a terminal, silence anywhere else."""

import io
import sys
from collections.abc import Iterator

import pytest

from leukonca.progress import bar, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal_of(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Not a fixture: pytest puts its own standard error in place between a test's fixtures and the test."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return screen


def test_silent_where_there_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with bar("working", 3) as shown:
        shown.advance()
        shown.say("loss 0.1")
    assert list(track(range(4), "working", 4)) == [0, 1, 2, 3]
    assert capfd.readouterr() == ("", "")


def test_silent_when_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    with bar("working", 3, quiet=True) as shown:
        shown.advance()
    assert list(track("ab", "working", 2, quiet=True)) == ["a", "b"]
    assert terminal.getvalue() == ""


def test_shows_label_count_and_note_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = terminal_of(monkeypatch)
    with bar("training", 40) as shown:
        shown.advance(10)
        shown.say("loss 0.125")
    text = terminal.getvalue()
    assert "training" in text
    assert "10/40" in text
    assert "loss 0.125" in text
    assert capsys.readouterr().out == ""  # results alone go to standard output


def test_names_that_look_like_markup_are_shown_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    with bar("[/bold] a", 2) as shown:
        shown.say("[red]cell[/]/[/x].png")
    assert "[/bold] a" in terminal.getvalue()
    assert "[red]cell[/]/[/x].png" in terminal.getvalue()


def test_items_pass_through_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    taken = []

    def items() -> Iterator[int]:
        for i in range(5):
            taken.append(i)
            yield i

    passing = track(items(), "working", 5)
    assert next(passing) == 0
    assert taken == [0]
    assert list(passing) == [1, 2, 3, 4]
    assert "5/5" in terminal.getvalue()


def test_the_cursor_comes_back_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    with pytest.raises(ZeroDivisionError), bar("working", 2):
        raise ZeroDivisionError
    assert terminal.getvalue().count("\x1b[?25l") == terminal.getvalue().count("\x1b[?25h") == 1
