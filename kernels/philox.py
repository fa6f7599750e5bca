"""Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011).

A counter of four words and a key of two give four independent random words: no state is carried from one draw to the
next, so a draw depends on what it is for and on nothing else.
"""

import numpy as np

from kernels.compiling import njit

_MULTIPLIER_0 = np.uint64(0xD2511F53)
_MULTIPLIER_1 = np.uint64(0xCD9E8D57)
_WEYL_0 = np.uint32(0x9E3779B9)
_WEYL_1 = np.uint32(0xBB67AE85)
_ROUNDS = 10


@njit(inline="always")
def philox4x32(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    """Return four random uint32 for counter words `c0..c3` and key words `k0, k1`, all uint32."""
    for _ in range(_ROUNDS):
        product_0 = _MULTIPLIER_0 * np.uint64(c0)
        product_1 = _MULTIPLIER_1 * np.uint64(c2)
        c0, c1, c2, c3 = (
            np.uint32(product_1 >> np.uint64(32)) ^ c1 ^ k0,
            np.uint32(product_1),
            np.uint32(product_0 >> np.uint64(32)) ^ c3 ^ k1,
            np.uint32(product_0),
        )
        k0 = np.uint32(k0 + _WEYL_0)
        k1 = np.uint32(k1 + _WEYL_1)
    return c0, c1, c2, c3


@njit()
def random_words(ids, epochs, purpose, blocks, key):  # type: ignore[no-untyped-def]
    """Fill uint32 [N, 4 * blocks] with the words of counters (id, epoch, purpose, block); key: uint32 [2]."""
    words = np.empty((ids.shape[0], 4 * blocks), np.uint32)
    for i in range(ids.shape[0]):
        for block in range(blocks):
            w0, w1, w2, w3 = philox4x32(
                np.uint32(ids[i]), np.uint32(epochs[i]), np.uint32(purpose), np.uint32(block), key[0], key[1]
            )
            words[i, 4 * block] = w0
            words[i, 4 * block + 1] = w1
            words[i, 4 * block + 2] = w2
            words[i, 4 * block + 3] = w3
    return words
