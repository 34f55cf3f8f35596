import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from leukonca.cli import main
from leukonca.data.downloads.lock import only_one

from .server import Archives

HOLD = """
import sys
from pathlib import Path
from leukonca.data.downloads.lock import only_one
with only_one(Path(sys.argv[1]), print):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(path: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_waits_and_says_for_whom(tmp_path):
    first = holder(tmp_path / "lock")
    told: list[str] = []
    with (
        first,
        only_one(tmp_path / "lock", lambda who: (told.append(who), first.stdin.close())),
    ):
        assert first.wait(timeout=60) == 0
    assert told[0].startswith(f"process {first.pid} on ")


def test_a_killed_process_leaves_no_lock(tmp_path):
    first = holder(tmp_path / "lock")
    with first:
        os.kill(first.pid, signal.SIGKILL)
    told: list[str] = []
    with only_one(tmp_path / "lock", told.append):
        pass
    assert told == []


def test_two_at_once_fetch_once(acevedo20: Archives, tmp_path, capsys):
    words = ["data", "get", "acevedo20", "--to", str(tmp_path / "there"), "--mirror", acevedo20.address]
    codes: list[int] = []
    threads = [threading.Thread(target=lambda: codes.append(main(words))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0, 0]
    assert len(acevedo20.downloads()) == 1
    assert capsys.readouterr().out.count("is complete and sound; nothing to do") == 2
