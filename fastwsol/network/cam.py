"""Class activation maps (Zhou et al. 2016): one contraction of features with FC weights, without a ReLU on the map."""

import torch
from torch import Tensor


def class_activation_maps(features_NCHW: Tensor, fc_weight_KC: Tensor, classes_N: Tensor | None) -> Tensor:
    """Return sum over c of weight[class, c] * features[c]: maps of one class an image, float32 [N, H, W], or of all,
    float32 [N, K, H, W].

    features: [N, C, H, W], what the FC averages; fc_weight: [K, C]; classes: int64 [N], or None for all.
    """
    with torch.autocast(features_NCHW.device.type, enabled=False):
        if classes_N is None:
            return torch.einsum("nchw,kc->nkhw", features_NCHW.float(), fc_weight_KC.float())
        return torch.einsum("nchw,nc->nhw", features_NCHW.float(), fc_weight_KC[classes_N].float())
