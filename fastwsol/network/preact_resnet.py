"""Pre-activation ResNet-18 and -34 for small images, as the paper's code builds them. Shapes: N, C, H, W; S = size.

Strided layers pad as TensorFlow's SAME does, so that a cell of the last map lies over the pixels it saw: with
symmetric padding the maps, and every box with them, would sit several pixels up and left.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastwsol.config import Stem
from fastwsol.network.attention_dropout import PLACES, without_strongest
from fastwsol.network.classifier import Classifier

MAP_STRIDES: dict[Stem, int] = {"A": 8, "B": 4, "C": 16}
"""Pixels of the network's square that a cell of its maps stands for, a side."""

GMAC: dict[tuple[int, Stem], float] = {
    (18, "A"): 0.99,
    (34, "A"): 1.83,
    (18, "B"): 3.86,
    (34, "B"): 7.19,
    (18, "C"): 0.25,
    (34, "C"): 0.46,
}
"""10^9 multiply-adds of a forward pass over one image of 64 pixels, by depth and stem. A multiply-add is two
operations.
"""

GROUP_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
"""Basic blocks in each of the four groups, by depth (paper, section 4)."""

WIDTHS = (64, 128, 256, 512)
GROUP_STRIDES = (1, 2, 2, 1)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return TensorFlow's SAME padding (before, after) of a line of `size` pixels; the odd one goes after."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def pad_same(x_NCHW: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """Pad height and width as SAME does."""
    top, bottom = same_padding(x_NCHW.shape[2], kernel, stride)
    left, right = same_padding(x_NCHW.shape[3], kernel, stride)
    return F.pad(x_NCHW, (left, right, top, bottom), value=value)


class SameConv2d(nn.Conv2d):
    """A convolution without bias whose output has ceil(input / stride) cells a side."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> None:
        # At stride 1 an odd kernel's SAME padding is symmetric, and the convolution does it itself.
        super().__init__(
            channels_in, channels_out, kernel, stride, padding=kernel // 2 if stride == 1 else 0, bias=False
        )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        if self.stride[0] > 1:
            x_NCHW = pad_same(x_NCHW, self.kernel_size[0], self.stride[0])
        return super().forward(x_NCHW)


class ImageConv2d(SameConv2d):
    """A convolution of images. On a GPU it is carried out on a fourth channel of zeros as well: cuDNN's kernels for
    three channels are slow (bench/results/h200/step-profile.md).
    """

    def __init__(self, channels_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__(3, channels_out, kernel, stride)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.on_four_channels(x_NCHW) if x_NCHW.is_cuda else super().forward(x_NCHW)

    def on_four_channels(self, x_NCHW: Tensor) -> Tensor:
        """The same maps [N, C, h, w] as `forward`'s, of the image's three channels and one of zeros."""
        if self.stride[0] > 1:
            x_NCHW = pad_same(x_NCHW, self.kernel_size[0], self.stride[0])
        fourth = (0, 0, 0, 0, 0, 1)
        return F.conv2d(F.pad(x_NCHW, fourth), F.pad(self.weight, fourth), None, self.stride, self.padding)


class SameMaxPool2d(nn.Module):
    """Maxpool 3x3, stride 2; what lies outside the image never wins."""

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return F.max_pool2d(pad_same(x_NCHW, 3, 2, value=-math.inf), 3, 2)


class BatchNormReLU(nn.Sequential):
    """BN, momentum 0.1 and eps 1e-5, then ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__(nn.BatchNorm2d(channels), nn.ReLU())


class Block(nn.Module):
    """conv3x3 - BN - ReLU - conv3x3 plus shortcut; behind the first block of a group BN - ReLU stand before it.

    The shortcut is the raw input; where channels change, a bare 1x1 convolution of it.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int, first: bool) -> None:
        super().__init__()
        self.preactivation = nn.Identity() if first else BatchNormReLU(channels_in)
        self.conv1 = SameConv2d(channels_in, channels_out, 3, stride)
        self.activation = BatchNormReLU(channels_out)
        self.conv2 = SameConv2d(channels_out, channels_out, 3)
        changes = channels_in != channels_out
        self.shortcut = SameConv2d(channels_in, channels_out, 1, stride) if changes else nn.Identity()

    def forward(self, x_NCHW: Tensor) -> Tensor:
        residual = self.conv2(self.activation(self.conv1(self.preactivation(x_NCHW))))
        return residual + self.shortcut(x_NCHW)


class PreActResNet(Classifier):
    """The classifier. Features are the last group's BN-ReLU output: [N, 512, h, w]."""

    def __init__(self, depth: int, stem: Stem, classes: int) -> None:
        super().__init__()
        self._map_stride = MAP_STRIDES[stem]
        self.stem = nn.Sequential(
            ImageConv2d(WIDTHS[0], 7, stride=2 if stem == "C" else 1),
            BatchNormReLU(WIDTHS[0]),
            nn.Identity() if stem == "B" else SameMaxPool2d(),
        )
        groups = []
        channels = WIDTHS[0]
        for width, stride, count in zip(WIDTHS, GROUP_STRIDES, GROUP_BLOCKS[depth], strict=True):
            blocks = []
            for k in range(count):
                blocks.append(Block(channels, width, stride if k == 0 else 1, first=k == 0))
                channels = width
            groups.append(nn.Sequential(*blocks, BatchNormReLU(width)))
        self.groups = nn.Sequential(*groups)
        self.fc = nn.Linear(channels, classes)

    def forward(self, images_NCHW: Tensor, drops: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `Classifier`. drops: bool [N, PLACES], where the attention of each image is dropped (see
        `attention_dropout`); None: nothing is done to it.
        """
        features = self.stem(images_NCHW)
        features = self.groups(features) if drops is None else self._with_drops(features, drops)
        logits = self.fc(features.mean(dim=(2, 3)))
        return logits, features.detach()

    def _with_drops(self, features: Tensor, drops: Tensor) -> Tensor:
        """What the groups make of the stem's features."""
        for k, group in enumerate(self.groups):
            features = group(features)
            if (place := k - len(self.groups) + PLACES) >= 0:
                features = without_strongest(features, drops[:, place])
        return features

    def trunk(self, images: Tensor) -> Tensor:
        """See `Classifier.trunk`; the tail is the last group and the FC."""
        features: Tensor = self.groups[:3](self.stem(images))
        return features

    def tail(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """See `Classifier.tail`."""
        features = self.groups[3](features)
        return self.fc(features.mean(dim=(2, 3))), features.detach()

    def pooled_features(self, images: Tensor) -> Tensor:
        """See `Classifier.pooled_features`."""
        return self.pooled_of_trunk(self.trunk(images))

    def pooled_of_trunk(self, features: Tensor) -> Tensor:
        """See `Classifier.pooled_of_trunk`."""
        return self.groups[3](features).mean(dim=(2, 3), keepdim=True)

    @property
    def classifier(self) -> nn.Linear:
        """The FC."""
        return self.fc

    @property
    def map_stride(self) -> int:
        """Pixels of the network's square that a cell stands for, a side."""
        return self._map_stride

    def tail_modules(self) -> list[nn.Module]:
        """The last group and the FC."""
        return [self.groups[3], self.fc]

    def in_backbone(self, name: str) -> bool:
        """Stem and groups 0-2."""
        return name.startswith(("stem.", "groups.0.", "groups.1.", "groups.2."))


def build_preact_resnet(depth: int, stem: Stem, classes: int, seed: int) -> PreActResNet:
    """Build the network with weights drawn from `seed` alone, on the CPU, in channels-last memory.

    Convolutions: truncated normal of variance 2 / fan-out; FC: 2 / fan-in, bias 0; BN: 1 and 0 (the paper's code).
    """
    model = PreActResNet(depth, stem, classes)
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            _truncated_normal(module.weight, 2 / fan_out, generator)
        elif isinstance(module, nn.Linear):
            _truncated_normal(module.weight, 2 / module.in_features, generator)
            nn.init.zeros_(module.bias)
    return model.to(memory_format=torch.channels_last)


_TRUNCATED_STD = 0.87962566103423978
"""Standard deviation of a standard normal cut off at +-2."""


def _truncated_normal(weight: Tensor, variance: float, generator: torch.Generator) -> None:
    std = math.sqrt(variance) / _TRUNCATED_STD
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std, generator=generator)
