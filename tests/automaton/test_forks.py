"""Forked processes, as data loaders make them, compute what their parent computes, and never wait for its threads."""

import json
import os
import subprocess
import sys
from pathlib import Path

FORKS = """
import hashlib, json, os, signal
import numpy as np
import torch
from leukonca.automaton import cpu
from leukonca.automaton.rule import Rule

signal.alarm(200)  # a child that waits for ever must not keep the test waiting
rng = np.random.default_rng(0)
shapes = (2, 6, 3, 3), (2, 6), (24, 18), (24,), (6, 24)
rule = Rule(*(rng.normal(scale=0.2, size=shape).astype(np.float32) for shape in shapes))
images = rng.normal(size=(4, 3, 9, 9)).astype(np.float32)

def work(k):
    settings = {"steps": 4, "fire_rate": 0.5, "seeds": np.arange(k, k + 4, dtype=np.uint32), "threads": 2}
    states = cpu.rollout(images, rule, **settings)
    tape = cpu.rollout_taped(images, rule, **settings)
    by_images, by_rule = cpu.rollout_backward(tape, states, rule, threads=2)
    arrays = (states, by_images, *vars(by_rule).values())
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()

class Work(torch.utils.data.Dataset):
    def __len__(self):
        return 6
    def __getitem__(self, k):
        return work(k)

told = {"parent": [work(k) for k in range(6)], "children": []}
for _ in range(2):
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, json.dumps([work(k) for k in range(6)]).encode())
        os._exit(0)
    os.wait()
    told["children"].append(json.loads(os.read(reading, 10_000)))
loader = torch.utils.data.DataLoader(Work(), batch_size=None, num_workers=2, multiprocessing_context="fork")
told["loader"] = list(loader)
told["after"] = [work(k) for k in range(6)]
print(json.dumps(told))
"""


FIRST = """
told = []
for _ in range(2):  # both before anything is compiled, at the same time
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, json.dumps(work(0)).encode())
        os._exit(0)
    os.close(writing)
    told.append(reading)
told = [json.loads(os.read(reading, 10_000)) for reading in told]
print(json.dumps([*told, work(0)]))
"""


def test_forked_processes_that_compile_first_and_at_once_give_the_same_bits(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    words = [sys.executable, "-c", FORKS[: FORKS.index("told = ")] + FIRST]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    assert any((tmp_path / "cache").rglob("*.nbc"))
    told = json.loads(done.stdout)
    assert len(told) == 3
    assert len(set(told)) == 1


def test_forked_processes_give_the_bits_of_their_parent() -> None:
    words = [sys.executable, "-c", FORKS]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert len(set(told["parent"])) == 6  # every seed has its own states
    assert told["children"] == [told["parent"]] * 2
    assert told["loader"] == told["after"] == told["parent"]
