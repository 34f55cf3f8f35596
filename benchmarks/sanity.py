"""Do maps depend on the weights, and not on the seed? Correlation of pixel relevance with that of the model itself.

Weights are permuted within each parameter, from the classifier down to the filters, and stay so (Adebayo et al. 2018,
arXiv 1810.03292). A map that stays the same shows the picture, not the model. Against that: other seeds of the fire
mask, and the mirrored picture, whose maps should stay nearly the same. The class is that of the unchanged model.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from scipy.stats import spearmanr

import leukonca
from leukonca.data.images import read_image

CASCADE = (
    ("last layer", ("head.2.weight", "head.2.bias")),
    ("both layers of the head", ("head.0.weight", "head.0.bias")),
    ("and W1", ("update_weight",)),
    ("and W0, b0", ("hidden_weight", "hidden_bias")),
    ("and the filters: everything", ("kernels", "kernel_bias")),
)


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    model: Path = Path("runs/acevedo20-compact")
    data: Path = Path("../shared/data/acevedo20")
    cells: int = 30


def permuted(model: leukonca.NCAClassifier, names: tuple[str, ...], seed: int) -> leukonca.NCAClassifier:
    weights = model.weights()
    rng = np.random.default_rng(seed)
    for name in names:
        weights[name] = rng.permutation(weights[name].ravel()).reshape(weights[name].shape)
    return type(model).from_weights(model.config, weights)


def main(settings: Settings) -> None:
    split = json.loads((settings.model / "split.json").read_text(encoding="utf-8"))["validation"]
    chosen = np.random.default_rng(1).choice(len(split), settings.cells, replace=False)
    model = leukonca.load(settings.model)
    own = leukonca.Explainer(model)
    randomised, done = {}, ()
    for name, parameters in CASCADE:
        done += parameters
        randomised[name] = leukonca.Explainer(permuted(model, done, 5))
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for index in chosen.tolist():
        image = read_image(settings.data / split[index])
        why = own(image)

        def compare(name: str, other: np.ndarray, known: np.ndarray = why.pixel_map().ravel()) -> None:  # noqa: B008
            by_size = spearmanr(np.abs(known), np.abs(other.ravel())).statistic
            found[name].append((float(by_size), float(np.corrcoef(known, other.ravel())[0, 1])))

        compare("nothing; another seed", own(image, target=why.predicted, seed=1).pixel_map())
        mirrored = own(np.ascontiguousarray(image[:, ::-1]), target=why.predicted).pixel_map()
        compare("nothing; the picture mirrored", mirrored[:, ::-1])
        for name, explainer in randomised.items():
            compare(name, explainer(image, target=why.predicted).pixel_map())
    print(f"| permuted | sizes, rank correlation | signed, linear correlation |\n|{'---|' * 3}")
    for name, values in found.items():
        mean, error = np.mean(values, axis=0), np.std(values, axis=0, ddof=1) / np.sqrt(len(values))
        print(f"| {name} | {mean[0]:.2f} ± {error[0]:.2f} | {mean[1]:.2f} ± {error[1]:.2f} |")


if __name__ == "__main__":
    main(tyro.cli(Settings))
