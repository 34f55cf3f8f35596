"""Do maps depend on the weights? Correlation of pixel relevance with that of the model itself.

Weights are permuted within each parameter, from the classifier down to the filters, and stay so (Adebayo et al. 2018,
arXiv 1810.03292). A map that stays the same shows the picture, not the model. What should change little instead, other
seeds and the moved picture, is in stability.py. The class is that of the unchanged model.
"""

from collections import defaultdict

import numpy as np
from scipy.stats import spearmanr

import leukonca
from leukonca.progress import track
from subject import UM, Row, Subject, spread

CELLS = 16

CASCADE = (
    ("last layer", ("head.2.weight", "head.2.bias")),
    ("both layers of the head", ("head.0.weight", "head.0.bias")),
    ("and W1", ("update_weight",)),
    ("and W0, b0", ("hidden_weight", "hidden_bias")),
    ("and the filters: everything", ("kernels", "kernel_bias")),
)


def permuted(model: leukonca.NCAClassifier, names: tuple[str, ...], seed: int) -> leukonca.NCAClassifier:
    weights = model.weights()
    rng = np.random.default_rng(seed)
    for name in names:
        weights[name] = rng.permutation(weights[name].ravel()).reshape(weights[name].shape)
    return type(model).from_weights(model.config, weights)


def measure(subject: Subject) -> Row:
    randomised, done = {}, ()
    for name, parameters in CASCADE:
        done += parameters
        randomised[name] = leukonca.Explainer(permuted(subject.module, done, 5))
    found: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    cells = subject.cells(CELLS, seed=1)
    for _, image in track(cells, "sanity", len(cells)):
        why = subject.explain(image)
        known = why.pixel_map().ravel()
        others = {"nothing; another seed": subject.explain(image, target=why.predicted, seed=1)}
        others |= {name: explainer(image, target=why.predicted, image_um=UM) for name, explainer in randomised.items()}
        for name, other in others.items():
            pixels = other.pixel_map().ravel()
            by_size = spearmanr(np.abs(known), np.abs(pixels)).statistic
            signed = np.corrcoef(known, pixels)[0, 1]
            found[name].append((by_size, signed, spearmanr(why.channels, other.channels).statistic))
    rows = []
    for name, values in found.items():
        size, signed, channels = np.array(values).T
        rows.append({"permuted": name, "size": spread(size), "signed": spread(signed), "channels": spread(channels)})
    return {"cells": len(cells), "rows": rows}
