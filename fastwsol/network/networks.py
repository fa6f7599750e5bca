"""The networks that a configuration can name, and how each is made."""

import torch

from fastwsol.config import NetworkConfig
from fastwsol.network.classifier import Classifier
from fastwsol.network.preact_resnet import GMAC, PreActResNet, build_preact_resnet


def build_network(config: NetworkConfig, classes: int, seed: int) -> Classifier:
    """The network with weights drawn from `seed` alone, on the CPU, in channels-last memory."""
    return build_preact_resnet(config.depth, config.stem, classes, seed)


def empty_network(config: NetworkConfig, classes: int) -> Classifier:
    """The network without memory for its weights (on torch's meta device), for weights that come from a file."""
    with torch.device("meta"):
        return PreActResNet(config.depth, config.stem, classes)


def network_gmac(config: NetworkConfig) -> float:
    """10^9 multiply-adds of a forward pass over one image of 64 pixels. A step is three such passes."""
    return GMAC[config.depth, config.stem]


def network_name(config: NetworkConfig) -> str:
    """What a person calls it."""
    return f"ResNet-{config.depth}, stem {config.stem}"
