"""Masks that are hard for whoever labels components: uint8 [side, side], 0 or 1."""

import numpy as np


def spiral(side):
    """One snake of pixels, its turns two apart, from the corner to the middle."""
    mask = np.zeros((side, side), np.uint8)
    y, x, dy, dx = 0, 0, 0, 1
    for length in [side - 1, *np.repeat(np.arange(side - 1, 1, -2), 2)]:
        for _ in range(length):
            mask[y, x] = 1
            y, x = y + dy, x + dx
        mask[y, x] = 1
        dy, dx = dx, -dy
    return mask


def comb(side):
    """Teeth that hang together at their feet alone."""
    mask = np.ones((side, side), np.uint8)
    mask[:-1, 1::2] = 0
    return mask


def ring(side):
    """Rings within rings, a pixel apart."""
    y, x = np.indices((side, side))
    return (np.minimum(np.minimum(y, x), side - 1 - np.maximum(y, x)) % 2 == 0).astype(np.uint8)


def checkerboard(side):
    """One component where corners connect, and single pixels where they do not."""
    y, x = np.indices((side, side))
    return ((y + x) % 2 == 0).astype(np.uint8)


def isolated(side):
    """Single pixels, as many as 8-connectivity allows."""
    y, x = np.indices((side, side))
    return ((y % 2 == 0) & (x % 2 == 0)).astype(np.uint8)


def one_pixel(side):
    """A single pixel."""
    mask = np.zeros((side, side), np.uint8)
    mask[side // 2, -1] = 1
    return mask


SHAPES = {
    "empty": lambda side: np.zeros((side, side), np.uint8),
    "full": lambda side: np.ones((side, side), np.uint8),
    "one pixel": one_pixel,
    "checkerboard": checkerboard,
    "isolated": isolated,
    "spiral": spiral,
    "ring": ring,
    "comb": comb,
}
