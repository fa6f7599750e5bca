"""Bad inputs of scripts/pack.py."""

import io
import os
import random
import resource
import shutil
import socket
import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from fastwsol.dataset.packer import pack
from fastwsol.host.files import sole_worker
from fastwsol.sources.synthetic import Synthetic

from .case import Case, Place

VAL = "val/val_annotations.txt"
BOXES = "train/n01/n01_boxes.txt"
IMAGE = "val/images/val_4.JPEG"
LINE = "val_annotations.txt line 5"
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))


def flags(place: Place, *more: object) -> list[object]:
    return ["--source", place.layout, "--out", place.out, *more]


# Images


def encoded(kind: str, mode: str = "RGB", size: tuple[int, int] = (64, 64), **how: object) -> bytes:
    file = io.BytesIO()
    PICTURE.resize(size).convert(mode).save(file, kind, **how)
    return file.getvalue()


TURNED = PICTURE.rotate(90)
JPEG, PNG, WEBP, BMP = (encoded(kind) for kind in ("JPEG", "PNG", "WEBP", "BMP"))
SCAN = JPEG.index(b"\xff\xda") + 14


def patched(image: bytes, at: int, new: bytes) -> bytes:
    return image[:at] + new + image[at + len(new) :]


def jpeg_of(width: int, height: int) -> bytes:
    return patched(JPEG, JPEG.index(b"\xff\xc0") + 5, struct.pack(">HH", height, width))


def png_of(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return PNG[:12] + header + struct.pack(">I", zlib.crc32(header)) + PNG[33:]


INTACT = ("several pages", "JPEG XL", "JPEG 2000", "animated", "a side must have", "0x0", "more than", "scans")
"""Parts of reasons to refuse an image that is whole."""


def image_case(name: str, image: bytes, *words: str) -> Case:
    def make(place: Place) -> list[object]:
        (place.layout / IMAGE).write_bytes(image)
        return flags(place)

    damaged = not any(word in text for word in INTACT for text in words)
    remedy = "put a whole copy in its place" if damaged else "convert it to a JPEG or PNG that can be packed"
    words = (f"error: {IMAGE}: bad image, ", *words, LINE, remedy, "--quarantine")
    return Case("image", name, make, words, mend=put_back, quarantined=1)


def put_back(place: Place) -> None:
    """The image as it was, under its name."""
    path = place.layout / IMAGE
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
    shutil.copyfile(place.good_layout / IMAGE, path)


IMAGES = [
    image_case("empty file", b"", "the file is empty"),
    image_case("zeros", bytes(3000), "no JPEG", "nothing but zeros"),
    image_case("random bytes", b"\x01" + random.Random(0).randbytes(2000), "no JPEG", "its first bytes are 01"),
    image_case("text", b"404 Not Found\n", "no JPEG", "text"),
    image_case("an HTML page", b"<!DOCTYPE html><html><body>Sign in</body></html>", "an HTML page"),
    image_case("a Git LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer"),
    image_case("a GIF that moves", encoded("GIF", save_all=True, append_images=[TURNED]), "an animated GIF"),
    image_case("a GIF cut in the middle", encoded("GIF")[:1000], "damaged: image file is truncated"),
    image_case("a TIFF of two pages", encoded("TIFF", save_all=True, append_images=[PICTURE]), "of several pages"),
    image_case("a TIFF cut in the middle", encoded("TIFF")[:6000], "damaged: image file is truncated"),
    image_case("a PDF", b"%PDF-1.7\n" + bytes(100), "a PDF"),
    image_case("a zip", b"PK\x03\x04" + bytes(100), "a zip archive"),
    image_case("JPEG cut after 2 bytes", JPEG[:2], "no JPEG"),
    image_case("JPEG cut after 3 bytes", JPEG[:3], "truncated"),
    image_case("JPEG cut in its header", JPEG[:100], "truncated: the JPEG ends in its header"),
    image_case("JPEG cut where its pixels begin", JPEG[:SCAN], "truncated"),
    image_case("JPEG cut in the middle", JPEG[: len(JPEG) // 2], "truncated"),
    image_case("JPEG without its last byte", JPEG[:-1], "truncated"),
    image_case("JPEG without its last two bytes", JPEG[:-2], "truncated"),
    image_case("JPEG, second half zeros", JPEG[: len(JPEG) // 2] + bytes(2000), "truncated"),
    image_case("JPEG cut, end mark put on", JPEG[: len(JPEG) // 2] + b"\xff\xd9", "damaged: Corrupt JPEG data"),
    image_case("JPEG, 30 bytes of its pixels zeroed", patched(JPEG, SCAN + 600, bytes(30)), "damaged: Corrupt JPEG"),
    image_case("JPEG, a marker among its pixels", patched(JPEG, SCAN + 600, b"\xff\xd3"), "damaged"),
    image_case("JPEG, first segment's length wrong", patched(JPEG, 4, b"\x01\x10"), "damaged"),
    image_case("JPEG, Huffman table damaged", patched(JPEG, JPEG.index(b"\xff\xc4") + 5, b"\xff" * 16), "damaged"),
    image_case("JPEG, quantisation table missing", JPEG.replace(b"\xff\xdb", b"\xff\xe5"), "damaged"),
    image_case("JPEG that says 65,535x65,535", jpeg_of(65535, 65535), "65,535x65,535 pixels, more than"),
    image_case("JPEG that says 0x0", jpeg_of(0, 0), "0x0 pixels"),
    image_case("JPEG that says twice its height", jpeg_of(64, 128), "damaged: Corrupt JPEG data"),
    image_case("JPEG that says half its height", jpeg_of(64, 32), "damaged: Corrupt JPEG data"),
    image_case("JPEG of 12 bits", patched(JPEG, JPEG.index(b"\xff\xc0") + 4, b"\x0c"), "precision 12"),
    image_case("JPEG of 60 scans and more", encoded("JPEG", progressive=True).replace(b"\xff\xda", b"\xff\xda" * 60)),
    image_case("JPEG of 4x4 pixels", encoded("JPEG", size=(4, 4)), "4x4 pixels, a side must have 8"),
    image_case("CMYK JPEG cut in the middle", encoded("JPEG", "CMYK")[:3000], "truncated"),
    image_case("PNG cut in the middle", PNG[: len(PNG) // 2], "truncated: the PNG has no end mark"),
    image_case("PNG with a flipped bit", patched(PNG, 5000, bytes([PNG[5000] ^ 1])), "damaged: broken PNG"),
    image_case("PNG that says 50,000x50,000", png_of(50_000, 50_000), "50,000x50,000 pixels, more than"),
    image_case("animated PNG", encoded("PNG", save_all=True, append_images=[PICTURE.rotate(90)]), "an animated PNG"),
    image_case("animated WEBP", encoded("WEBP", save_all=True, append_images=[PICTURE.rotate(90)]), "an animated WEBP"),
    image_case("WEBP cut in the middle", WEBP[: len(WEBP) // 2]),
    image_case("BMP cut in the middle", BMP[: len(BMP) // 2], "truncated"),
    image_case("33 MB", b"\xff\xd8\xff" + bytes(33 * 2**20), "more than the 33,554,432 allowed"),
]


# Files of a folder


def file_case(name: str, put: Callable[[Path, Place], object], *words: str) -> Case:
    def make(place: Place) -> list[object]:
        (place.layout / IMAGE).unlink()
        put(place.layout / IMAGE, place)
        return flags(place)

    return Case("file", name, make, (f"error: {IMAGE}: ", *words, LINE), mend=put_back, quarantined=1)


def bind_socket(path: Path, place: Place) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the whole path may be longer than a socket's name can be
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(path.name)
    os.chdir(here)


def link_out(path: Path, place: Place) -> None:
    shutil.copyfile(place.good_layout / IMAGE, place.root / "elsewhere.JPEG")
    path.symlink_to(place.root / "elsewhere.JPEG")


def sparse(path: Path, place: Place) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


FILES = [
    file_case("missing", lambda path, place: None, "no such image", "put the image back, or remove the line"),
    file_case("a folder", lambda path, place: path.mkdir(), "is a folder, not a plain file"),
    file_case("a pipe", lambda path, place: os.mkfifo(path), "is a pipe, not a plain file"),
    file_case("a socket", bind_socket, "cannot be read (No such device or address)"),
    file_case("a device", lambda path, place: path.symlink_to("/dev/zero"), "is a link that leads out of"),
    file_case("a link out of the source", link_out, "is a link that leads out of"),
    file_case("a link to nothing", lambda path, place: path.symlink_to("nothing"), "missing"),
    file_case("a link to itself", lambda path, place: path.symlink_to(path.name), "cannot be read (Too many levels"),
    file_case("a terabyte", sparse, "1,099,511,627,776 bytes, more than"),
]


# Layouts and annotations


def spoilt(group: str, name: str, spoil: Callable[[Path], object], *words: str, quarantined: int | None = None) -> Case:
    def make(place: Place) -> list[object]:
        spoil(place.layout)
        return flags(place)

    def mend(place: Place) -> None:
        folder = place.layout
        shutil.rmtree(folder)
        shutil.copytree(place.good_layout, folder)

    return Case(group, name, make, words, mend=mend, quarantined=quarantined)


def replace(path: str, old: str, new: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        text = (root / path).read_text()
        assert old in text
        (root / path).write_text(text.replace(old, new, 1))

    return spoil


def append(path: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / path).write_text((root / path).read_text() + text)


def write(path: str, content: bytes) -> Callable[[Path], object]:
    def spoil(root: Path) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)

    return spoil


def remove(path: str) -> Callable[[Path], object]:
    return lambda root: (root / path).unlink()


def link_folder_out(root: Path) -> None:
    (root / "train/n01/images").rename(root.parent / "images")
    (root / "train/n01/images").symlink_to(root.parent / "images")


def no_images(root: Path) -> None:
    shutil.rmtree(root / "train/n01/images")
    (root / BOXES).write_text("")


LAYOUTS = [
    spoilt("layout", "no wnids.txt", remove("wnids.txt"), "not a Tiny ImageNet layout", "--source"),
    spoilt("layout", "wnids.txt without a class", write("wnids.txt", b"\n\n"), "wnids.txt: names no class"),
    spoilt(
        "layout",
        "wnids.txt is a folder",
        lambda root: (remove("wnids.txt")(root), (root / "wnids.txt").mkdir()),
        "not a Tiny ImageNet layout",
    ),
    spoilt("layout", "wnids.txt is not text", write("wnids.txt", b"\xff\xfe\x00"), "wnids.txt line 1: not UTF-8 text"),
    spoilt("layout", "a class twice", append("wnids.txt", "n01\n"), "wnids.txt line 4: n01 stands in line 2 already"),
    spoilt(
        "layout",
        "a class that is a path",
        append("wnids.txt", "../n01\n"),
        "wnids.txt line 4: '../n01' is no WordNet id",
    ),
    spoilt("layout", "no words.txt", remove("words.txt"), "words.txt: missing", "official tiny-imagenet-200.zip"),
    spoilt("layout", "a class without a name", replace("words.txt", "n02", "n12"), "words.txt: no name for n02"),
    spoilt(
        "layout",
        "a class folder that is not listed",
        write("train/n77/n77_boxes.txt", b""),
        "train/n77",
        "not a class of",
    ),
    spoilt(
        "layout",
        "an image without annotation",
        write("val/images/val_77.JPEG", JPEG),
        "val_77.JPEG: ",
        "has no annotation for this image",
    ),
    spoilt(
        "layout", "an image folder behind a link out", link_folder_out, "train/n01/images: is a link that leads out"
    ),
    spoilt(
        "layout",
        "no images of a class",
        lambda root: shutil.rmtree(root / "train/n01/images"),
        "n01_10.JPEG: no such image",
    ),
    spoilt("layout", "a class without images and annotations", no_images, "class n01 has no images to train on"),
    spoilt("layout", "no val", lambda root: shutil.rmtree(root / "val"), f"{VAL}: missing"),
    spoilt("layout", "val without a line", write(VAL, b""), "val_0.JPEG: ", "has no annotation for this image"),
]

ANNOTATIONS = [
    spoilt(
        "annotation",
        "a field missing",
        replace(VAL, "\t63\n", "\n"),
        f"{VAL} line 1: found 'val_0",
        "expected <file> <wnid>",
    ),
    spoilt("annotation", "a field too many", replace(BOXES, "\t63\n", "\t63\t1\n"), f"{BOXES} line 1: found"),
    spoilt("annotation", "an empty field", replace(BOXES, "\t1\t", "\t\t"), f"{BOXES} line 1: found"),
    spoilt("annotation", "blanks for tabs", replace(VAL, "\t", " "), f"{VAL} line 1: found"),
    spoilt(
        "annotation", "not a number", replace(BOXES, "\t30\t", "\tthirty\t"), f"{BOXES} line 1: box coordinate 'thirty'"
    ),
    spoilt("annotation", "a fraction", replace(BOXES, "\t30\t", "\t30.5\t"), "'30.5', expected an integer"),
    spoilt("annotation", "not a number at all", replace(BOXES, "\t30\t", "\tnan\t"), "'nan', expected an integer"),
    spoilt("annotation", "a number of 400 digits", replace(BOXES, "\t30\t", f"\t{'9' * 400}\t"), "expected an integer"),
    spoilt("annotation", "digits of another script", replace(BOXES, "\t30\t", "\t٣٠\t"), "expected an integer"),
    spoilt("annotation", "an unknown class", replace(VAL, "n03", "n77"), f"{VAL} line 1: 'n77' is not a class"),
    spoilt(
        "annotation",
        "an image twice",
        append(VAL, "val_0.JPEG\tn01\t0\t0\t1\t1\n"),
        f"{VAL} line 7: val_0.JPEG stands in line 1",
    ),
    spoilt(
        "annotation",
        "a path for a name",
        append(VAL, "../../wnids.txt\tn01\t0\t0\t1\t1\n"),
        f"{VAL} line 7",
        "is no image's name",
    ),
    spoilt(
        "annotation", "a hidden file", append(VAL, ".profile\tn01\t0\t0\t1\t1\n"), f"{VAL} line 7", "is no image's name"
    ),
    spoilt(
        "annotation", "NUL in a name", append(VAL, "a\0b\tn01\t0\t0\t1\t1\n"), f"{VAL} line 7", "is no image's name"
    ),
    spoilt("annotation", "not text", write(BOXES, b"\xff\xd8\xff"), f"{BOXES} line 1: not UTF-8 text"),
    spoilt("annotation", "a megabyte without a line end", write(VAL, b"x" * 2**20), f"{VAL} line 1: found 'xxx"),
    spoilt(
        "annotation",
        "box left of the image",
        replace(BOXES, "\t10\t1\t", "\t-1\t1\t"),
        "n01_10.JPEG: box (-1, 1, 30, 63) begins outside",
        f"{BOXES} line 1",
        quarantined=1,
    ),
    spoilt(
        "annotation", "box inverted", replace(BOXES, "\t30\t", "\t9\t"), "box (10, 1, 9, 63) is inverted", quarantined=1
    ),
    spoilt(
        "annotation",
        "box right of the image",
        replace(BOXES, "\t30\t", "\t66\t"),
        "box (10, 1, 67, 64), half-open, reaches outside the 64x64",
        f"{BOXES} line 1",
        quarantined=1,
    ),
    spoilt(
        "annotation",
        "box far below the image",
        replace(VAL, "5\t63\n", "5\t999999999\n"),
        "val_5.JPEG: box (5, 5, 6, 1e+09)",
        quarantined=1,
    ),
    spoilt(
        "annotation",
        "all images of a class bad",
        lambda root: [path.write_bytes(b"x") for path in (root / "train/n01/images").iterdir()],
        "n01_10.JPEG: bad image",
    ),
]


# Zips


def zipped(place: Place) -> Path:
    path = place.root / "layout.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(place.good_layout.rglob("*")):
            if file.is_file():
                archive.write(file, f"tiny-imagenet-200/{file.relative_to(place.good_layout)}")
    return path


MEMBER = f"tiny-imagenet-200/{IMAGE}"


def zip_case(name: str, spoil: Callable[[Path], object], *words: str, quarantined: int | None = None) -> Case:
    def make(place: Place) -> list[object]:
        path = zipped(place)
        spoil(path)
        return ["--source", path, "--out", place.out]

    return Case("zip", name, make, ("layout.zip", *words), mend=zipped, quarantined=quarantined)


def added(
    name: str, content: bytes = b"x", attributes: int = 0, method: int = zipfile.ZIP_STORED
) -> Callable[[Path], None]:
    """Put a member of its own into the archive."""

    def spoil(path: Path) -> None:
        member = zipfile.ZipInfo("placeholder")
        member.external_attr, member.compress_type, member.create_system = attributes << 16, method, 3
        with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(path, "a") as archive:
            member.filename = name
            archive.writestr(member, content)

    return spoil


def central(path: Path, change: Callable[[bytearray, int], object], member: str = MEMBER) -> None:
    """Change the central directory's entry of `member`: `change` gets the archive and where the entry begins."""
    content = bytearray(path.read_bytes())
    at = content.rindex(member.encode()) - 46
    assert content[at : at + 4] == b"PK\x01\x02"
    change(content, at)
    path.write_bytes(content)


def in_central(layout: str, offset: int, value: int) -> Callable[[Path], None]:
    return lambda path: central(path, lambda content, at: struct.pack_into(layout, content, at + offset, value))


def named_with_nul(path: Path) -> None:
    central(path, lambda content, at: content.__setitem__(slice(at + 46 + 20, at + 46 + 21), b"\0"))


def overlapping(path: Path) -> None:
    """One member's data is within another's."""
    with zipfile.ZipFile(path) as archive:
        offset = archive.getinfo("tiny-imagenet-200/val/images/val_3.JPEG").header_offset
    in_central("<I", 42, offset + 100)(path)


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny-imagenet-200/val/images/big.JPEG", bytes(50 * 2**20))


def deflated(path: Path, lie: int) -> None:
    """All members deflated; the image's announced size is another by `lie`."""
    with zipfile.ZipFile(path) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    central(
        path,
        lambda content, at: struct.pack_into(
            "<I", content, at + 24, lie + struct.unpack_from("<I", content, at + 24)[0]
        ),
    )


def flipped(member: str) -> Callable[[Path], None]:
    """A bit of the member's data is another."""

    def spoil(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[content.index(member.encode()) + len(member) + 40] ^= 1
        path.write_bytes(content)

    return spoil


def rewritten(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(change(path.read_bytes()))


GET = "get the official tiny-imagenet-200.zip"
ZIPS = [
    zip_case("empty", rewritten(lambda _: b""), "not a whole zip archive", GET),
    zip_case("no zip", rewritten(lambda _: JPEG), "not a whole zip archive", GET),
    zip_case("without a member", rewritten(lambda _: b"PK\x05\x06" + bytes(18)), "not a Tiny ImageNet layout"),
    zip_case("cut in the directory", rewritten(lambda content: content[:-500]), "not a whole zip archive", GET),
    zip_case("cut in the middle", rewritten(lambda content: content[: len(content) // 2]), "not a whole zip archive"),
    zip_case(
        "directory missing bytes", rewritten(lambda content: content[:-400] + content[-300:]), "not a whole zip archive"
    ),
    zip_case("a path upwards", added("tiny-imagenet-200/../../evil"), "evil' is no path within an archive", GET),
    zip_case("an absolute path", added("/etc/cron.d/evil"), "'/etc/cron.d/evil' is no path within an archive"),
    zip_case("a drive letter", added("C:/evil"), "'C:/evil' is no path within an archive"),
    zip_case("backslashes", added("tiny-imagenet-200\\..\\evil"), "is no path within an archive"),
    zip_case("NUL in a name", named_with_nul, "is no path within an archive"),
    zip_case("a path with an empty part", added("tiny-imagenet-200//val/x"), "is no path within an archive"),
    zip_case(
        "a symbolic link",
        added("tiny-imagenet-200/train/link", b"/etc", stat.S_IFLNK | 0o777),
        "is a symbolic link, not a plain file",
    ),
    zip_case(
        "a device", added("tiny-imagenet-200/train/device", b"", stat.S_IFCHR | 0o666), "is a device, not a plain file"
    ),
    zip_case("a member twice", added(MEMBER, JPEG), "val_4.JPEG: the archive has two files of this name"),
    zip_case("an encrypted member", in_central("<H", 8, 1), "val_4.JPEG' is encrypted"),
    zip_case("compressed by method 99", in_central("<H", 10, 99), "is compressed by method 99"),
    zip_case("LZMA", added("tiny-imagenet-200/x", bytes(500), method=zipfile.ZIP_LZMA), "is compressed by method 14"),
    zip_case("a bomb", bomb, "val/images/big.JPEG: ", "has no annotation for this image"),
    zip_case("members that overlap", overlapping, "shares its bytes with"),
    zip_case(
        "a wrong checksum",
        in_central("<I", 16, 1),
        "val_4.JPEG: the archive is damaged here (Bad CRC-32",
        LINE,
        quarantined=1,
    ),
    zip_case("a flipped bit in an image", flipped(MEMBER), "the archive is damaged here (Bad CRC-32", quarantined=1),
    zip_case(
        "a flipped bit in an annotation", flipped(f"tiny-imagenet-200/{BOXES}"), f"{BOXES}: the archive is damaged here"
    ),
    zip_case(
        "an image announced 100 bytes too short",
        lambda path: deflated(path, -100),
        "the archive is damaged here",
        quarantined=1,
    ),
    zip_case(
        "an image announced 100 bytes too long", lambda path: deflated(path, 100), "were announced", quarantined=1
    ),
    zip_case(
        "an image announced as 4 GB",
        in_central("<I", 24, 2**32 - 2),
        "val_4.JPEG: 4,294,967,294 bytes, more than the 67,108,864 allowed",
        quarantined=1,
    ),
    zip_case(
        "a local header overwritten",
        lambda path: path.write_bytes(path.read_bytes().replace(b"PK\x03\x04", b"XX\x03\x04", 1)),
        "the archive is damaged here",
        quarantined=1,
    ),
]


# Flags, sources and out folders


def flag_case(name: str, arguments: list[str], *words: str) -> Case:
    def make(place: Place) -> list[object]:
        return [*arguments, "--out", place.out]

    return Case("flags", name, make, words)


def layout_flag_case(name: str, arguments: list[str], *words: str) -> Case:
    return Case("flags", name, lambda place: flags(place, *arguments), words)


FLAGS = [
    flag_case("an unknown flag", ["--sauce", "x"], "--sauce", "perhaps you meant", "--source"),
    flag_case("a stray argument", ["tiny.zip"], "tiny.zip"),
    flag_case("a flag without its value", ["--synthetic", "--classes"], "--classes"),
    flag_case("classes that are no number", ["--synthetic", "--classes", "many"], "--classes"),
    layout_flag_case("no class", ["--classes", "0"], "--classes 0", "choose 1 to 3"),
    layout_flag_case("fewer classes than none", ["--classes", "-1"], "--classes -1", "choose 1 to 3"),
    layout_flag_case("more classes than there are", ["--classes", "4"], "--classes 4", "wnids.txt has 3 classes"),
    flag_case("more synthetic classes than there are", ["--synthetic", "--classes", "15"], "has 1 to 14 classes"),
    flag_case("synthetic and a source", ["--synthetic", "--source", "x"], "give one of the two"),
    flag_case("a source that is not there", ["--source", "none.zip"], "none.zip: no such folder or zip"),
    flag_case("a source that is a device", ["--source", "/dev/null"], "/dev/null"),
    Case(
        "flags",
        "a source without a layout",
        lambda place: ["--source", place.root, "--out", place.out],
        ("not a Tiny ImageNet layout", "--source"),
    ),
    Case(
        "flags",
        "a source that is an image",
        lambda place: ["--source", place.layout / IMAGE, "--out", place.out],
        ("not a whole zip archive", GET),
    ),
]


def out_case(name: str, put: Callable[[Path, Place], object], *words: str, status: int = 2) -> Case:
    def make(place: Place) -> list[object]:
        put(place.out, place)
        return flags(place)

    return Case("out", name, make, words, status)


def folder_with(name: str, content: bytes) -> Callable[[Path, Place], None]:
    def put(out: Path, place: Place) -> None:
        out.mkdir()
        (out / name).write_bytes(content)

    return put


def packed(out: Path, place: Place) -> None:
    pack(Synthetic(2, 2, 2), out)


def held(place: Place) -> Iterator[list[object]]:
    """Another process's hold on the folder is one on another descriptor."""
    place.out.mkdir()
    with sole_worker(place.out):
        yield flags(place)


def small_files(place: Place) -> Iterator[list[object]]:
    """A real limit on what the process may write, as a full disk is: 8 KB a file."""
    arguments = flags(place)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        yield arguments
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def behind_a_file(place: Place) -> list[object]:
    (place.root / "file").touch()
    return ["--source", place.layout, "--out", place.root / "file" / "out"]


OTHER_JOURNAL = b'{"format_version": 1, "work": {"source": "synthetic", "classes": ["a"]}, "finished": []}'
OUTS = [
    out_case("a file", lambda out, place: out.touch(), "out: is a file; give a folder with --out"),
    out_case(
        "a folder of someone's", folder_with("thesis.tex", b"years"), "holds 'thesis.tex', which packing did not write"
    ),
    out_case(
        "a shard of someone's",
        folder_with("train-00000.arrow", b"x"),
        "holds 'train-00000.arrow', which packing did not write",
    ),
    out_case("another data set", packed, "holds another data set (synthetic", "nothing was changed", "--out OTHER"),
    out_case("a manifest that is none", folder_with("manifest.json", b"{"), "manifest.json: not a manifest"),
    out_case(
        "a manifest of a later version",
        folder_with("manifest.json", b'{"schema_version": 99}'),
        "schema version 99, and this program reads 1 and 2",
    ),
    out_case("a journal that is none", folder_with("packing.json", b"\xff"), "packing.json: no journal of a packing"),
    out_case(
        "a journal of a later version",
        folder_with("packing.json", b'{"format_version": 99}'),
        "packing.json: written by another version",
    ),
    out_case(
        "another packing's unfinished work",
        folder_with("packing.json", OTHER_JOURNAL),
        "an unfinished packing of synthetic with 1 class;",
    ),
    out_case("a link to nothing", lambda out, place: out.symlink_to("nothing/there"), "cannot be written", status=1),
    Case("out", "behind a file", behind_a_file, ("file/out: cannot be written (Not a directory)",), status=1),
    Case(
        "out",
        "in /proc",
        lambda place: ["--source", place.layout, "--out", "/proc/fastwsol"],
        ("/proc/fastwsol: cannot be written",),
        status=1,
    ),
    Case("out", "another process is at work", held, ("another process is at work here",)),
    Case(
        "out",
        "no room for a shard",
        small_files,
        ("out/train-00000.arrow: cannot be written (File too large)", "make room"),
        status=1,
        mend=lambda place: None,
    ),
]

CASES = [*IMAGES, *FILES, *LAYOUTS, *ANNOTATIONS, *ZIPS, *FLAGS, *OUTS]
