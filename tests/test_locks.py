"""One process at a time: the others wait or are refused, and nothing of a dead one stays in the way."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from leukonca import locks
from leukonca.errors import UsageError
from leukonca.locks import only_one

HOLD = """
import sys
from pathlib import Path
from leukonca.locks import only_one
with only_one(Path(sys.argv[1]), print):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(path: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def refuse(who: str) -> None:
    raise UsageError(f"{who} is there")


def test_a_second_process_waits_and_says_for_whom(tmp_path: Path) -> None:
    first = holder(tmp_path / "lock")
    told: list[str] = []

    def let_it_end(who: str) -> None:
        told.append(who)
        assert first.stdin is not None
        first.stdin.close()

    with first, only_one(tmp_path / "lock", let_it_end):
        assert first.wait(timeout=60) == 0
    assert told[0].startswith(f"process {first.pid} on ")


def test_a_second_process_can_be_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with only_one(tmp_path / "new" / "lock", refuse, remove=True):
        for _ in range(2):  # the refused one changed nothing
            with (
                pytest.raises(UsageError, match=f"process {os.getpid()} on .* is there"),
                only_one(tmp_path / "new" / "lock", refuse, remove=True),
            ):
                pass
    assert list((tmp_path / "new").iterdir()) == []
    with only_one(tmp_path / "new" / "lock", refuse):
        pass


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    first = holder(tmp_path / "lock")
    with first:
        os.kill(first.pid, signal.SIGKILL)
    told: list[str] = []
    with only_one(tmp_path / "lock", told.append):
        pass
    assert told == []


@pytest.mark.parametrize("remove", [True, False])
def test_no_two_are_inside_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remove: bool) -> None:
    """What each adds to a number is there in the end, although it is read and written in two steps."""
    monkeypatch.setattr(locks, "POLL_SECONDS", 0.0005)
    number = tmp_path / "number"
    number.write_text("0")

    def add() -> None:
        for _ in range(40):
            with only_one(tmp_path / "lock", lambda _: None, remove=remove):
                there = int(number.read_text())
                number.write_text(str(there + 1))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert number.read_text() == "160"
    assert (tmp_path / "lock").exists() != remove


def test_a_child_that_is_given_the_descriptor_holds_the_lock_too(tmp_path: Path) -> None:
    with only_one(tmp_path / "lock", refuse) as descriptor:
        child = subprocess.Popen(["sleep", "60"], pass_fds=(descriptor,))
    try:
        with pytest.raises(UsageError, match="another process is there"), only_one(tmp_path / "lock", refuse):
            pass
    finally:
        child.kill()
        child.wait()
    with only_one(tmp_path / "lock", refuse):
        pass


def test_a_file_system_without_locks_keeps_nobody_from_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", without)
    with only_one(tmp_path / "lock", refuse), only_one(tmp_path / "lock", refuse):
        pass

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(OSError, match="Input/output error"), only_one(tmp_path / "lock", refuse):
        pass
