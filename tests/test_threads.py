"""How many threads the engine uses: as the environment says, as torch says, or all of the machine."""

import os

import numpy as np
import pytest
import torch

import leukonca
from leukonca.automaton import cpu
from leukonca.threads import default_threads


@pytest.mark.parametrize(("told", "threads"), [("1", 1), ("3", 3), ("2,1", 2), ("64", 64)])
def test_omp_num_threads_is_followed(monkeypatch: pytest.MonkeyPatch, told: str, threads: int) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert default_threads() == threads


@pytest.mark.parametrize("told", ["", "0", "many", "-2"])
def test_what_says_no_number_of_threads_leaves_those_of_the_machine(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    assert default_threads() == len(cores)


@pytest.mark.parametrize("threads", [1, 2])
def test_torchs_number_of_threads_reaches_the_engine_forward_and_back(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    used = []

    def noting(work, batch, wanted, **settings):
        used.append(wanted)
        return over_images(work, batch, wanted, **settings)

    over_images = cpu.over_images
    monkeypatch.setattr(cpu, "over_images", noting)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        model = leukonca.NCAClassifier(preset="tiny", engine="cpu")
        model(torch.from_numpy(np.ones((2, 3, 8, 8), np.float32))).sum().backward()
        with torch.no_grad():
            model(torch.from_numpy(np.ones((2, 3, 8, 8), np.float32)))
    finally:
        torch.set_num_threads(before)
    assert used == [threads] * 3
