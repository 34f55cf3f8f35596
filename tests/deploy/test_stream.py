import csv
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from leukonca import Predictor
from leukonca.deploy import stream
from leukonca.deploy.predictor import Answers
from leukonca.deploy.stream import NAMED, predict_files
from leukonca.errors import UsageError

Save = Callable[..., Path]


def write_cells(folder: Path, number: int) -> list[str]:
    folder.mkdir(exist_ok=True)
    paths = []
    for i in range(number):
        shade = np.linspace(20 * i, 255, 40 * 40 * 3).reshape(40, 40, 3).astype(np.uint8)
        Image.fromarray(shade).save(folder / f"{i:03}.png")
        paths.append(str(folder / f"{i:03}.png"))
    return paths


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_rows_are_what_the_predictor_says_in_the_order_given(save_model: Save, tmp_path: Path) -> None:
    predictor = Predictor(save_model())
    paths = [*reversed(write_cells(tmp_path / "cells", 7)), str(tmp_path / "gone.png")]
    paths.insert(3, str(tmp_path / "cells" / "002.png"))
    outcome = predict_files(predictor, paths, tmp_path / "o.csv", runs=2, seed=4, image_um=30.0, batch_size=3)
    rows = read(tmp_path / "o.csv")
    assert [row["path"] for row in rows] == paths
    expected = predictor([np.asarray(Image.open(path)) for path in paths[:-1]], runs=2, seed=4, image_um=30.0)
    for row, label, flag, uncertainty, numbers in zip(
        rows, expected.labels, expected.flags, expected.uncertainty, expected.probabilities, strict=False
    ):
        assert (row["label"], row["flag"], row["error"]) == (label, flag, "")
        assert row["probability"] == f"{numbers.max():.6f}"
        assert row["uncertainty"] == f"{uncertainty:.6f}"
        assert [row[name] for name in predictor.classes] == [f"{number:.6f}" for number in numbers]
    assert rows[-1]["error"] == "no such file"
    assert outcome.counts == {name: expected.labels.count(name) for name in predictor.classes}
    flagged = [label for label, flag in zip(expected.labels, expected.flags, strict=True) if flag == "uncertain"]
    assert outcome.doubtful == {name: flagged.count(name) for name in predictor.classes}
    assert outcome.uncertain == len(flagged)
    assert outcome.reasons == ((paths[-1], "no such file"),)
    assert (outcome.done, outcome.skipped) == (8, 1)


def test_the_file_does_not_depend_on_the_batch_size(save_model: Save, tmp_path: Path) -> None:
    predictor = Predictor(save_model())
    paths = write_cells(tmp_path / "cells", 6)
    written = set()
    for size in (1, 4, 100):
        predict_files(predictor, paths, tmp_path / "o.csv", batch_size=size)
        written.add((tmp_path / "o.csv").read_bytes())
    assert len(written) == 1


def test_many_files_are_never_held_at_once(save_model: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor(save_model())
    lock = threading.Lock()
    read_so_far, classified, most = 0, 0, 0
    answers = predictor.answers

    def read_image(path: Path) -> np.ndarray:
        nonlocal read_so_far, most
        with lock:
            read_so_far += 1
            most = max(most, read_so_far - classified)
        return np.zeros((40, 40, 3), np.uint8)

    def count(squares: np.ndarray, **settings: Any) -> Answers:
        nonlocal classified
        found = answers(squares[:1], **settings)
        with lock:
            classified += len(squares)
        return Answers(*(part.repeat(len(squares), axis=0) for part in found))

    monkeypatch.setattr(stream, "read_image", read_image)
    monkeypatch.setattr(predictor, "answers", count)
    predict_files(predictor, [f"{i}.png" for i in range(500)], tmp_path / "o.csv", batch_size=8)
    assert len(read(tmp_path / "o.csv")) == read_so_far == 500
    assert most <= 4 * 8


def test_only_the_first_reasons_are_kept(save_model: Save, tmp_path: Path) -> None:
    paths = [f"{i}.png" for i in range(NAMED + 9)]
    outcome = predict_files(Predictor(save_model()), paths, tmp_path / "o.csv")
    assert outcome.skipped == NAMED + 9
    assert [path for path, _ in outcome.reasons] == paths[:NAMED]
    assert [row["path"] for row in read(tmp_path / "o.csv")] == paths


def test_an_overflow_costs_one_row(save_model: Save, tmp_path: Path) -> None:
    paths = write_cells(tmp_path / "cells", 2)
    outcome = predict_files(Predictor(save_model(strength=1e9)), paths, tmp_path / "o.csv")
    assert outcome.skipped == 2
    assert all("overflow" in row["error"] and row["label"] == "" for row in read(tmp_path / "o.csv"))


def test_settings_are_checked_before_anything_is_written(save_model: Save, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="runs 0"):
        predict_files(Predictor(save_model()), ["a.png"], tmp_path / "new" / "o.csv", runs=0)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError])
def test_an_interruption_leaves_the_old_file_and_nothing_else(
    save_model: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: type[BaseException]
) -> None:
    predictor = Predictor(save_model())
    paths = write_cells(tmp_path / "cells", 6)
    (tmp_path / "out").mkdir()
    out = tmp_path / "out" / "o.csv"
    out.write_text("old")
    first = predictor.answers
    calls = iter([first])

    def fail_at_the_second(*args: object, **settings: object) -> object:
        for call in calls:
            return call(*args, **settings)  # type: ignore[arg-type]
        raise failure

    monkeypatch.setattr(predictor, "answers", fail_at_the_second)
    before = threading.active_count()
    with pytest.raises(failure):
        predict_files(predictor, paths, out, batch_size=2)
    assert list(out.parent.iterdir()) == [out]
    assert out.read_text() == "old"
    assert threading.active_count() == before
