"""From nothing to the first answer: with nothing compiled yet, and with what an earlier process compiled."""

import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from measuring import Effort, Row, alone, pair

WAYS = ("predictor", "train")


def measure(effort: Effort) -> list[Row]:
    rows = []
    with TemporaryDirectory() as temporary:
        model, _ = pair(effort.architecture)
        model.config = replace(model.config, mean=(0.7, 0.6, 0.65), std=(0.2, 0.25, 0.15))
        model.save(Path(temporary) / "model")
        for way in WAYS:
            compiled = Path(temporary) / f"compiled {way}"
            for state in ("nothing compiled", "compiled before"):
                question = {"way": way, "model": str(Path(temporary) / "model")}
                began = time.perf_counter()
                answer = alone("start.py", question, NUMBA_CACHE_DIR=str(compiled))
                rows.append({"way": way, "state": state, "whole": time.perf_counter() - began, **answer})
    return rows
