"""Class activation maps (Zhou et al. 2016): one contraction of features with FC weights, without a ReLU on the map."""

import torch
from torch import Tensor

from fastwsol.network.classifier import Classifier


def class_activation_maps(features_NCHW: Tensor, fc_weight_KC: Tensor, classes_N: Tensor) -> Tensor:
    """Return the maps of one class an image, float32 [N, H, W]: sum over c of weight[class, c] * features[c].

    features: [N, C, H, W], what the FC averages; fc_weight: [K, C]; classes: int64 [N].
    """
    weights_NC = fc_weight_KC[classes_N].float()
    with torch.autocast(features_NCHW.device.type, enabled=False):
        return torch.einsum("nchw,nc->nhw", features_NCHW.float(), weights_NC)


def maps_of_classes(network: Classifier, features_NCHW: Tensor, classes_N: Tensor) -> Tensor:
    """The maps that a network's features give, of one class an image: float32 [N, H, W]."""
    return class_activation_maps(features_NCHW, network.classifier.weight, classes_N)
