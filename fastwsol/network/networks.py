"""The networks that a configuration can name, and how each is made."""

import functools
from importlib import metadata

import torch

from fastwsol.config import Config, NetworkConfig, Setting, Statistics
from fastwsol.network.classifier import Classifier
from fastwsol.network.preact_resnet import GMAC, PreActResNet, build_preact_resnet
from fastwsol.network.timm_backbone import build_timm, statistics_of_timm


def build_network(config: Config, classes: int) -> Classifier:
    """The network with weights drawn from the seed alone, on the CPU, in channels-last memory, with its frozen part
    frozen. Raises UserError for a backbone that timm lacks or that gives no maps of classes.
    """
    network = config.network
    if network.is_ours:
        model: Classifier = build_preact_resnet(network.depth, network.stem, classes, config.seed)
    else:
        model = build_timm(network, config.views.image_size, classes, config.seed)
    model.train_only(network.train_part)
    return model


def empty_network(config: Config, classes: int) -> Classifier:
    """The network for weights that come from a file: ours without memory for them (on torch's meta device)."""
    if not config.network.is_ours:
        return build_network(config, classes)  # it may have buffers that no file holds
    with torch.device("meta"):
        model = PreActResNet(config.network.depth, config.network.stem, classes)
    model.train_only(config.network.train_part)
    return model


def input_statistics(config: NetworkConfig) -> Statistics | None:
    """What the network wants its input normalised by; None: the training pixels' own mean and deviation."""
    return None if config.is_ours else statistics_of_timm(config.backbone)


def network_versions(config: NetworkConfig) -> dict[str, str]:
    """The packages, by name, in whose version the network's arithmetic is written, beside this project's source."""
    return {} if config.is_ours else {"timm": metadata.version("timm")}


def network_gmac(setting: Setting) -> float:
    """10^9 multiply-adds of a forward pass over one image of the setting's size. A step is three such passes."""
    network, size = setting.network, setting.views.image_size
    return GMAC[network.depth, network.stem] * (size / 64) ** 2 if network.is_ours else _gmac_of_timm(network, size)


@functools.cache
def _gmac_of_timm(network: NetworkConfig, size: int) -> float:
    from torch.utils.flop_counter import FlopCounterMode  # here: its import takes a third of a second

    model = build_timm(network, size, 10, 0).eval()  # BN wants several images in training
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, size, size))
    return counter.get_total_flops() / 2e9


def network_name(config: NetworkConfig) -> str:
    """What a person calls it."""
    trained = "" if config.train_part == "all" else f", its {config.train_part} alone trained"
    name = f"ResNet-{config.depth}, stem {config.stem}" if config.is_ours else config.backbone
    return name + trained
