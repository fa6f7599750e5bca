"""What is counted on paper of a step is what torch's own counter says of it."""

import pytest
import torch
from step_bound import CLASSES, IMAGE_SIZE, work_of
from torch.utils.flop_counter import FlopCounterMode

from fastwsol.network.preact_resnet import PreActResNet


@pytest.mark.parametrize(("depth", "stem"), [(18, "A"), (34, "C")])
def test_operations_are_those_of_torchs_counter(depth, stem):
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        logits, _ = PreActResNet(depth, stem, CLASSES)(torch.empty(2, 3, IMAGE_SIZE, IMAGE_SIZE))
        logits.sum().backward()
    of_convolutions = sum(
        count for kind, count in counter.get_flop_counts()["Global"].items() if "convolution" in str(kind)
    )
    assert sum(operations for operations, _ in work_of(depth, stem, 2).convolutions) == of_convolutions
