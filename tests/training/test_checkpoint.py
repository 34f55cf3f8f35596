"""A run's state on disk: complete, whole, and refused when damaged."""

import errno
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from leukonca import NCAClassifier
from leukonca.errors import DataError, ModelError
from leukonca.training.checkpoint import NAME, Checkpoint, gather, read_checkpoint, restore, write_checkpoint
from leukonca.training.optimisers import optimisers
from leukonca.training.recipe import Recipe

Run = tuple[NCAClassifier, dict[str, Tensor], *tuple[torch.optim.Optimizer, ...]]
MUON = Recipe(learning_rate=0.02, muon_rate=0.01)


def new_run(seed: int, *, muon: bool = False) -> Run:
    torch.manual_seed(seed)
    model = NCAClassifier(preset="tiny", channels=6, hidden=5, steps=3)
    average = {name: torch.rand_like(value) for name, value in model.state_dict().items()}
    return model, average, *optimisers(model, MUON if muon else replace(MUON, muon_rate=None))


def steps(run: Run, count: int) -> None:
    model, _, *all_optimisers = run
    for step in range(count):
        model.zero_grad()
        model(
            torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(step)), seed=step
        ).square().sum().backward()
        for optimiser in all_optimisers:
            optimiser.step()


def checkpoint(run: Run, **facts: Any) -> Checkpoint:
    known = {"epochs_done": 2, "steps_done": 7, "history": ({"epoch": 1, "loss": 0.1}, {"epoch": 2}), "run": "abc"}
    return Checkpoint(gather(*run), **{**known, **facts})


@pytest.mark.parametrize("muon", [False, True])
def test_a_restored_run_goes_on_with_the_same_bits(tmp_path: Path, muon: bool) -> None:
    run, other = new_run(0, muon=muon), new_run(1, muon=muon)
    steps(run, 4)
    write_checkpoint(tmp_path, checkpoint(run))
    read = read_checkpoint(tmp_path)
    assert read is not None
    assert (read.epochs_done, read.steps_done, read.run) == (2, 7, "abc")
    assert read.history == ({"epoch": 1, "loss": 0.1}, {"epoch": 2})
    steps(other, 1)  # whatever was there before is replaced
    restore(read.tensors, *other)
    assert all(torch.equal(value, run[1][name]) for name, value in other[1].items())
    steps(run, 3)
    steps(other, 3)
    assert all(torch.equal(value, run[0].state_dict()[name]) for name, value in other[0].state_dict().items())


def test_a_checkpoint_of_a_run_before_its_first_step(tmp_path: Path) -> None:
    run, other = new_run(0), new_run(1)
    write_checkpoint(tmp_path, checkpoint(run))
    read = read_checkpoint(tmp_path)
    assert read is not None
    restore(read.tensors, *other)
    steps(run, 2)
    steps(other, 2)
    assert torch.equal(run[0].kernels, other[0].kernels)


def test_gathered_tensors_do_not_change_with_the_run() -> None:
    run = new_run(0)
    steps(run, 1)
    before = gather(*run)
    kept = {name: value.clone() for name, value in before.items()}
    steps(run, 1)
    assert all(torch.equal(value, before[name]) for name, value in kept.items())


def test_it_is_tensors_alone(tmp_path: Path) -> None:
    run = new_run(0)
    steps(run, 1)
    write_checkpoint(tmp_path, checkpoint(run))
    names = load_file(tmp_path / NAME)
    parameters = len(list(run[0].parameters()))
    for part, count in (("model.", parameters), ("average.", parameters), ("optimiser.", 3 * parameters)):
        assert sum(name.startswith(part) for name in names) == count


def test_no_folder_or_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path) is None
    assert read_checkpoint(tmp_path / "nothing") is None


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_checkpoint_is_named(tmp_path: Path, share: float) -> None:
    write_checkpoint(tmp_path, checkpoint(new_run(0)))
    data = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(data[: int(share * len(data))])
    for finished, remedy in ((False, "delete it to start the run anew"), (True, "choose another --out")):
        (tmp_path / "config.json").unlink(missing_ok=True)
        if finished:  # a model that is there would not be trained anew
            (tmp_path / "config.json").touch()
        with pytest.raises(ModelError, match=rf"{NAME}: damaged .*{remedy}"):
            read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "metadata",
    [None, {}, {"leukonca": "{"}, {"leukonca": "[]"}, {"leukonca": json.dumps({"epochs_done": 1})}, {"other": "{}"}],
)
def test_tensors_of_something_else_are_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"x": torch.zeros(3)}, tmp_path / NAME, metadata=metadata)
    with pytest.raises(ModelError, match=f"{NAME}: damaged"):
        read_checkpoint(tmp_path)


def test_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(ModelError, match=f"{NAME}: damaged"):
        read_checkpoint(tmp_path)


def test_a_full_disk_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = new_run(0)
    write_checkpoint(tmp_path, checkpoint(run))
    before = (tmp_path / NAME).read_bytes()

    def fill_up(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_up)
    with pytest.raises(DataError, match=f"{NAME}: the disk is full"):
        write_checkpoint(tmp_path, checkpoint(run, epochs_done=3))
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert (tmp_path / NAME).read_bytes() == before
