"""Peak memory of one prediction and one training step, each in a new process."""

from dataclasses import asdict

from measuring import Effort, Row, alone


def measure(effort: Effort) -> list[Row]:
    a = effort.architecture
    rows = []
    for who, job, batch in (
        ("ours", "predict", 16),
        ("rival", "predict", 16),
        ("ours", "train", 4),
        ("rival", "train", 4),
        ("ours", "train", 16),
    ):
        question = {"who": who, "jobs": [job], "batch": batch, "repeats": 0, "architecture": asdict(a)}
        found = alone("one.py", question)[job]
        rows.append(
            {"who": who, "job": job, "batch": batch, "before_mb": found["before_mb"], "peak_mb": found["peak_mb"]}
        )
    return rows
