"""Two processes train as one does, to rounding; what one of them meets, both tell."""

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import leukonca
from leukonca.cli import main
from leukonca.data.cells import Cells
from leukonca.data.splits import Split
from leukonca.data.synthetic import write_synthetic
from leukonca.errors import UsageError
from leukonca.training.checkpoint import NAME, read_checkpoint
from leukonca.training.distributed import Ranks, join
from leukonca.training.loop import train
from leukonca.training.recipe import Recipe

PAIRS = """
import contextlib, json, os, pickle, signal, socket, sys
from dataclasses import replace
from pathlib import Path
import numpy as np
import torch
from safetensors.numpy import save_file
from torch.nn.parallel import DistributedDataParallel
import leukonca
from leukonca.cli import main
from leukonca.report.training import train_and_test
from leukonca.training import distributed, loop

job = json.loads(sys.argv[1])
cells, split, recipe = pickle.loads(Path(job["given"]).read_bytes())

# Everything is imported and compiled once, before the forks; without threads, which a fork would lose.
torch.set_num_threads(1)
loop.train(cells, split, replace(recipe, epochs=1, draws=1), Path(job["given"] + " warm"), quiet=True)
weights = leukonca.NCAClassifier(preset="tiny", channels=6, hidden=8, steps=5)
with torch.no_grad():
    for value in weights.parameters():
        value.normal_(std=0.2)

def train_with_trouble(rank, folder, trouble):
    settings, seed = recipe, 0
    if trouble == "other seed":
        seed = rank
    if trouble == "steep learning":
        settings = replace(recipe, learning_rate=1e30, clip=None)
    if trouble == "steep gradient in one" and rank == 1:
        plain = loop.loss_of
        def steep(*arguments):
            loss = plain(*arguments)
            return loss.detach() + (loss - loss.detach()) * 1e30 * 1e30
        loop.loss_of = steep
    if trouble == "killed" and rank == 1:
        step, seen = loop._step, []
        def watched(*arguments):
            seen.append(1)
            if len(seen) == 6:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(*arguments)
        loop._step = watched
    engine = "torch" if trouble == "other engine" else "auto"
    loop.train(cells, split, settings, Path(folder), seed=seed, engine=engine, resume=True)

def gradients(rank, folder, engine):
    weights.engine = engine
    distributed.join("cpu")
    model = DistributedDataParallel(weights)
    x, labels, seeds = (torch.from_numpy(array) for array in np.load(job["given"] + ".npz").values())
    mine = slice(3 * rank, 3 * rank + 3)
    torch.nn.functional.cross_entropy(model(x[mine], seed=seeds[mine]), labels[mine]).backward()
    found = {name: value.grad.numpy() for name, value in weights.named_parameters()}
    save_file(found, f"{folder} {rank}")

def command(rank, folder, words):
    with open(f"{folder} {rank}.txt", "w") as out, contextlib.redirect_stdout(out):
        assert main([*words, "--out", folder]) == 0

save_file(weights.weights(), job["given"] + ".safetensors")
for kind, folder, setting in job["runs"]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in (0, 1):
        child = os.fork()
        if child == 0:
            os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            try:
                {"train": train_with_trouble, "gradients": gradients, "command": command}[kind](rank, folder, setting)
                said = "done"
            except BaseException as error:
                said = f"{type(error).__name__}: {error}"
            os.write(1, (json.dumps([folder, rank, said]) + "\\n").encode())  # one write, so that lines stay whole
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
"""

RUNS = [
    ("train", "undisturbed", ""),
    ("train", "resumed", "killed"),
    ("train", "resumed", ""),
    ("train", "other engine", "killed"),
    ("train", "other engine", "other engine"),
    ("train", "steep learning", "steep learning"),
    ("train", "steep gradient", "steep gradient in one"),
    ("train", "two seeds", "other seed"),
    ("gradients", "gradients of cpu", "cpu"),
    ("gradients", "gradients of torch", "torch"),
]

SMALL = ["--preset", "tiny", "--channels", "8", "--hidden", "12", "--steps", "4", "--grid", "16", "--epochs", "2"]


@pytest.fixture(scope="module")
def odd(recipe: Recipe) -> Recipe:
    """The last batch of an epoch has one image: nothing is left for one of two processes."""
    return replace(recipe, draws=13)


@pytest.fixture(scope="module")
def pairs(cells: Cells, split: Split, odd: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what `RUNS` leave, each in two processes of its own; ``said.json`` holds their last words."""
    root = tmp_path_factory.mktemp("pairs")
    (root / "given").write_bytes(pickle.dumps((cells, split, odd)))
    rng = np.random.default_rng(0)
    images = rng.normal(size=(6, 3, 9, 11)).astype(np.float32)
    np.savez(root / "given.npz", images, rng.integers(0, 13, 6), np.arange(6))
    write_synthetic(root / "cells", "synthetic_cream", 6, seed=1, quiet=True)
    runs = [
        *((kind, str(root / name), setting) for kind, name, setting in RUNS),
        ("command", str(root / "command"), ["train", "--data", f"folder={root / 'cells'}", *SMALL]),
    ]
    words = [sys.executable, "-c", PAIRS, json.dumps({"given": str(root / "given"), "runs": runs})]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    said: dict[str, dict[str, list[str]]] = {}
    for line in done.stdout.splitlines():
        folder, rank, text = json.loads(line)
        said.setdefault(Path(folder).name, {}).setdefault(str(rank), []).append(text)
    (root / "said.json").write_text(json.dumps(said))
    return root


def said(pairs: Path, run: str) -> dict[str, list[str]]:
    words: dict[str, list[str]] = json.loads((pairs / "said.json").read_text())[run]
    return words


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_two_processes_end_with_the_weights_of_one(
    cells: Cells, split: Split, odd: Recipe, pairs: Path, tmp_path: Path
) -> None:
    alone = train(cells, split, odd, tmp_path / "alone", quiet=True).weights()
    assert said(pairs, "undisturbed") == {"0": ["done"], "1": ["done"]}
    together = load_file(pairs / "undisturbed" / "model.safetensors")
    for name, array in alone.items():
        np.testing.assert_allclose(together[name], array, atol=1e-5, err_msg=name)
    assert any(not np.array_equal(together[name], array) for name, array in alone.items())  # it was another sum
    ours, theirs = log_of(tmp_path / "alone"), log_of(pairs / "undisturbed")
    assert [line["processes"] for line in theirs] == [2, 2, 2]
    for one, two in zip(ours, theirs, strict=True):
        for name in ("loss", "accuracy", "validation_loss", "validation_accuracy", "images", "learning_rate"):
            assert two[name] == pytest.approx(one[name], abs=1e-5), name
    names = {path.name for path in (tmp_path / "alone").iterdir()}
    assert {path.name for path in (pairs / "undisturbed").iterdir()} == names  # and no debris of a second writer


def test_the_command_in_two_processes_writes_and_says_once_what_it_does_in_one(pairs: Path, tmp_path: Path) -> None:
    assert said(pairs, "command") == {"0": ["done"], "1": ["done"]}
    words = ["train", "--data", f"folder={pairs / 'cells'}", "--out", str(tmp_path / "alone"), *SMALL, "--quiet"]
    assert main(words) == 0
    assert "macro-F1" in (pairs / "command 0.txt").read_text()
    assert (pairs / "command 1.txt").read_text() == ""
    assert {path.name for path in (pairs / "command").iterdir()} == {path.name for path in tmp_path.glob("alone/*")}
    alone = load_file(tmp_path / "alone" / "model.safetensors")
    for name, array in load_file(pairs / "command" / "model.safetensors").items():
        np.testing.assert_allclose(array, alone[name], atol=1e-5, err_msg=name)


def test_one_of_two_killed_ends_the_other_and_resumed_they_end_with_the_same_bits(pairs: Path) -> None:
    first, second = said(pairs, "resumed")["0"]
    assert first == "LeukoncaError: another process of this run has ended; its own message says why"
    assert second == "done"
    assert said(pairs, "resumed")["1"] == ["done"]  # it was killed in the first run, without a last word
    for name in ("model.safetensors", "config.json", "recipe.json", "split.json"):
        assert (pairs / "resumed" / name).read_bytes() == (pairs / "undisturbed" / name).read_bytes(), name


def test_a_run_may_go_on_with_another_engine_and_its_log_says_so(pairs: Path) -> None:
    assert [line["engine"] for line in log_of(pairs / "other engine")] == ["cpu", "torch", "torch"]
    assert json.loads((pairs / "other engine" / "recipe.json").read_text())["engine"] == "torch"
    undisturbed = load_file(pairs / "undisturbed" / "model.safetensors")
    for name, array in load_file(pairs / "other engine" / "model.safetensors").items():
        np.testing.assert_allclose(array, undisturbed[name], rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("run", ["steep learning", "steep gradient"])
def test_what_diverges_in_one_process_stops_both_with_the_same_words(pairs: Path, run: str) -> None:
    words = said(pairs, run)
    assert words["0"] == words["1"]
    assert words["0"][0].startswith("ModelError: epoch 1: the loss is no longer finite; no epoch was finished yet")
    assert not (pairs / run / NAME).exists()


def test_processes_that_mean_different_runs_refuse_to_start(pairs: Path) -> None:
    words = said(pairs, "two seeds")
    assert words["0"] == words["1"]
    assert words["0"] == [
        "UsageError: the processes of this run do not see the same data and checkpoint: start them on one shared folder"
    ]
    assert read_checkpoint(pairs / "two seeds") is None


@pytest.mark.parametrize("engine", ["cpu", "torch"])
def test_distributed_data_parallel_has_the_gradients_of_the_joined_batch(pairs: Path, engine: str) -> None:
    run = f"gradients of {engine}"
    assert said(pairs, run) == {"0": ["done"], "1": ["done"]}
    model = leukonca.NCAClassifier(preset="tiny", channels=6, hidden=8, steps=5, engine="reference").double()
    given = load_file(pairs / "given.safetensors")
    model.load_state_dict({name: torch.from_numpy(array).double() for name, array in given.items()})
    images, labels, seeds = np.load(pairs / "given.npz").values()
    logits = model(torch.from_numpy(images).double(), seed=seeds)
    torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels)).backward()
    for rank in (0, 1):
        found = load_file(pairs / f"{run} {rank}")
        for name, value in model.named_parameters():
            assert value.grad is not None
            exact = value.grad.numpy()
            np.testing.assert_allclose(found[name], exact, atol=1e-5 * np.abs(exact).max(), err_msg=name)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shares_part_a_batch_and_weigh_it_once(count: int) -> None:
    for size in range(1, 12):
        seen: list[int] = []
        weights = 0.0
        for rank in range(count):
            part, weight = Ranks(rank, count).share(size)
            items = list(range(size))[part]
            assert items  # an engine refuses no images at all
            weights += weight
            if weight:
                assert weight == pytest.approx(len(items) / size)
                seen += items
        assert seen == list(range(size))
        assert weights == pytest.approx(1)


def test_batch_normalisation_needs_two_images_in_each_process() -> None:
    normalised, plain = torch.nn.BatchNorm2d(3), torch.nn.Linear(2, 2)
    with pytest.raises(UsageError, match="take at least 4, or fewer processes"):
        Ranks(0, 2).check(normalised, 3)
    Ranks(0, 2).check(normalised, 4)
    Ranks(0, 2).check(plain, 1)
    Ranks().check(normalised, 1)


@pytest.mark.parametrize("device", ["bogus", "cuda:99"])
def test_a_device_that_is_not_there_is_told_under_torchrun_as_well(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=f"device '{device}' cannot be used here"):
        join(device)
