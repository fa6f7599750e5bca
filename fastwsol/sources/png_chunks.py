"""A PNG without its texts and colour profile, which decide no pixel here and may be too large for a decoder."""

PNG_START = b"\x89PNG\r\n\x1a\n"
_HEAD_BYTES, _CHECKSUM_BYTES = 8, 4
_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")


def without_texts(image: bytes, keep: tuple[bytes, ...] = ()) -> bytes:
    """The image without chunks of text and colour profile, but for texts whose keyword begins as one of `keep` does.

    What is behind a chunk that reaches beyond the end stays as it is.
    """
    pieces, at = [PNG_START], len(PNG_START)
    while at + _HEAD_BYTES <= len(image):
        behind = at + _HEAD_BYTES + int.from_bytes(image[at : at + 4]) + _CHECKSUM_BYTES
        kind, content = image[at + 4 : at + _HEAD_BYTES], image[at + _HEAD_BYTES : at + _HEAD_BYTES + 80]
        if kind not in _TEXTS or behind > len(image) or (keep and content.startswith(keep)):
            pieces.append(image[at:behind])
        at = behind
    return b"".join([*pieces, image[at:]])
