"""Deep descriptor transforming (Wei et al. 2017), for each class: the direction in which the features of its images
differ most. A map is how far a cell lies along it from the class's mean.

A principal component has no sign of its own. It is fixed by a rule: over the class's images the map and the class
activation map of positive weights rise together.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse.linalg
import torch
from torch import Tensor

_TOLERANCE = 1e-10
"""Of the largest eigenvalue, relative."""


class DdtDirections(NamedTuple):
    """Of each of K classes the mean of its images' features and the direction, of length 1: float32 [K, C] both. A
    class that was not seen has zeros.
    """

    means: Tensor
    directions: Tensor

    def to(self, device: torch.device) -> "DdtDirections":
        """The same on a device."""
        return DdtDirections(self.means.to(device), self.directions.to(device))

    def maps(self, features_NCHW: Tensor, classes_N: Tensor | None) -> Tensor:
        """The maps of one class an image, float32 [N, h, w], or, for None, of all [N, K, h, w]; 0 at a class's mean."""
        with torch.autocast(features_NCHW.device.type, enabled=False):
            if classes_N is None:  # the mean last: to subtract it from the features takes a copy of them a class
                along = torch.einsum("nchw,kc->nkhw", features_NCHW.float(), self.directions)
                return along - (self.means * self.directions).sum(1)[:, None, None]
            apart = features_NCHW.float() - self.means[classes_N][:, :, None, None]
            return torch.einsum("nchw,nc->nhw", apart, self.directions[classes_N])


def direction_of(features_NCHW: Tensor, positive_NHW: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the direction of a class's images, float32 [C] both, on their device. positive: the images' class
    activation maps of positive weights.
    """
    cells = features_NCHW.double().permute(0, 2, 3, 1).flatten(0, 2)
    mean = cells.mean(0)
    apart = cells - mean
    direction = _first_component(apart)
    along = apart @ direction
    positive = positive_NHW.double().flatten()
    if (along * (positive - positive.mean())).sum() < 0:
        direction = -direction
    return mean.float(), direction.float()


def _first_component(apart: Tensor) -> Tensor:
    """The first principal component of rows [n, C] whose mean is 0, float64 [C] of length 1; zeros where all rows are
    equal, NaN where one is not finite.

    It is found of the smaller product of the rows with themselves, by Lanczos: power iteration takes some hundred
    products for a part of its digits.
    """
    by_channel = len(apart) > apart.shape[1]
    product = (apart.T @ apart if by_channel else apart @ apart.T).cpu().numpy()
    if not np.isfinite(product).all():  # as of a network that overflows, which is said of its maps
        return torch.full_like(apart[0], torch.nan)
    if not product.any():
        return torch.zeros_like(apart[0])
    start = product[product.diagonal().argmax()]  # ARPACK's own is drawn
    _, vectors = scipy.sparse.linalg.eigsh(product, k=1, which="LA", v0=start, tol=_TOLERANCE)
    vector = torch.from_numpy(vectors[:, 0]).to(apart.device)
    direction = vector if by_channel else apart.T @ vector
    return direction / direction.norm()
