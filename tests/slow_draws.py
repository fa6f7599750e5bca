"""The draws of `fastwsol.draws` again, one image at a time in plain Python: after docs/paper.md and Salmon et al."""

import math

MASK = 0xFFFFFFFF


def philox(counter, key):
    """Philox4x32-10: four words from four and two."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high_0, low_0 = divmod(0xD2511F53 * c0, 1 << 32)
        high_1, low_1 = divmod(0xCD9E8D57 * c2, 1 << 32)
        c0, c1, c2, c3 = high_1 ^ c1 ^ k0, low_1, high_0 ^ c3 ^ k1, low_0
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c0, c1, c2, c3


def words(seed, index, epoch, purpose, block):
    return philox((index, epoch, purpose, block), (seed & MASK, seed >> 32))


def uniform(word):
    return (word + 0.5) / 2**32


def crop_window(seed, index, epoch, width, height):
    """x, y, w, h: the sampler of the paper's code, with both ends of the free range."""
    for attempt in range(10):
        area_word, ratio_word, swap_word, _ = words(seed, index, epoch, 1, 2 * attempt)
        area = (0.08 + 0.92 * uniform(area_word)) * width * height
        ratio = 0.75 + (1.333 - 0.75) * uniform(ratio_word)
        w, h = int(math.sqrt(area * ratio) + 0.5), int(math.sqrt(area / ratio) + 0.5)
        w, h = max(w, 1), max(h, 1)
        if uniform(swap_word) > 0.5:
            w, h = h, w
        if w <= width and h <= height:
            x_word, y_word, _, _ = words(seed, index, epoch, 1, 2 * attempt + 1)
            return int(uniform(x_word) * (width - w + 1)), int(uniform(y_word) * (height - h + 1)), w, h
    return 0, 0, width, height


def flip(seed, index, epoch):
    return int(uniform(words(seed, index, epoch, 2, 0)[0]) > 0.5)


def kept_cells(seed, index, epoch):
    """16 rows of 16: 1 where a cell is kept. Bits of two blocks, lowest first, one for each cell of the drawn grid."""
    grid = (0, 4, 8, 16)[int(4 * uniform(words(seed, index, epoch, 3, 0)[0]))]
    if grid == 0:
        return [[1] * 16 for _ in range(16)]
    drawn = words(seed, index, epoch, 4, 0) + words(seed, index, epoch, 4, 1)
    bits = [(word >> shift) & 1 for word in drawn for shift in range(32)]
    return [[bits[(row * grid // 16) * grid + column * grid // 16] for column in range(16)] for row in range(16)]


def jittered(seed, index, epoch, pixel, mean):
    """A pixel after brightness, contrast, saturation and lighting in their drawn order, without clipping.

    `mean`: the image's mean pixel, which the steps move as they move any pixel (all of them are affine).
    """
    drawn = [word for block in range(3) for word in words(seed, index, epoch, 5, block)]
    order = sorted(range(4), key=lambda step: (drawn[step], step))
    brightness, contrast, saturation = (0.6 + 0.8 * uniform(drawn[k]) for k in (4, 5, 6))
    first, second = (math.sqrt(-2 * math.log(uniform(drawn[k]))) for k in (8, 9))
    angle_1, angle_2 = (2 * math.pi * uniform(drawn[k]) for k in (10, 11))
    normals = first * math.cos(angle_1), second * math.cos(angle_2), first * math.sin(angle_1)
    eigenvalues = 0.2175 * 255, 0.0188 * 255, 0.0045 * 255
    eigenvectors = (-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203)

    def apply(step, colour, mean):
        if step == 0:
            return [brightness * c for c in colour]
        if step == 1:
            return [contrast * (c - m) + m for c, m in zip(colour, mean, strict=True)]
        if step == 2:
            grey = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
            return [saturation * c + (1 - saturation) * grey for c in colour]
        shift = [0.1 * n * value for n, value in zip(normals, eigenvalues, strict=True)]
        return [
            c + sum(e * s for e, s in zip(row, shift, strict=True)) for c, row in zip(colour, eigenvectors, strict=True)
        ]

    for step in order:
        pixel, mean = apply(step, pixel, mean), apply(step, mean, mean)
    return pixel
