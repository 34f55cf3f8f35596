"""Against two things that a user might pick for the same job: ONNX Runtime, and the eager model through torch.compile.

Both compute every cell. ONNX Runtime predicts only. For torch.compile one step is the unit, PyTorch's own advice for
repeated parts: the whole rollout at once is the same code many times over, and takes as much longer to compile.
"""

import os
import shutil
from collections.abc import Callable
from functools import partial
from tempfile import TemporaryDirectory

import numpy as np
import torch

import unrolled
from measuring import JOBS, Effort, Row, in_turns, pair, pictures, predict, seconds
from rival import EagerNCA

NO_COMPILER = "no C++ compiler here (g++ or clang++), which torch.compile needs on processors"


def measure(effort: Effort) -> list[Row]:
    with TemporaryDirectory() as fresh:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = fresh  # what an earlier run compiled would hide how long that takes
        return _measure(effort)


def _measure(effort: Effort) -> list[Row]:
    a = effort.architecture
    ours, eager = pair(a)
    session, fires, compiled = unrolled.session(ours, torch.get_num_threads()), unrolled.masks(a), _compiled(eager)
    few = pictures(2, a.grid)
    if not np.allclose(session.run(None, {"images": few.numpy(), "masks": fires})[0], predict(ours, few), atol=1e-4):
        raise SystemExit("the unrolled ONNX graph gives other logits than ours: not the same model")
    rows: list[Row] = [{"who": "compiled", "note": NO_COMPILER}] if compiled is None else []
    for job, batch in (("predict", 1), ("predict", 16), ("train", 4)):
        images, run = pictures(batch, a.grid), JOBS[job]
        runs: dict[str, Callable[[], object]] = {"ours": partial(run, ours, images)}
        if job == "predict":
            runs["onnx"] = partial(session.run, None, {"images": images.numpy(), "masks": fires})
        if compiled is not None:
            runs["compiled"] = partial(run, compiled, images)
        first = {name: seconds(once) for name, once in runs.items()}
        took = in_turns(runs, effort.fewer)
        rows += [
            {
                "job": job,
                "batch": batch,
                "who": name,
                "images_per_second": batch / time,
                "ours_times_faster": time / took["ours"],
                "first_call_seconds": first[name],
            }
            for name, time in took.items()
        ]
    return rows


def _compiled(eager: EagerNCA) -> EagerNCA | None:
    if not (shutil.which("g++") or shutil.which("clang++")):
        return None
    eager.step = torch.compile(eager.step, dynamic=False)
    return eager
