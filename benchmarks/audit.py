"""Does the model decide by the background? Relevance outside the cell, for every class that it gives.

Validation cells, as many of each class; where the cell is, is guessed from its stain (`leukonca explain --mask auto`).
"""

from collections import defaultdict

from leukonca.data.images import read_image
from leukonca.errors import DataError
from leukonca.explain.audit import Audit
from leukonca.explain.segmentation import segment
from leukonca.progress import track
from subject import CENTER, Row, Subject, spread

A_CLASS = 20


def measure(subject: Subject) -> Row:
    audit, outside, without = Audit(), defaultdict(list), 0
    paths = [path for each in subject.by_class(subject.few(A_CLASS)).values() for path in each]
    for path in track(paths, "audit", len(paths)):
        image = read_image(subject.shared / CENTER / path)
        try:
            mask = segment(image)
        except DataError:
            without += 1
            continue
        why = subject.explain(image, mask=mask)
        audit.add(path, why)
        outside[why.target].append(why.inside()["background"])
    told = audit.result()
    rows = [
        {"class": name, **told["classes"][name], "outside": spread(outside[name])}
        for name in subject.explainer.classes
        if name in outside
    ]
    return {"cells": len(paths) - without, "without_mask": without, "rows": rows, "flagged": told["flagged"]}
