"""What an AE-CFE's autoencoder is trained to do: draw the cell, keep its features, and be blind to the center.

Source: Salehi et al. 2022 (arXiv 2207.00501); what the paper leaves open, as in the authors' code.
"""

import torch
from torch import Tensor

SIGMA = 1.5
"""Of the window of the structural similarity, pixels."""


def similarity_map(first: Tensor, second: Tensor, window: int, *, padding: int = 0) -> Tensor:
    """Structural similarity around every pixel of two batches of images in 0..1.

    Args:
        first, second: [B, C, H, W].
        window: side of the Gaussian window; if even, its middle is the pixel right of and below the centre.
        padding: zeros around the images; 0: only pixels whose window lies within.

    Returns:
        [B, C, H', W'], at most 1.

    Source: Wang et al. 2004 (doi 10.1109/TIP.2003.819861), eq. 13.
    """
    down = _blur(first.shape[-2], window, padding).to(first)  # [H', H]
    across = _blur(first.shape[-1], window, padding).to(first)  # [W', W]

    def mean(images: Tensor) -> Tensor:
        return down @ images @ across.T

    m1, m2 = mean(first), mean(second)
    v1, v2, both = mean(first**2) - m1**2, mean(second**2) - m2**2, mean(first * second) - m1 * m2
    c1, c2 = 0.01**2, 0.03**2
    return (2 * m1 * m2 + c1) * (2 * both + c2) / ((m1**2 + m2**2 + c1) * (v1 + v2 + c2))


def _blur(size: int, window: int, padding: int) -> Tensor:
    """The matrix that a line of `size` pixels is filtered by, [places of the window, size]."""
    line = torch.exp(-((torch.arange(window, dtype=torch.float64) - window // 2) ** 2) / (2 * SIGMA**2))
    # A product with a matrix of bands is many times faster here than a convolution of one channel.
    bands = torch.zeros(size + 2 * padding - window + 1, size + 2 * padding, dtype=torch.float64)
    for place, row in enumerate(bands):
        row[place : place + window] = line / line.sum()
    return bands[:, padding : padding + size]


def domain_distance(first: Tensor, second: Tensor) -> Tensor:
    """How differently the latents of two centers are distributed.

    The mean square of the difference of their means, plus half the symmetric Kullback-Leibler divergence of their
    covariance matrices, each column of which is made a distribution by softmax; mean over all entries of a matrix.

    Args:
        first, second: latents, [N1, L] and [N2, L], with N1, N2 of at least 2.
    """
    means = (first.mean(dim=0) - second.mean(dim=0)).square().mean()
    log_p, log_q = (torch.cov(latents.T).reshape(first.shape[1], -1).log_softmax(dim=0) for latents in (first, second))
    divergence = ((log_p.exp() - log_q.exp()) * (log_p - log_q)).mean()  # KL(p, q) + KL(q, p)
    return means + 0.5 * divergence


def domain_loss(latents: Tensor, centers: Tensor, source: int) -> Tensor:
    """The distances of the source center from every other that a batch holds two images or more of, summed.

    Args:
        latents: [B, L].
        centers: number of each image's center, int64 [B].
        source: number of the source center.
    """
    own = latents[centers == source]
    others = [latents[centers == other] for other in sorted({*centers.tolist()} - {source})]
    distances = [domain_distance(own, other) for other in others if len(own) > 1 and len(other) > 1]
    return torch.stack(distances).sum() if distances else latents.new_zeros(())
