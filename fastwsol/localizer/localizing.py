"""A classifier and what was trained behind it, as one network that makes maps: evaluation and prediction share it."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastwsol.localizer.localizers import Localizer, available
from fastwsol.localizer.mask_head import MaskHead
from fastwsol.network.cam import class_activation_maps
from fastwsol.network.classifier import Classifier


class Passed(NamedTuple):
    """What a forward pass over N images gives."""

    logits: Tensor
    """[N, classes]."""
    features: Tensor
    """What class maps are made from: [N, C, h, w]."""
    cut: Tensor | None
    """The features of the cut, where there is a mask head: what `Classifier.trunk` gives for a tail."""
    mask: Tensor | None
    """float32 [N, h', w'] in 0..1, where there is a mask head."""

    def rows(self, rows: Tensor) -> "Passed":
        """The same of the images `rows`, int64, in that order."""
        return Passed(*(None if each is None else each[rows] for each in self))  # type: ignore[arg-type]


class LocalizingModel(nn.Module):
    """A classifier, and the mask head behind it where one was trained."""

    def __init__(self, network: Classifier, head: MaskHead | None = None) -> None:
        super().__init__()
        self.network, self.head = network, head

    @property
    def localizers(self) -> tuple[Localizer, ...]:
        """Those whose maps can be made."""
        return available(("mask",) if self.head is not None else ())

    def forward(self, images: Tensor) -> Passed:
        if self.head is None:
            return Passed(*self.network(images), None, None)
        cut = self.network.trunk(images, "tail")
        logits, features = self.network.tail(cut, "tail")
        return Passed(logits, features, cut, self.head(self.network.cells_of_cut(cut)))

    def maps(self, name: str, passed: Passed, classes_N: Tensor) -> Tensor:
        """The maps of a localizer, float32 [N, h, w], of one class an image; they carry no gradient. classes: int64."""
        weight = self.network.classifier.weight
        if name == "cam":
            return class_activation_maps(passed.features, weight, classes_N)
        if name == "cam-positive":
            return class_activation_maps(passed.features, weight.clamp(min=0), classes_N)
        assert passed.mask is not None
        if name == "mask":
            return passed.mask
        positive = class_activation_maps(passed.features, weight.clamp(min=0), classes_N)
        return passed.mask * min_max(upsampled(positive, passed.mask.shape[1], passed.mask.shape[2]))

    def map_sizes(self, size: int, device: torch.device) -> dict[str, tuple[int, int]]:
        """Height and width of each localizer's maps of images of `size` pixels a side."""
        with torch.no_grad():
            passed = self(torch.zeros((1, 3, size, size), device=device))
            nothing = torch.zeros(1, dtype=torch.int64, device=device)
            shapes = {each.name: self.maps(each.name, passed, nothing).shape for each in self.localizers}
        return {name: (shape[1], shape[2]) for name, shape in shapes.items()}

    def classes_inside(self, passed: Passed, masks_NHW: Tensor) -> Tensor:
        """What the tail says of the features under masks of the cut's grid, softmax float64 [N, classes]."""
        assert passed.cut is not None
        logits, _ = self.network.tail(self.network.masked(passed.cut, masks_NHW), "tail")
        return logits.double().softmax(dim=1)


def upsampled(maps_NHW: Tensor, height: int, width: int) -> Tensor:
    """Maps at another size, bilinear between the centres of cells, as maps are upsampled to pixels."""
    return F.interpolate(maps_NHW[:, None], size=(height, width), mode="bilinear", align_corners=False)[:, 0]


def min_max(maps_NHW: Tensor) -> Tensor:
    """Each map scaled to 0..1 by its own extremes; 0 for a constant one."""
    low, high = maps_NHW.amin(dim=(1, 2), keepdim=True), maps_NHW.amax(dim=(1, 2), keepdim=True)
    return (maps_NHW - low) / (high - low).clamp(min=torch.finfo(maps_NHW.dtype).tiny)
