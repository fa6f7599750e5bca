"""How a mask head is trained from class labels alone, behind a frozen classifier.

A mask M of the features F is to keep what tells the class, and no more:

    loss = CE(tail(F M), y) + relu(s_rest) / relu(s) + w mean(M)

s is the logit of the true class above the mean of all logits for F, s_rest the same for F (1 - M); the ratio is 0 where
s <= 0 or s_rest >= s (BAS, Wu et al. 2022). How large a mask is to be follows from no box and no number of a data set:
w is steered so that the rest alone still tells the class of a certain share as many images as F does. Both are
corrected for chance, so that it means the same for 3 classes and for 200, and for good and poor classifiers.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastwsol.host.device import Autocast
from fastwsol.localizer.box_supervision import box_loss
from fastwsol.localizer.mask_head import MaskHead
from fastwsol.network.classifier import Classifier
from fastwsol.network.strided_backward import quicken_backward

REST_TELLS = 0.5
"""The target of the accuracy on the rest, F (1 - M), divided by the accuracy on F, both corrected for chance. Chosen on
the training images of three sets of photographs (bench/results, "The mask head").
"""

_MEMORY = 0.8
"""Of the running means, a step."""
_SOFTNESS = 0.4
"""The share's distance from `REST_TELLS` from which on w is pushed no further."""
_GAIN = 0.03
"""By how much the push, which is 1 at most, moves the lasting part of log w in a step. The push itself is added to it,
which keeps w from swinging.
"""
_LEAST_WHOLE = 0.05
"""Least divisor of the share that the rest tells: a classifier at the level of chance does not steer the mask."""
_LASTING = (-2.5, 1.5)
_LOG_WEIGHTS = (-3.0, 1.0)
"""Bounds of the lasting part of log w, and of log w. The upper one keeps masks from shrinking to the one spot that is
enough where classes are easy to tell: a cell whose share of the evidence is 2.7 times its share of the image stays.
"""

COUNTS = ("correct", "rest_correct", "whole_correct", "images")
"""What a step counts: images whose class the masked features tell, the rest of them, and F itself; and all images."""


class Steering(nn.Module):
    """What steers the loss, as tensors: the area's weight w, which starts at 1; the lasting part of log w; and the
    running means of the shares of images whose class the rest tells, and F does, corrected for chance.
    """

    area_weight: Tensor
    lasting: Tensor
    rest_tells: Tensor
    whole_tells: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self._chance = 1 / classes
        self.register_buffer("area_weight", torch.ones(()))
        self.register_buffer("lasting", torch.zeros(()))
        self.register_buffer("rest_tells", torch.full((), REST_TELLS))
        self.register_buffer("whole_tells", torch.ones(()))

    @torch.no_grad()
    def follow(self, rest_correct: Tensor, whole_correct: Tensor, images: Tensor) -> None:
        """Steer the next step by the counts of the last one, of all processes. Nothing in it waits for the device."""
        for mean, correct in ((self.rest_tells, rest_correct), (self.whole_tells, whole_correct)):
            share = (correct / images - self._chance) / (1 - self._chance)
            mean.lerp_(share.float(), 1 - _MEMORY)
        share = self.rest_tells / self.whole_tells.clamp(min=_LEAST_WHOLE)
        push = ((REST_TELLS - share) / _SOFTNESS).clamp(-1, 1)
        self.lasting.add_(_GAIN * push).clamp_(*_LASTING)
        self.area_weight.copy_(torch.exp((self.lasting + push).clamp(*_LOG_WEIGHTS)))


class MaskTraining(nn.Module):
    """A frozen classifier under the name that its weights have in checkpoints, the head behind it, and what steers the
    head's loss.
    """

    def __init__(self, network: Classifier, network_name: str, head: MaskHead, classes: int) -> None:
        super().__init__()
        self._network_name = network_name
        self.add_module(network_name, network.requires_grad_(False))
        quicken_backward(network)
        self.head = head
        self.steering = Steering(classes)
        self.train()

    @property
    def network(self) -> Classifier:
        """The classifier."""
        network = getattr(self, self._network_name)
        assert isinstance(network, Classifier)
        return network

    def train(self, mode: bool = True) -> "MaskTraining":
        """As torch's; the classifier stays in evaluation mode."""
        super().train(mode)
        self.network.eval()
        return self


class MaskLoss(nn.Module):
    """The loss of a batch of features of the classifier's trunk, float [N, C, h, w], with labels int64 [N] and, where
    there are some, boxes float32 [N, 4] (`box_supervision`); and `COUNTS` of it.
    """

    def __init__(self, training: MaskTraining, autocast: Autocast, share_with_box: float = 1.0) -> None:
        """share_with_box: of the images that are trained on, where some have boxes."""
        super().__init__()
        self.training_, self._autocast, self._share = training, autocast, share_with_box

    def forward(
        self, features: Tensor, labels: Tensor, boxes: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        network, steering = self.training_.network, self.training_.steering
        features = features.float()
        with self._autocast():
            mask = self.training_.head(network.trunk_cells(features))
            with torch.no_grad():
                whole, _ = network.tail(features)
            shown = network.masked(features.repeat(2, *[1] * (features.ndim - 1)), torch.cat([mask, 1 - mask]))
            kept, rest = (each.float() for each in network.tail(shown)[0].chunk(2))
        loss = F.cross_entropy(kept, labels) + ratio_of_rest(whole.float(), rest, labels).mean()
        loss = loss + steering.area_weight * mask.mean()
        if boxes is not None:
            loss = loss + box_loss(mask, boxes, self._share)
        counts = {
            "correct": (kept.argmax(1) == labels).sum(),
            "rest_correct": (rest.argmax(1) == labels).sum(),
            "whole_correct": (whole.argmax(1) == labels).sum(),
            "images": torch.ones_like(labels).sum(),
        }
        return loss, counts


def ratio_of_rest(whole: Tensor, rest: Tensor, labels: Tensor) -> Tensor:
    """relu(s_rest) / relu(s) of each image, [N], from logits [N, K]; 0 where that says nothing (module docstring)."""
    score, score_of_rest = (F.relu(_above_mean(logits, labels)) for logits in (whole, rest))
    says_something = (score > 0) & (score_of_rest < score)
    return torch.where(says_something, score_of_rest / score.clamp(min=1e-6), torch.zeros_like(score))


def _above_mean(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.gather(1, labels[:, None])[:, 0] - logits.mean(1)
