"""The mask head: a small network that says, of each cell of a classifier's features, how far it belongs to the object.

It is trained behind a frozen classifier that is split in two: the trunk gives the features, the head a mask of them,
and the tail answers what class the masked features show, and what class the rest of them does.
"""

import math

import torch
from torch import Tensor, nn

WIDTH = 64
"""Channels of the hidden layer."""


class MaskHead(nn.Module):
    """conv 3x3 to 64 - BN - ReLU - conv 3x3 to 1 - sigmoid: features [N, C, h, w] -> masks float [N, h, w] in 0..1, one
    for all classes.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, WIDTH, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(WIDTH)
        self.conv2 = nn.Conv2d(WIDTH, 1, 3, padding=1)

    def forward(self, features_NCHW: Tensor) -> Tensor:
        hidden = torch.relu(self.bn(self.conv1(features_NCHW)))
        return torch.sigmoid(self.conv2(hidden).float()).squeeze(1)


def build_mask_head(channels: int, seed: int) -> MaskHead:
    """The head with weights drawn from `seed` alone, on the CPU: uniform within 1 / sqrt(fan-in), biases 0."""
    with torch.random.fork_rng(devices=[]):  # a new layer draws weights, from numbers of the whole process
        head = MaskHead(channels)
    generator = torch.Generator().manual_seed(seed)
    for conv in (head.conv1, head.conv2):
        bound = 1 / math.sqrt(conv.weight[0].numel())
        nn.init.uniform_(conv.weight, -bound, bound, generator=generator)
    assert head.conv2.bias is not None
    nn.init.zeros_(head.conv2.bias)
    return head
