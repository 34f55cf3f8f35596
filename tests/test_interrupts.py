"""A process that was asked to end ends, in order."""

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from leukonca import interrupts
from leukonca.automaton._parallel import Gate, over_images
from leukonca.interrupts import deferred, raise_if_asked, taken_over
from leukonca.progress import bar


@pytest.fixture(autouse=True)
def _ours() -> Iterator[None]:
    """As in a process of the command line, and afterwards as before."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with taken_over():
        yield
    signal.signal(signal.SIGINT, before)


def swallow(number: signal.Signals) -> None:
    """As a destructor or a callback of a weak reference does, where Python prints the exception and goes on."""
    with suppress(KeyboardInterrupt):
        signal.raise_signal(number)
        pytest.fail("the signal interrupts nothing")


def nothing(*_: object) -> None:
    """An image that needs no work."""


class Terminal(io.StringIO):
    """Standard error that shows progress bars."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("shown", [False, True])
def test_a_signal_whose_exception_was_lost_ends_the_work_all_the_same(
    number: signal.Signals, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal() if shown else io.StringIO())
    raise_if_asked()
    with bar("working", 2) as steps:
        steps.advance()
        swallow(number)
        with pytest.raises(KeyboardInterrupt):
            steps.advance()
    for threads in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            over_images(nothing, batch=4, threads=threads, most_parts=2)


def test_work_in_threads_ends_with_the_images_begun_and_leaves_no_thread() -> None:
    begun: list[int] = []
    running = threading.active_count()

    def work(image: int, *_: object) -> None:
        begun.append(image)
        if image == 0:
            os.kill(os.getpid(), signal.SIGINT)
        while not interrupts._asked_to_end:
            time.sleep(0.001)

    with pytest.raises(KeyboardInterrupt):
        over_images(work, batch=400, threads=2, most_parts=1)
    assert len(begun) <= 2
    assert threading.active_count() == running


def test_parts_of_one_image_do_not_wait_for_one_that_is_not_begun() -> None:
    gates: list[Gate] = []

    def work(_: int, part: int, __: int, gate: Gate) -> None:
        gates.append(gate)
        if part == 0:
            os.kill(os.getpid(), signal.SIGINT)
        while not gate[8] and not interrupts._asked_to_end:
            time.sleep(0.001)

    with pytest.raises(KeyboardInterrupt):
        over_images(work, batch=1, threads=2, most_parts=2)
    assert gates[0][8] == 1


def test_the_first_signal_waits_for_the_end_of_the_block_and_the_second_does_not() -> None:
    done = []

    def block() -> None:
        with deferred():
            with deferred():
                done.append("before")
            signal.raise_signal(signal.SIGTERM)
            done.append("after the first")
            with suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
                done.append("after the second")

    with pytest.raises(KeyboardInterrupt):
        block()
    assert done == ["before", "after the first"]
    assert interrupts._deferring == 0


def test_a_block_in_another_thread_puts_nothing_off() -> None:
    inside, over = threading.Event(), threading.Event()

    def block() -> None:
        with deferred():
            inside.set()
            over.wait(300)

    thread = threading.Thread(target=block)
    thread.start()
    inside.wait(300)
    swallow(signal.SIGINT)
    over.set()
    thread.join()


def test_a_background_job_goes_on_ignoring_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with taken_over():
        signal.raise_signal(signal.SIGINT)
        raise_if_asked()
        swallow(signal.SIGTERM)


def test_afterwards_all_is_as_before() -> None:
    def handle(*_: object) -> None:
        """A caller's own."""

    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, handle)
    with taken_over():
        swallow(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is handle
    raise_if_asked()


def test_in_another_thread_nothing_is_taken_over() -> None:
    done = []

    def block() -> None:
        with taken_over():
            done.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert done == [before]
