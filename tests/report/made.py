"""A report to test pages with."""

from leukonca.report.content import RunReport


def report(*results, **changes):
    fields = {
        "title": "tiny, trained here",
        "command": "leukonca evaluate runs/tiny --data folder=cells",
        "model": {"preset": "tiny", "parameters": 86413},
        "data": {"center": "here", "images": 1234},
        "recipe": {"learning_rate": 0.0004, "augmentation": {"flips": True}, "classes": ["a", "b"], "resume": None},
        "date": "2024-02-29",
        **changes,
    }
    return RunReport(results=results, **fields)
