"""What every network offers, whichever it is: nothing outside this room asks which one it has."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn


class Classifier(nn.Module, ABC):
    """A classifier whose logits are a linear layer on averaged features, so that class activation maps can be made.

    `forward(images)` gives `(logits, features)`. images: float [N, 3, S, S], normalised; logits: [N, classes];
    features: [N, C, h, w], what the linear layer averages, detached: maps are made from them and carry no gradient.
    """

    @property
    @abstractmethod
    def classifier_weight(self) -> Tensor:
        """The linear layer's weight: [classes, C]."""

    @property
    @abstractmethod
    def map_stride(self) -> int:
        """Pixels of the network's square that a cell of its maps stands for, a side."""

    @abstractmethod
    def parameter_groups(self, weight_decay: float, backbone_lr_mult: float) -> list[dict[str, Any]]:
        """The parameters for the optimizer, each group with `params`, `weight_decay` and `lr_mult`.

        weight_decay: of weights that are no biases and no BN's; backbone_lr_mult: the factor on the learning rate of
        all but the last layers.
        """
