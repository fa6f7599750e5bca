"""The pipeline's slow twin: the same batch, decoded by Pillow and resampled by plain NumPy. Tests compare the two."""

import io
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastwsol.config import Augmentation, Mix, Resampler, Statistics
from fastwsol.draws import CELLS, COLOR_STEPS, Mixes, Views


def decode(encoded: bytes) -> NDArray[np.uint8]:
    """Decode an image file to RGB, uint8 [H, W, 3]; one channel is repeated."""
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))


def batch(
    images: list[bytes],
    views: Views,
    augmentation: Augmentation,
    statistics: Statistics,
) -> NDArray[np.float32]:
    """Return what the network sees of encoded `images` under `views`: float32 [N, S, S, 3], normalised."""
    return np.stack([_view(decode(image), i, views, augmentation, statistics) for i, image in enumerate(images)])


def mixed(
    images: NDArray[np.float32], labels: NDArray[np.int64], classes: int, mixes: Mixes, mix: Mix
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return `images` [N, S, S, 3] mixed in pairs, and the shares of their classes, float32 [N, classes]."""
    result, shares = images.copy(), np.zeros((len(images), classes), np.float32)
    for i in range(len(images)):
        partner, kept = i + 1 if i % 2 == 0 else i - 1, mixes.kept[i]
        if mix == "cutmix":
            x, y, width, height = mixes.windows[i]
            result[i, y : y + height, x : x + width] = images[partner, y : y + height, x : x + width]
        elif mix == "mixup":
            result[i] = kept * images[i] + (1 - kept) * images[partner]
        shares[i, labels[i]] += kept
        shares[i, labels[partner]] += 1 - kept
    return result, shares


def _view(
    image: NDArray[np.uint8],
    i: int,
    views: Views,
    augmentation: Augmentation,
    statistics: Statistics,
) -> NDArray[np.float32]:
    size, (mean, std) = augmentation.image_size, statistics
    mean_pixel = np.rint(mean).astype(np.uint8)
    visible = None
    if views.cells is not None:
        visible = enlarge_cells(views.cells[i], *(image.shape[:2] if augmentation.hides_first else (size, size)))[
            ..., None
        ]
    if visible is not None and augmentation.hides_first:
        image = np.where(visible, image, mean_pixel)
    x, y, width, height = views.windows[i]
    image = resize(image[y : y + height, x : x + width], size, augmentation.resampler)
    if views.color is not None:
        if visible is not None and not augmentation.hides_first:
            image = np.where(visible, image, mean_pixel)
        for k in range(COLOR_STEPS):
            own_mean = image.mean(axis=(0, 1), dtype=np.float64)
            shift = views.color.mean_weights[i, k] * own_mean + views.color.offsets[i, k]
            image = _to_uint8(image @ views.color.matrices[i, k].T.astype(np.float64) + shift)
    if views.flips[i]:
        image = image[:, ::-1]
    normalised = ((image - np.array(mean)) / np.array(std)).astype(np.float32)
    if visible is not None and not augmentation.hides_first and views.color is None:
        normalised = normalised * visible
    return normalised


def enlarge_cells(cells: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Enlarge a mask of 16x16 cells to pixels, uint8 [height, width]: a pixel takes the cell its centre lies in."""
    rows, columns = (
        [int(Fraction(2 * pixel + 1, 2 * length) * CELLS) for pixel in range(length)] for length in (height, width)
    )
    return np.array([[cells[row, column] for column in columns] for row in rows])


def resize(image: NDArray[np.uint8], size: int, resampler: Resampler) -> NDArray[np.uint8]:
    """Resize uint8 [H, W, 3] to [size, size, 3]: half-pixel centres, clamped edges, one rounding.

    Where an axis shrinks, the filter is as much wider, so that no detail aliases.
    """
    rows = _weights(image.shape[0], size, resampler)
    columns = _weights(image.shape[1], size, resampler)
    return _to_uint8(np.einsum("yr,rcd,xc->yxd", rows, image.astype(np.float64), columns, optimize=True))


def _weights(length: int, size: int, resampler: Resampler) -> NDArray[np.float64]:
    """The matrix [size, length] that resamples a line of `length` pixels to `size`."""
    weights = np.zeros((size, length))
    scale = max(1.0, length / size)
    reach, kernel = (2 * scale, _cubic) if resampler == "bicubic" else (scale, _triangle)
    for target in range(size):
        centre = (target + 0.5) * length / size - 0.5
        for source in range(int(np.floor(centre - reach)), int(np.ceil(centre + reach)) + 1):
            weights[target, min(max(source, 0), length - 1)] += kernel(abs(centre - source) / scale)
    return weights / weights.sum(axis=1, keepdims=True)


def _triangle(distance: float) -> float:
    return max(0.0, 1.0 - distance)


def _cubic(distance: float, a: float = -0.5) -> float:
    """Keys' cubic convolution kernel (1981)."""
    if distance < 1:
        return (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    if distance < 2:
        return a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return 0.0


def _to_uint8(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.floor(values + 0.5).clip(0, 255).astype(np.uint8)
