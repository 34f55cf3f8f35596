"""Killed at any point and resumed, a run ends with the same bits as one that nobody disturbed."""

import errno
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from leukonca.data.cells import Cells
from leukonca.data.splits import Split, split_cells
from leukonca.errors import DataError, ModelError, UsageError
from leukonca.training import loop
from leukonca.training.checkpoint import NAME, Checkpoint, read_checkpoint
from leukonca.training.loop import train
from leukonca.training.recipe import Recipe

Train = Callable[..., Any]

VICTIMS = """
import json, os, pickle, signal, sys
from dataclasses import replace
from pathlib import Path
import torch
from leukonca.training import loop

job = json.loads(sys.argv[1])
cells, split, recipe = pickle.loads(Path(job["given"]).read_bytes())

# Everything is imported and compiled once, before the forks; without threads, which a fork would lose.
threads = torch.get_num_threads()
torch.set_num_threads(1)
loop.train(cells, split, replace(recipe, epochs=1, draws=1), Path(job["given"] + " warm"), quiet=True)

def kill_at(kind, count):
    seen = 0
    def reached(here):
        nonlocal seen
        seen += here == kind
        if here == kind and seen == count:
            os.kill(os.getpid(), signal.SIGKILL)
    step, move = loop._step, Path.replace
    def watched_step(*arguments):
        reached("batch")
        return step(*arguments)
    def watched_move(self, target):
        reached("before " + target.name)
        result = move(self, target)
        reached("after " + target.name)
        return result
    loop._step, Path.replace = watched_step, watched_move

for folder, kills in job["victims"]:
    for kind, count in kills:
        victim = os.fork()
        if victim == 0:
            torch.set_num_threads(threads)
            kill_at(kind, count)
            try:
                loop.train(cells, split, recipe, Path(folder), resume=True, quiet=True)
            finally:
                os._exit(1)  # it should have been dead by now
        _, status = os.waitpid(victim, 0)
        print(json.dumps([folder, kind, os.WTERMSIG(status) if os.WIFSIGNALED(status) else None]))
"""

KILLS: dict[str, list[tuple[str, int]]] = {
    "before the first batch": [("batch", 1)],
    "in the first epoch": [("batch", 3)],
    "while the first checkpoint is written": [(f"before {NAME}", 1)],
    "in the second epoch": [("batch", 6)],
    "between checkpoint and log": [(f"after {NAME}", 2)],
    "while the last checkpoint is written": [(f"before {NAME}", 3)],
    "between the last checkpoint and its log": [(f"after {NAME}", 3)],
    "before the model": [("before model.safetensors", 1)],
    "in the midst of the model": [("after model.safetensors", 1)],
    "before the config": [("before config.json", 1)],
    "three times": [("batch", 7), ("before log.jsonl", 1), ("batch", 2)],
}


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [{**json.loads(line), "seconds": 0} for line in (folder / "log.jsonl").read_text().splitlines()]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in ("log.jsonl", NAME)}


def same_end(folder: Path, undisturbed: Path) -> None:
    assert files_of(folder) == files_of(undisturbed)  # no debris either
    assert log_of(folder) == log_of(undisturbed)
    mine, theirs = read_checkpoint(folder), read_checkpoint(undisturbed)
    assert mine is not None
    assert theirs is not None
    assert {name: value.numpy().tobytes() for name, value in mine.tensors.items()} == {
        name: value.numpy().tobytes() for name, value in theirs.tensors.items()
    }


@pytest.fixture(scope="module")
def undisturbed(parent: Path) -> Path:
    return parent


@pytest.fixture(scope="module")
def killed(cells: Cells, split: Split, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run for each of `KILLS`, every one ended by a real SIGKILL in a process of its own."""
    root = tmp_path_factory.mktemp("killed")
    (root / "given").write_bytes(pickle.dumps((cells, split, recipe)))
    job = {"given": str(root / "given"), "victims": [(str(root / name), kills) for name, kills in KILLS.items()]}
    words = [sys.executable, "-c", VICTIMS, json.dumps(job)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    ends = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(ends) == sum(len(kills) for kills in KILLS.values())
    assert all(signal == 9 for _, _, signal in ends), ends
    return root


@pytest.mark.parametrize("when", KILLS)
def test_killed_and_resumed_ends_with_the_same_bits(
    cells: Cells, split: Split, recipe: Recipe, killed: Path, undisturbed: Path, when: str
) -> None:
    folder = killed / when
    if when.startswith("while the"):
        assert list(folder.glob(f".{NAME}.*.part"))  # killed in the midst of it
    found = read_checkpoint(folder)
    assert (found is None) == (when in list(KILLS)[:3])
    model = train(cells, split, recipe, folder, resume=True, quiet=True)
    same_end(folder, undisturbed)
    assert model.config.trained_classes


def test_a_finished_run_resumed_is_the_same_run(
    cells: Cells, split: Split, recipe: Recipe, undisturbed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    copy(undisturbed, folder)
    train(cells, split, recipe, folder, resume=True, quiet=True)
    same_end(folder, undisturbed)


def test_resume_without_a_run_begins_one(
    cells: Cells, split: Split, recipe: Recipe, undisturbed: Path, tmp_path: Path
) -> None:
    train(cells, split, recipe, tmp_path / "new", resume=True, quiet=True)
    same_end(tmp_path / "new", undisturbed)


def test_a_full_disk_keeps_the_last_checkpoint_and_the_run_goes_on_later(
    cells: Cells,
    split: Split,
    recipe: Recipe,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, written = tmp_path / "run", 0
    write = Path.write_bytes

    def fill_up(self: Path, data: bytes) -> int:
        nonlocal written
        written += NAME in self.name
        if NAME in self.name and written == 2:
            write(self, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", fill_up)
    with pytest.raises(DataError, match=f"{NAME}: the disk is full.*free some space"):
        train(cells, split, recipe, folder, quiet=True)
    monkeypatch.undo()
    kept = read_checkpoint(folder)
    assert kept is not None
    assert kept.epochs_done == 1
    assert not list(folder.glob(".*"))
    train(cells, split, recipe, folder, resume=True, quiet=True)
    same_end(folder, undisturbed)


def test_a_second_process_is_kept_out_of_a_run(
    cells: Cells, split: Split, recipe: Recipe, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused before it looks at what the first has written so far, and the first is not disturbed."""
    folder, refused = tmp_path / "run", []
    write = loop.write_checkpoint

    def meanwhile(where: Path, checkpoint: Checkpoint) -> None:
        write(where, checkpoint)
        with pytest.raises(UsageError, match=rf"run: process {os.getpid()} on .* is training there; wait for its end"):
            train(cells, split, recipe, folder, resume=True, quiet=True)
        refused.append(checkpoint.epochs_done)

    monkeypatch.setattr(loop, "write_checkpoint", meanwhile)
    train(cells, split, recipe, folder, quiet=True)
    assert refused == [1, 2, 3]
    same_end(folder, undisturbed)
    assert not list(folder.glob(".*"))


def copy(source: Path, target: Path) -> None:
    target.mkdir()
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())


def test_a_folder_with_a_run_is_not_overwritten(cells: Cells, split: Split, recipe: Recipe, undisturbed: Path) -> None:
    before = {path.name: path.read_bytes() for path in undisturbed.iterdir()}
    with pytest.raises(UsageError, match="already holds a run of 3 epochs; add --resume, or choose another --out"):
        train(cells, split, recipe, undisturbed, quiet=True)
    assert {path.name: path.read_bytes() for path in undisturbed.iterdir()} == before


@pytest.mark.parametrize("what", ["recipe", "seed", "cells", "split"])
def test_a_run_goes_on_with_its_own_settings_and_data_only(
    cells: Cells, split: Split, recipe: Recipe, undisturbed: Path, what: str
) -> None:
    before = {path.name: path.read_bytes() for path in undisturbed.iterdir()}
    arguments = {
        "recipe": (cells, split, replace(recipe, learning_rate=2e-3)),
        "seed": (cells, split, recipe),
        "cells": (replace(cells, fingerprint="other"), split, recipe),
        "split": (cells, split_cells(cells, fold=1, folds=4), recipe),
    }[what]
    with pytest.raises(UsageError, match="its run has other settings, data or seed"):
        train(*arguments, undisturbed, seed=int(what == "seed"), resume=True, quiet=True)
    assert {path.name: path.read_bytes() for path in undisturbed.iterdir()} == before


@pytest.mark.parametrize("resume", [True, False])
def test_a_truncated_checkpoint_is_refused(
    cells: Cells, split: Split, recipe: Recipe, undisturbed: Path, tmp_path: Path, resume: bool
) -> None:
    copy(undisturbed, tmp_path / "run")
    path = tmp_path / "run" / NAME
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match=f"{NAME}: damaged.*choose another --out"):
        train(cells, split, recipe, tmp_path / "run", resume=resume, quiet=True)
