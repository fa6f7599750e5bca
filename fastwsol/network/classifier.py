"""What every network offers, whichever it is: nothing outside this package asks which one it has."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from fastwsol.config import TrainPart


class Classifier(nn.Module, ABC):
    """A classifier whose logits are a linear layer on averaged features, so that class activation maps can be made.

    `forward(images)` gives `(logits, features)`. images: float [N, 3, S, S], normalised; logits: [N, classes];
    features: [N, C, h, w], what the linear layer averages, detached: maps are made from them and carry no gradient.

    It can be cut in two places: `tail(trunk(images))`, where its family is split, and before its last layer
    `logits_of_pooled(pooled_features(images))`, give the logits of `forward(images)`.
    """

    trained_part: TrainPart = "all"

    @abstractmethod
    def trunk(self, images: Tensor) -> Tensor:
        """The features where the family is split, [N, c, h, w]. Raises UserError where it has no split."""

    @abstractmethod
    def tail(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The logits, and the features that maps are made from, of what `trunk` gives."""

    def trunk_cells(self, features: Tensor) -> Tensor:
        """What `trunk` gives as cells that lie over the image: [N, c, h, w]."""
        return features

    def masked(self, features: Tensor, mask_NHW: Tensor) -> Tensor:
        """What `trunk` gives, each cell times the mask's value there, [N, h, w]."""
        return features * mask_NHW[:, None]

    @abstractmethod
    def pooled_features(self, images: Tensor) -> Tensor:
        """The pooled features, which the last layer reads: [N, C, 1, 1]. The family need not be split."""

    @abstractmethod
    def pooled_of_trunk(self, features: Tensor) -> Tensor:
        """The same from what `trunk` gives."""

    def logits_of_pooled(self, pooled: Tensor) -> Tensor:
        """The logits of pooled features [N, C, 1, 1]."""
        logits: Tensor = self.classifier(pooled.flatten(1))
        return logits

    @property
    @abstractmethod
    def classifier(self) -> nn.Linear:
        """The last layer: its weight is [classes, C]."""

    @property
    @abstractmethod
    def map_stride(self) -> int:
        """Pixels of the network's square that a cell of its maps stands for, a side."""

    @abstractmethod
    def tail_modules(self) -> list[nn.Module]:
        """The modules behind the trunk. Raises UserError where the family has none."""

    @abstractmethod
    def in_backbone(self, name: str) -> bool:
        """Whether the parameter `name` belongs to the layers whose learning rate --backbone-lr-mult changes."""

    @property
    def classifier_names(self) -> tuple[str, ...]:
        """The names of the last layer's weight and bias among the tensors of `state_dict`."""
        own = {id(each) for each in self.classifier.parameters()}
        return tuple(name for name, each in self.named_parameters() if id(each) in own)

    def train_only(self, part: TrainPart) -> None:
        """Freeze what is no part of `part`: its weights get no gradient and its BN stays in evaluation mode."""
        self.trained_part = part
        trained = {id(each) for module in self._modules_of(part) for each in module.parameters()}
        for parameter in self.parameters():
            parameter.requires_grad_(id(parameter) in trained)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Classifier":
        """As torch's; frozen modules stay in evaluation mode."""
        super().train(mode and self.trained_part == "all")
        if mode and self.trained_part != "all":
            self.training = True
            for module in self._modules_of(self.trained_part):
                module.train()
        return self

    def tensors_before(self, part: TrainPart) -> dict[str, Tensor]:
        """The weights and buffers, by name, that stand before a part, so that training it leaves them as they are."""
        modules = self._modules_of(part)
        trained = {id(each) for module in modules for each in (*module.parameters(), *module.buffers())}
        return {name: each for name, each in self.state_dict(keep_vars=True).items() if id(each) not in trained}

    def _modules_of(self, part: TrainPart) -> list[nn.Module]:
        if part == "all":
            return [self]
        return [self.classifier] if part == "classifier" else self.tail_modules()

    def undecayed(self) -> set[str]:
        """The names of parameters of two dimensions and more that get no weight decay."""
        return set()

    def parameter_groups(self, weight_decay: float, backbone_lr_mult: float) -> list[dict[str, Any]]:
        """The trained parameters for the optimizer, each group with `params`, `weight_decay` and `lr_mult`.

        weight_decay: of weights that are no biases, no BN's and not `undecayed`; backbone_lr_mult: the factor on the
        learning rate of all but the last layers.
        """
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        undecayed = self.undecayed()
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                decay = weight_decay if parameter.ndim > 1 and name not in undecayed else 0.0
                lr_mult = backbone_lr_mult if self.in_backbone(name) else 1.0
                groups.setdefault((decay, lr_mult), []).append(parameter)
        return [
            {"params": parameters, "weight_decay": decay, "lr_mult": lr_mult}
            for (decay, lr_mult), parameters in groups.items()
        ]
