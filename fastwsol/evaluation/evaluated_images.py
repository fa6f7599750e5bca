"""The images that an evaluation is of: what they show, and what was predicted of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fastwsol.evaluation.metrics import TOP, CamClass, Outcomes, outcomes, ranks
from fastwsol.evaluation.truths import Truths


@dataclass(frozen=True)
class EvaluatedImages:
    """N images, what they show, and what was predicted of them."""

    names: Sequence[str]
    truths: Truths
    labels: NDArray[np.int64] | None
    """[N], indices of `classes`; None where they are not known."""
    predicted: NDArray[np.int64] | None
    """[N, up to 5], indices of `classes`, the likeliest first, -1 beyond what is known; None where nothing was
    classified."""
    classes: Sequence[str]
    """As reports name them."""

    @property
    def knows_five(self) -> bool:
        """Whether the first five classes of every image are known (all, where there are fewer)."""
        expected = min(TOP, len(self.classes))
        return self.predicted is not None and self.predicted.shape[1] == expected and bool((self.predicted >= 0).all())

    @cached_property
    def ranks(self) -> NDArray[np.int64] | None:
        """The rank of each label among the predicted classes, as `metrics.ranks` gives it; None where nothing is known
        of it.
        """
        if self.labels is None or self.predicted is None:
            return None
        return ranks(self.predicted, self.labels)

    def outcomes(self, hits: NDArray[np.bool_], cam_class: CamClass) -> Outcomes:
        """What happened to each image under every metric, by its hits bool [T, N]."""
        return outcomes(hits, self.truths.has_boxes, self.ranks, cam_class, self.knows_five)
