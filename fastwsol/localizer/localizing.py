"""A classifier and what was trained behind it, as one network that makes maps: evaluation and prediction share it."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastwsol.localizer.ddt import DdtDirections
from fastwsol.localizer.localizers import LOCALIZERS, Localizer, available
from fastwsol.localizer.mask_head import MaskHead
from fastwsol.network.cam import class_activation_maps
from fastwsol.network.classifier import Classifier


class NetworkOutputs(NamedTuple):
    """What a forward pass over N images gives."""

    logits: Tensor
    """[N, classes]."""
    features: Tensor
    """What class maps are made from: [N, C, h, w]."""
    trunk_features: Tensor | None
    """What `Classifier.trunk` gives for a tail, where there is a mask head."""
    mask: Tensor | None
    """float32 [N, h', w'] in 0..1, where there is a mask head."""

    def trunk_features_of(self, rows: Tensor) -> Tensor:
        """Those of the images `rows`, int64, in that order."""
        assert self.trunk_features is not None
        return self.trunk_features[rows]


class LocalizingModel(nn.Module):
    """A classifier, the mask head behind it where one was trained, and the directions of its classes where they were
    found.
    """

    def __init__(
        self, network: Classifier, head: MaskHead | None = None, directions: DdtDirections | None = None
    ) -> None:
        super().__init__()
        self.network, self.head, self.directions = network, head, directions

    @property
    def localizers(self) -> tuple[Localizer, ...]:
        """Those whose maps can be made."""
        has = {"mask": self.head, "ddt": self.directions}
        return available([name for name, each in has.items() if each is not None])

    def forward(self, images: Tensor) -> NetworkOutputs:
        if self.head is None:
            logits, features = self.network(images)
            return NetworkOutputs(logits, features, None, None)
        of_trunk = self.network.trunk(images)
        logits, features = self.network.tail(of_trunk)
        return NetworkOutputs(logits, features, of_trunk, self.head(self.network.trunk_cells(of_trunk)))

    def maps(self, name: str, passed: NetworkOutputs, classes_N: Tensor | None) -> Tensor:
        """The maps of a localizer: of one class an image, float32 [N, h, w], or of all, float32 [N, K, h, w].

        classes: int64 [N], or None for all. K is 1 where one map is of every class.
        """
        maps = self._maps(name, passed, classes_N)
        return maps if classes_N is not None or LOCALIZERS[name].class_specific else maps[:, None]

    def _maps(self, name: str, passed: NetworkOutputs, classes_N: Tensor | None) -> Tensor:
        """The same, [N, h, w] where one map is of every class.

        `mask-cam` is M (1 + C) / 2, C the CAM of positive weights scaled to 0..1: where the class is likeliest the mask
        as it is, and half of it where nothing speaks for the class.
        """
        weight = self.network.classifier.weight
        if name == "cam":
            return class_activation_maps(passed.features, weight, classes_N)
        if name == "cam-positive":
            return class_activation_maps(passed.features, weight.clamp(min=0), classes_N)
        if name == "ddt":
            assert self.directions is not None
            return self.directions.to(passed.features.device).maps(passed.features, classes_N)
        if name not in ("mask", "mask-cam"):
            raise ValueError(f"no maps are implemented for localizer {name!r}")
        assert passed.mask is not None
        if name == "mask":
            return passed.mask
        positive = class_activation_maps(passed.features, weight.clamp(min=0), classes_N)
        shares = min_max(upsampled(positive, passed.mask.shape[1], passed.mask.shape[2]))
        return (passed.mask if classes_N is not None else passed.mask[:, None]) * (1 + shares) / 2

    def map_sizes(self, size: int, device: torch.device) -> dict[str, tuple[int, int]]:
        """Height and width of each localizer's maps of images of `size` pixels a side."""
        with torch.no_grad():
            passed = self(torch.zeros((1, 3, size, size), device=device))
            nothing = torch.zeros(1, dtype=torch.int64, device=device)
            shapes = {each.name: self.maps(each.name, passed, nothing).shape for each in self.localizers}
        return {name: (shape[1], shape[2]) for name, shape in shapes.items()}

    def classes_inside(self, trunk_features: Tensor, masks_NHW: Tensor) -> Tensor:
        """What the tail says of the trunk's features under masks of their grid, softmax float64 [N, classes]."""
        logits, _ = self.network.tail(self.network.masked(trunk_features, masks_NHW))
        return logits.double().softmax(dim=1)


def trunk_channels(network: Classifier, size: int, device: torch.device) -> int:
    """The channels of the features that a mask head sees, of images of `size` pixels a side."""
    with torch.no_grad():
        image = torch.zeros((1, 3, size, size), device=device)
        return network.trunk_cells(network.eval().trunk(image)).shape[1]


def upsampled(maps: Tensor, height: int, width: int) -> Tensor:
    """Maps [N, h, w] or [N, K, h, w] at another size, bilinear between the centres of cells, as maps are upsampled to
    pixels.
    """
    if maps.ndim == 3:
        return upsampled(maps[:, None], height, width)[:, 0]
    return F.interpolate(maps, size=(height, width), mode="bilinear", align_corners=False)


def min_max(maps: Tensor) -> Tensor:
    """Maps [..., h, w], each scaled to 0..1 by its own extremes; 0 for a constant one."""
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    return (maps - low) / (high - low).clamp(min=torch.finfo(maps.dtype).tiny)
