"""The judge lets through what is whole, names what is not, and falls over nothing."""

import io
import random
import struct
import time
import warnings
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from conftest import noise_jpeg
from PIL import Image

from fastwsol.dataset.shard_writer import MAX_SHARD_BYTES
from fastwsol.prediction.user_images import decode_upright
from fastwsol.sources import decode as judge
from fastwsol.sources.decode import (
    ANEW,
    DARK,
    FROM_GIF_OR_TIFF,
    MAX_IMAGE_BYTES,
    MAX_SIDE,
    MIN_SIDE,
    TURNED,
    ImageFacts,
    decode,
    is_damage,
    judge_images,
)
from fastwsol.sources.jpeg_markers import header_of, read_markers
from fastwsol.sources.tiny_imagenet import TinyImageNet

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8))


def encoded(kind: str, mode: str = "RGB", **how: object) -> bytes:
    file = io.BytesIO()
    PICTURE.convert(mode).save(file, kind, **how)
    return file.getvalue()


def animated(kind: str) -> bytes:
    return encoded(kind, save_all=True, append_images=[PICTURE.rotate(90)])


WHOLE: dict[str, bytes] = {
    "JPEG": encoded("JPEG"),
    "grey JPEG": encoded("JPEG", "L"),
    "CMYK JPEG": encoded("JPEG", "CMYK"),
    "RGB JPEG": encoded("JPEG", keep_rgb=True),
    "progressive JPEG": encoded("JPEG", progressive=True),
    "JPEG 4:4:4 with restarts": encoded("JPEG", subsampling=0, restart_marker_blocks=2),
    "PNG": encoded("PNG"),
    "grey PNG": encoded("PNG", "L"),
    "black-and-white PNG": encoded("PNG", "1"),
    "PNG with palette": encoded("PNG", "P"),
    "PNG with transparent palette": encoded("PNG", "P", transparency=bytes(range(256))),
    "PNG with alpha": encoded("PNG", "RGBA"),
    "BMP": encoded("BMP"),
    "BMP with palette": encoded("BMP", "P"),
    "WEBP": encoded("WEBP"),
    "lossless WEBP": encoded("WEBP", lossless=True),
    "WEBP with alpha": encoded("WEBP", "RGBA"),
    "GIF": encoded("GIF"),
    "grey GIF": encoded("GIF", "L"),
    "TIFF": encoded("TIFF"),
    "grey TIFF": encoded("TIFF", "L"),
    "CMYK TIFF": encoded("TIFF", "CMYK"),
    "BigTIFF": encoded("TIFF", big_tiff=True),
}
BY_LIBTIFF = {
    f"TIFF by {way}": encoded("TIFF", "1" if way == "group4" else "RGB", compression=way)
    for way in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4")
}
"""Of whose damage the library writes lines of its own to stderr."""
WHOLE |= BY_LIBTIFF
SLACK = {
    "BMP": 4,  # the padding behind the last row
    "BMP with palette": 4,
    "GIF": 2,  # the end of the last block and the end mark
    "grey GIF": 2,
    "TIFF by group4": 4,  # the padding of the only strip
}


@pytest.mark.parametrize("kind", WHOLE)
def test_pixels_are_those_of_pillow(kind: str) -> None:
    with warnings.catch_warnings(action="ignore"):  # of the transparency that goes, which the judge drops first
        expected = np.asarray(Image.open(io.BytesIO(WHOLE[kind])).convert("RGB"))
    np.testing.assert_array_equal(decode(WHOLE[kind]), expected)


def test_bytes_behind_the_end_of_a_jpeg_are_no_damage() -> None:
    np.testing.assert_array_equal(decode(WHOLE["JPEG"] + b"a camera's thumbnail"), decode(WHOLE["JPEG"]))


def test_bytes_between_a_jpegs_segments_are_damage() -> None:
    """libjpeg ignores them, and DALI does not decode the image; here before the first scan."""
    image = WHOLE["JPEG"]
    at = image.index(b"\xff\xda")
    damaged = image[:at] + b"\x15" + image[at:]
    assert Image.open(io.BytesIO(damaged)).convert("RGB").size == PICTURE.size
    with pytest.raises(ValueError, match="a JPEG segment does not begin where the one before it ends"):
        decode(damaged)


def scan(image: bytes) -> int:
    """Where a JPEG's coded pixels begin."""
    at = image.index(b"\xff\xda")
    return at + 2 + int.from_bytes(image[at + 2 : at + 4])


@pytest.mark.parametrize("kind", ["JPEG", "grey JPEG", "CMYK JPEG", "RGB JPEG", "JPEG 4:4:4 with restarts"])
def test_much_damage_that_pillow_passes_over_is_seen(kind: str) -> None:
    """Thirty bytes of the coded pixels set to zero: Pillow always gives a picture, of wrong pixels. Without checksums
    in a JPEG some of it cannot be told from pixels.
    """
    image = WHOLE[kind]
    refused = []
    for at in range(scan(image) + 100, len(image) - 100, 37):
        damaged = image[:at] + bytes(30) + image[at + 30 :]
        assert Image.open(io.BytesIO(damaged)).convert("RGB").size == PICTURE.size
        (look,) = judge_images([damaged])
        refused.append(isinstance(look, str) and look.startswith("damaged: "))
    assert np.mean(refused) > (0.3 if kind == "CMYK JPEG" else 0.8)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", WHOLE)
def test_a_file_cut_short_anywhere_is_refused(kind: str) -> None:
    image = WHOLE[kind]
    slack = SLACK.get(kind, 0)
    for length in (0, 1, 2, 3, 5, 11, 20, 30, *range(50, len(image) - slack, 97), len(image) - 1 - slack):
        with pytest.raises(ValueError, match=r"."):
            decode(image[:length])


@pytest.mark.parametrize("kind", ["PNG", "PNG with palette", "grey PNG"])
def test_a_flipped_bit_anywhere_in_a_png_is_refused(kind: str) -> None:
    image = bytearray(WHOLE[kind])
    for at in range(8, len(image), 53):
        image[at] ^= 16
        with pytest.raises(ValueError, match=r"."):
            decode(bytes(image))
        image[at] ^= 16


def png_of(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + struct.pack(">I", zlib.crc32(header)) + b"IEND\xaeB`\x82"


def jpeg_of(width: int, height: int) -> bytes:
    image = bytearray(WHOLE["JPEG"])
    at = image.index(b"\xff\xc0")
    image[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(image)


def bmp_of(width: int, height: int) -> bytes:
    return b"BM" + bytes(12) + struct.pack("<IiiHH", 40, width, height, 1, 24) + bytes(100)


def webp_of(width: int, height: int) -> bytes:
    return b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0/" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(100)


def of_many_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan stands there again and again."""
    image = encoded("JPEG", progressive=True)
    last = image.rindex(b"\xff\xda")
    return image[:last] + image[last:-2] * count + image[-2:]


SIZES = ((12_000, 12_000), (7, 64), (64, MIN_SIDE - 1), (MAX_SIDE + 1, 64), (64, MAX_SIDE + 1))
# A WEBP cannot say that it has more than 16,384 pixels a side.
MAKES = [(make, size) for make in (png_of, jpeg_of, bmp_of) for size in SIZES] + [(webp_of, size) for size in SIZES[:3]]


@pytest.mark.parametrize(("make", "size"), MAKES)
def test_sizes_are_judged_by_the_header_alone(make, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(*arguments: object, **flags: object) -> None:
        raise AssertionError("a decoder was asked")

    monkeypatch.setattr(Image, "open", decoded)
    monkeypatch.setattr(judge.simplejpeg, "decode_jpeg", decoded)
    with pytest.raises(ValueError, match=rf"^{size[0]:,}x{size[1]:,} pixels, (more than|a side must have)"):
        decode(make(*size))


@pytest.mark.filterwarnings("ignore:Image size")
@pytest.mark.parametrize("read", [decode, decode_upright])
@pytest.mark.parametrize(("size", "told"), [((10_000, 10_000), "10,000x10,000"), ((14_000, 14_000), "more")])
def test_a_size_beyond_pillows_own_limit_is_no_damage(read, size: tuple[int, int], told: str) -> None:
    image = bytearray(encoded("GIF"))
    image[6:10] = struct.pack("<HH", *size)
    with pytest.raises(ValueError, match=rf"^{told} .*pixels.* 67,108,864 in all allowed$") as told_of:
        read(bytes(image))
    assert not judge.is_damage(str(told_of.value))


def test_a_bitmap_from_top_to_bottom_is_a_bitmap() -> None:
    image = bytearray(WHOLE["BMP"])
    image[22:26] = struct.pack("<i", -40)
    np.testing.assert_array_equal(decode(bytes(image)), decode(WHOLE["BMP"])[::-1])


def test_the_largest_image_allowed_fits_into_a_shard() -> None:
    assert 2 * MAX_IMAGE_BYTES <= MAX_SHARD_BYTES
    with pytest.raises(ValueError, match=r"33,554,433 bytes, more than the 33,554,432 allowed"):
        decode(b"\xff\xd8\xff" + bytes(MAX_IMAGE_BYTES - 2))


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (animated("PNG"), "an animated PNG"),
        (animated("WEBP"), "an animated WEBP"),
        (animated("GIF"), "an animated GIF"),
        (animated("TIFF"), "a TIFF of several pages"),
        (encoded("JPEG2000"), r"no JPEG, PNG, BMP, WEBP, GIF or TIFF \(a JPEG 2000\)"),
        (b"<!DOCTYPE html><title>404</title>", "an HTML page"),
        (b"\n<HTML>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"PK\x03\x04" + bytes(50), "a zip archive"),
        (b"Not Found\r\n", "text"),
        (bytes(5000), "nothing but zeros"),
        (b"\xde\xad\xbe\xef" * 9, "its first bytes are de ad be ef"),
        (of_many_scans(101), "more than 100 scans"),
    ],
)
def test_the_reason_says_what_it_is_instead(image: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode(image)


def test_large_images_may_have_fewer_scans() -> None:
    image = bytearray(of_many_scans(40))
    read_markers(bytes(image))
    at = image.index(b"\xff\xc2")
    image[at + 5 : at + 9] = struct.pack(">HH", 9000, 9000)
    with pytest.raises(ValueError, match="a JPEG of 9000x9000 pixels and more than 26 scans"):
        read_markers(bytes(image))


@pytest.mark.parametrize(
    ("put_in", "reason"),
    [
        (b"\xff", None),
        (b"\xff\xd0", "more than 65,536 marks between two segments"),
        (b"\xff\xe0\0\2", "more than 65,536 segments"),
    ],
)
def test_markers_by_the_million_are_walked_over_in_no_time(put_in: bytes, reason: str | None) -> None:
    image = WHOLE["JPEG"]
    image = image[:2] + put_in * (8_000_000 // len(put_in)) + image[2:]
    start = time.process_time()
    if reason is None:
        read_markers(image)
    else:
        with pytest.raises(ValueError, match=reason):
            read_markers(image)
    header_of(image)
    assert time.process_time() - start < 5  # a loop over bytes took longer by far


def mutated(rng: random.Random, image: bytes) -> bytes:
    """`image` with one to eight bits, bytes or stretches changed, taken out, put in or cut off; often in its head."""
    content = bytearray(image)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(min(len(content), rng.choice((64, 700, 10**6)))) if content else 0
        way = rng.randrange(6)
        if way == 0 and content:
            content[at] ^= 1 << rng.randrange(8)
        elif way == 1 and content:
            content[at] = rng.choice((0, 1, 127, 128, 255))
        elif way == 2:
            del content[at + rng.randrange(1000) :]
        elif way == 3:
            content[at:at] = rng.randbytes(rng.randrange(1, 40))
        elif way == 4:
            del content[at : at + rng.randrange(1, 40)]
        else:
            content[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff", b"\xff\xd9\xff\xd8"))
    return bytes(content)


@pytest.mark.parametrize("seed", range(3))
def test_a_thousand_mutilated_files_each_give_pixels_or_a_reason(seed: int, capfd: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(seed)
    quiet = [image for kind, image in WHOLE.items() if kind not in BY_LIBTIFF]
    originals = [*quiet, animated("PNG"), animated("WEBP"), encoded("PNG", "I;16")]
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(1000):
            (look,) = judge_images([mutated(rng, rng.choice(originals))])
            if isinstance(look, str):
                refused += 1
                assert look.isprintable()
                assert " at 0x" not in look
            else:
                assert min(look.width, look.height) >= MIN_SIDE
    assert 500 < refused < 1000
    assert capfd.readouterr() == ("", "")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_hundreds_of_mutilated_compressed_tiffs_each_give_pixels_or_a_reason() -> None:
    rng = random.Random(0)
    looks = judge_images([mutated(rng, rng.choice([*BY_LIBTIFF.values()])) for _ in range(500)])
    refused = [look for look in looks if isinstance(look, str)]
    assert 100 < len(refused) < 500
    assert all(reason.isprintable() and " at 0x" not in reason for reason in refused)


def test_a_tiff_is_decoded_as_it_is_stored() -> None:
    """Pillow turns it as its tag says, and so would what turns all formats: twice."""
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded("TIFF", exif=exif)
    np.testing.assert_array_equal(decode(turned), decode(WHOLE["TIFF"]))
    np.testing.assert_array_equal(Image.open(io.BytesIO(turned)), np.rot90(decode(turned), -1))
    (look,) = judge_images([turned], turns=True)
    assert isinstance(look, ImageFacts)
    assert (look.width, look.height, look.how) == (40, 48, TURNED)


def with_tag(tag: int, change: Callable[[struct.Struct, bytes], bytes]) -> bytes:
    """A TIFF of four strips, one entry of whose directory is changed."""
    file = io.BytesIO()
    PICTURE.save(file, "TIFF", tiffinfo={278: 10}, strip_size=10 * 48 * 3)
    image = bytearray(file.getvalue())
    (at,) = struct.unpack_from("<I", image, 4)
    (count,) = struct.unpack_from("<H", image, at)
    entry = next(at + 2 + 12 * k for k in range(count) if struct.unpack_from("<H", image, at + 2 + 12 * k) == (tag,))
    image[entry : entry + 12] = change(struct.Struct("<HHII"), bytes(image[entry : entry + 12]))
    return bytes(image)


def test_a_tiff_that_lists_too_few_strips_is_refused() -> None:
    """Pillow leaves what they would hold black."""

    def halved(layout: struct.Struct, entry: bytes) -> bytes:
        tag, kind, count, value = layout.unpack(entry)
        assert count == 4
        return layout.pack(tag, kind, 2, value)

    broken = with_tag(273, halved)
    assert not np.asarray(Image.open(io.BytesIO(broken)))[20:].any()
    with pytest.raises(ValueError, match="damaged: a TIFF that lists 2 of its 4 strips or tiles"):
        decode(broken)
    with pytest.raises(ValueError, match="lists 2 of its 4"):
        decode_upright(broken)


def test_a_tiff_of_16_bits_whose_white_is_0_is_refused_and_not_inverted() -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((40, 48), np.uint16)).save(file, "TIFF", tiffinfo={262: 0})
    for reads in (decode, decode_upright):
        with pytest.raises(ValueError, match="16 bits of which 0 is white; convert it"):
            reads(file.getvalue())


def test_a_tiff_that_pillow_does_not_know_is_not_called_damaged() -> None:
    def five(layout: struct.Struct, entry: bytes) -> bytes:
        tag, kind, count, _ = layout.unpack(entry)
        return layout.pack(tag, kind, count, 5)

    (look,) = judge_images([with_tag(277, five)])
    assert look == "a TIFF that is damaged, or of a kind that is not read here"
    assert not is_damage(look)


def test_a_rare_subsampling_is_decoded_all_the_same() -> None:
    """4:1:0-like factors, which simplejpeg does not know: the luma's sampling in the header made 4x2 of a 1x1 grey."""
    image = bytearray(noise_jpeg(4, "L"))
    at = image.index(b"\xff\xc0")
    image[at + 11] = 0x33
    expected = np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))
    np.testing.assert_array_equal(decode(bytes(image)), expected)


def test_real_images_are_decoded_to_pillows_pixels(real_source) -> None:
    images = [record.image for record in TinyImageNet(real_source, class_count=10).records("train")]
    for image in images:
        np.testing.assert_array_equal(decode(image), np.asarray(Image.open(io.BytesIO(image)).convert("RGB")))
    assert not any(isinstance(look, str) for look in judge_images(images))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_levels_of_12_bits_in_16_are_told(form: str) -> None:
    """Nothing tells a dark image from one that uses the lowest 12 bits: it is packed, and said."""
    for highest, how in ((4095, DARK), (65535, ANEW if form == "PNG" else FROM_GIF_OR_TIFF)):
        levels = np.linspace(0, highest, 64, dtype=np.uint16).reshape(8, 8)
        file = io.BytesIO()
        Image.fromarray(levels).save(file, form)
        (facts,) = judge_images([file.getvalue()])
        assert isinstance(facts, ImageFacts)
        assert facts.how == how
