"""One model in a process of its own: how long it takes and how much memory that needs. Asked by other scripts."""

import json
import math
import sys
from functools import partial
from pathlib import Path
from typing import Any

from leukonca.models.presets import Architecture
from measuring import JOBS, in_turns, pair, pictures, use_all_threads


def main(question: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Answer {"who": "ours" | "rival", "jobs": [...], "batch", "repeats", "architecture": {...}}, by job."""
    use_all_threads()
    a = Architecture(**question["architecture"])
    ours, rival = pair(a)
    model = ours if question["who"] == "ours" else rival
    images = pictures(question["batch"], a.grid)
    answer = {}
    for job in question["jobs"]:
        run = partial(JOBS[job], model)
        run(pictures(2, 4))  # compiles, and loads what is loaded at the first call
        forget_peak()
        before = resident("VmRSS")
        run(images)
        peak = resident("VmHWM")
        # The first run took fresh memory from the system; the ones that are timed find it there.
        took = in_turns({job: partial(run, images)}, question["repeats"])[job] if question["repeats"] else math.nan
        answer[job] = {"seconds": took, "before_mb": before, "peak_mb": peak}
    return answer


def forget_peak() -> None:
    """Compiling may have needed more than the run will. `getrusage` never forgets: it even knows the parent's peak."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def resident(which: str) -> float:
    """Memory of this process, MB (10^6 bytes), from the kernel's own account."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which)) * 1024 / 1e6


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
