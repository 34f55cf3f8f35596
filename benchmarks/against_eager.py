"""Prediction and training against eager PyTorch, and against what this machine's own matrix product reaches."""

from functools import partial

import numpy as np
import torch

from measuring import JOBS, Effort, Row, check_same_function, in_turns, multiply_adds, pair, passes, pictures

PRODUCT = 2048
"""Side of the square float32 matrices whose product is the machine's own rate."""


def measure(effort: Effort) -> list[Row]:
    a = effort.architecture
    difference = check_same_function(a)
    ours, rival = pair(a)
    side = 256 if effort.quick else PRODUCT
    matrix = np.random.default_rng(0).normal(size=(side, side)).astype(np.float32)
    tensor = torch.from_numpy(matrix)
    rows = []
    for job, batch in (("predict", 1), ("predict", 16), ("train", 4)):
        images, run = pictures(batch, a.grid), JOBS[job]
        runs = {
            "ours": partial(run, ours, images),
            "rival": partial(run, rival, images),
            "numpy": partial(np.matmul, matrix, matrix),
            "torch": partial(torch.matmul, tensor, tensor),
        }
        for once in runs.values():  # compiles, and touches the memory
            once()
        took = in_turns(runs, effort.repeats)
        products = {library: 2 * side**3 / took[library] / 1e9 for library in ("numpy", "torch")}
        best = max(products, key=products.__getitem__)
        rate = 2 * passes(job) * multiply_adds(a, batch) / took["ours"] / 1e9
        rows.append(
            {
                "job": job,
                "batch": batch,
                "images_per_second": batch / took["ours"],
                "rival_images_per_second": batch / took["rival"],
                "times_faster": took["rival"] / took["ours"],
                "gflops": rate,
                "product_gflops": products,
                "share_of": best,
                "share": rate / products[best],
                "logits_differ": difference,
            }
        )
    return rows
