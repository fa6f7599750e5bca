"""A network that tells red from blue by hand-made weights, for what predictions and outputs make of its maps."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fastwsol.config import Config, Statistics
from fastwsol.host.device import Autocast
from fastwsol.localizer.localizers import LocalizerName
from fastwsol.localizer.localizing import LocalizingModel
from fastwsol.localizer.mask_head import MaskHead
from fastwsol.network.classifier import Classifier
from fastwsol.prediction.predictor import Predictor
from fastwsol.runs.info import RunInfo

CELLS = 8


class ColourNetwork(Classifier):
    """Tells red from blue: the trunk is the mean colour of each cell, the tail a linear layer on their average."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(3, 2)
        with torch.no_grad():
            self.last.weight.copy_(torch.tensor([[8.0, 0.0, -8.0], [-8.0, 0.0, 8.0]]))
            self.last.bias.zero_()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.tail(self.trunk(images))

    def trunk(self, images: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(images, images.shape[2] // CELLS)

    def tail(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.last(features.mean((2, 3))), features

    def pooled_features(self, images: Tensor) -> Tensor:
        return self.pooled_of_trunk(self.trunk(images))

    def pooled_of_trunk(self, features: Tensor) -> Tensor:
        return features.mean((2, 3), keepdim=True)

    @property
    def classifier(self) -> nn.Linear:
        return self.last

    @property
    def map_stride(self) -> int:
        return 64 // CELLS

    def tail_modules(self) -> list[nn.Module]:
        return [self.last]

    def in_backbone(self, name: str) -> bool:
        return False


def colour_head() -> MaskHead:
    """Keeps what is red or blue and nothing grey."""
    head = MaskHead(3).eval()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        head.bn.weight.fill_(1)
        for hidden, (red, blue) in enumerate(((1.0, -1.0), (-1.0, 1.0))):
            head.conv1.weight[hidden, 0, 1, 1], head.conv1.weight[hidden, 2, 1, 1] = red, blue
            head.conv2.weight[0, hidden, 1, 1] = 20
        assert head.conv2.bias is not None
        head.conv2.bias.fill_(-6)
    return head


def colour_predictor(localizer: LocalizerName = "mask") -> Predictor:
    """With these two, of the classes red and blue."""
    info = RunInfo(
        Config.of(image_size=64, localizer="mask"),
        Path(),
        "",
        ("red", "blue"),
        ("red", "blue"),
        Statistics((127.5,) * 3, (127.5,) * 3),  # type: ignore[arg-type]
    )
    model = LocalizingModel(ColourNetwork(), colour_head())
    return Predictor(info, model, 0, Autocast(torch.device("cpu"), "fp32"), 1, localizer)


def picture() -> np.ndarray:
    """Grey, with a red square up left and a larger blue one down right."""
    image = np.full((64, 64, 3), 127, np.uint8)
    image[8:24, 8:24] = (255, 0, 0)
    image[32:56, 32:56] = (0, 0, 255)
    return image
