"""The localizers once more, in plain loops over NumPy arrays: the twins of `fastwsol.localizer`."""

import numpy as np
from numpy.typing import NDArray

from kernels import reference


def cam(features: NDArray, weights: NDArray, classes: NDArray) -> NDArray[np.float64]:
    """Features [N, C, h, w], the last layer's weights [K, C], classes [N] -> maps [N, h, w]."""
    maps = np.zeros((len(features), *features.shape[2:]))
    for n, label in enumerate(classes):
        for channel, weight in enumerate(weights[label]):
            maps[n] += float(weight) * features[n, channel]
    return maps


def cam_positive(features: NDArray, weights: NDArray, classes: NDArray) -> NDArray[np.float64]:
    """The same of the weights above 0."""
    return cam(features, np.where(weights > 0, weights, 0), classes)


def mask_cam(mask: NDArray, features: NDArray, weights: NDArray, classes: NDArray) -> NDArray[np.float64]:
    """A mask [N, h', w'] times (1 + C) / 2; C is the CAM of positive weights on the mask's grid, as shares of its
    extremes, and 0 where they are equal.
    """
    maps = np.zeros(mask.shape)
    for n, small in enumerate(cam_positive(features, weights, classes)):
        shares = reference.normalise(reference.upsample(small, mask.shape[1:]))
        maps[n] = mask[n] * (1 + (0 if shares is None else shares)) / 2
    return maps


def direction(features: NDArray, positive: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of one class: features [N, C, h, w] and its CAMs of positive weights [N, h, w] -> mean [C] and the eigenvector
    [C] of the covariance with the largest eigenvalue, along which cells lie the farther the higher their CAM is.
    """
    cells = np.array([features[n, :, y, x] for n, y, x in np.ndindex(positive.shape)], np.float64)
    mean = cells.mean(axis=0)
    first = np.linalg.eigh(np.cov(cells, rowvar=False))[1][:, -1]
    rises = np.corrcoef((cells - mean) @ first, positive.ravel())[0, 1]
    return mean, first if rises >= 0 else -first


def ddt(features: NDArray, means: NDArray, directions: NDArray, classes: NDArray) -> NDArray[np.float64]:
    """Features [N, C, h, w], of each class a mean and a direction [K, C], classes [N] -> maps [N, h, w]."""
    maps = np.zeros((len(features), *features.shape[2:]))
    for n, y, x in np.ndindex(maps.shape):
        maps[n, y, x] = (features[n, :, y, x] - means[classes[n]]) @ directions[classes[n]]
    return maps


def mask(features: NDArray, head: dict[str, NDArray]) -> NDArray[np.float64]:
    """Features [N, C, h, w] and the head's tensors by name -> masks [N, h, w]."""
    hidden = convolved(features, head["conv1.weight"])
    scale = head["bn.weight"] / np.sqrt(head["bn.running_var"] + 1e-5)
    hidden = (hidden - head["bn.running_mean"][:, None, None]) * scale[:, None, None] + head["bn.bias"][:, None, None]
    out = convolved(np.maximum(hidden, 0), head["conv2.weight"])[:, 0] + head["conv2.bias"][0]
    return 1 / (1 + np.exp(-out))


def convolved(maps: NDArray, weights: NDArray) -> NDArray[np.float64]:
    """A convolution of 3x3 with zeros around: maps [N, C, h, w], weights [D, C, 3, 3] -> [N, D, h, w]."""
    height, width = maps.shape[2:]
    padded = np.pad(maps.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    out = np.zeros((len(maps), len(weights), height, width))
    for y in range(3):
        for x in range(3):
            out += np.einsum("nchw,dc->ndhw", padded[:, :, y : y + height, x : x + width], weights[:, :, y, x])
    return out


def otsu(levels: NDArray[np.uint8]) -> int:
    """Otsu's threshold of a map's levels: the least level of the upper class, the lowest of equals."""
    pixels = levels.ravel().astype(float)
    best, best_level = 0.0, int(np.bincount(levels.ravel()).argmax())
    for level in range(1, 256):
        low, high = pixels[pixels < level], pixels[pixels >= level]
        if len(low) and len(high):
            between = len(low) * len(high) * (low.mean() - high.mean()) ** 2
            if between > best * (1 + 1e-12):
                best, best_level = between, level
    return best_level
