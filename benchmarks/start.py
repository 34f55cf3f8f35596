"""A first and a second call in a new process, timed by parts. Asked by `coldstart.py`; imports only when it must."""

import json
import sys
import time


def predictor(folder: str) -> dict[str, float]:
    """Classify one image without torch."""
    began = time.perf_counter()
    import numpy as np

    import leukonca

    predictor = leukonca.Predictor(folder)
    image = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    ready = time.perf_counter()
    predictor([image])
    first = time.perf_counter()
    predictor([image])
    return times(began, ready, first, time.perf_counter())


def train(folder: str) -> dict[str, float]:
    """One forward and backward pass of one image."""
    began = time.perf_counter()
    import torch

    import leukonca

    model = leukonca.load(folder)
    image = torch.randn(1, 3, model.config.preprocessing.grid, model.config.preprocessing.grid)
    ready = time.perf_counter()
    model(image).sum().backward()
    first = time.perf_counter()
    model(image).sum().backward()
    return times(began, ready, first, time.perf_counter())


def times(began: float, ready: float, first: float, second: float) -> dict[str, float]:
    return {"import_and_load": ready - began, "first_call": first - ready, "second_call": second - first}


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(json.dumps({"predictor": predictor, "train": train}[asked["way"]](asked["model"])))
