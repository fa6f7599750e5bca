"""Images and archives that somebody made to do harm, or that chance did, and what a process does with them."""

import io
import itertools
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from numpy.typing import NDArray
from PIL import Image

from fastwsol import predict
from fastwsol.batches.dali_batches import DaliBatches
from fastwsol.batches.stream import Stream, evaluation_plan
from fastwsol.config import Config
from fastwsol.dataset.shards import open_shards
from fastwsol.host.command_line import run_command
from fastwsol.host.errors import UserError
from fastwsol.pack import main as pack_main
from fastwsol.prediction.user_images import decode_upright, find_images
from fastwsol.sources.decode import MAX_PIXELS, ImageFacts, judge_images

from .works import run_small

SAVED_AS: dict[str, list[tuple[str, dict[str, object]]]] = {
    "JPEG": [("RGB", {}), ("L", {}), ("CMYK", {}), ("RGB", {"progressive": True, "subsampling": 0})],
    "PNG": [("RGB", {}), ("RGBA", {}), ("P", {}), ("I;16", {}), ("L", {"optimize": True})],
    "GIF": [("P", {}), ("P", {"save_all": True, "append_images": [Image.new("P", (40, 30), 3)]})],
    "TIFF": [("RGB", {}), ("RGB", {"compression": "tiff_lzw"}), ("L", {"compression": "tiff_adobe_deflate"})],
    "BMP": [("RGB", {}), ("P", {})],
    "WEBP": [("RGB", {}), ("RGBA", {"lossless": True})],
}


def good_images() -> list[bytes]:
    """One of 40x30 pixels in each format and form, and one that its EXIF turns."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    found = []
    for kind, forms in SAVED_AS.items():
        for mode, how in forms:
            file = io.BytesIO()
            image = Image.fromarray(noise)
            (image.convert("L") if mode == "I;16" else image).convert(mode).save(file, kind, **how)
            found.append(file.getvalue())
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG", exif=exif)
    return [*found, file.getvalue()]


def good_zip() -> bytes:
    """Of two classes with two images each."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, image in zip(("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg"), itertools.cycle(good_images()[:1])):
            archive.writestr(name, image)
    return file.getvalue()


def damaged(originals: list[bytes]) -> st.SearchStrategy[bytes]:
    """Some of `originals` with bits flipped, and parts changed, taken out, doubled or put in; and random bytes."""
    place = st.floats(0, 1, exclude_max=True)
    flips = st.tuples(st.just("flip"), place, st.integers(0, 7))
    change = st.one_of(
        flips,
        st.tuples(st.just("set"), place, st.sampled_from([0, 1, 0x7F, 0x80, 0xFF])),
        st.tuples(st.just("cut"), place, st.integers(1, 64)),
        st.tuples(st.just("double"), place, st.integers(1, 64)),
        st.tuples(st.just("put in"), place, st.binary(min_size=1, max_size=32)),
        st.tuples(st.just("end"), place, st.none()),
    )
    flipped = st.builds(_changed, st.sampled_from(originals), st.lists(flips, min_size=1, max_size=3))
    of_one = st.builds(_changed, st.sampled_from(originals), st.lists(change, max_size=8))
    begun = st.builds(lambda original, rest: original[:16] + rest, st.sampled_from(originals), st.binary(max_size=500))
    return st.one_of(flipped, of_one, begun, st.binary(max_size=200))


def _changed(original: bytes, changes: list[tuple[str, float, object]]) -> bytes:
    content = bytearray(original)
    for how, place, what in changes:
        at = int(place * len(content))
        match how, what:
            case "flip", int(bit) if content:
                content[at] ^= 1 << bit
            case "set", int(value) if content:
                content[at] = value
            case "cut", int(count):
                del content[at : at + count]
            case "double", int(count):
                content[at:at] = content[at : at + count]
            case "put in", bytes(more):
                content[at:at] = more
            case "end", _:
                del content[at:]
    return bytes(content)


def search(what: st.SearchStrategy[bytes], examples: int, number: int, check: Callable[[bytes], object]) -> None:
    """Give `check` so many examples, others for each `number`; the first that fails is printed."""

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(what)
    def all_hold(content: bytes) -> None:
        check(content)

    all_hold()


def look_at_images(number: int, examples: int, folder: Path) -> int:
    """Decode damaged images, as packing and as predicting do. Each is right or refused with a reason.

    Some that were taken and some that were not are put into `folder`, as images to train on among good ones.
    """
    taken: set[bytes] = set()
    refused: set[bytes] = set()

    def check(image: bytes) -> None:
        (look,) = judge_images([image], turns=True)
        pixels = _pixels_or_reason(lambda: decode_upright(image))
        assert isinstance(look, ImageFacts) or look, "a reason"
        if isinstance(look, ImageFacts):
            assert not isinstance(pixels, str), pixels
            assert pixels.shape == (look.height, look.width, 3)
        (taken if isinstance(look, ImageFacts) else refused).add(image)

    search(damaged(good_images()), examples, number, check)
    drawn = random.Random(number)
    found = [image for each in (sorted(taken), sorted(refused)) for image in drawn.sample(each, min(100, len(each)))]
    files = {f"train/{'ab'[k % 2]}/{k}.png": image for k, image in enumerate(found)}
    files |= {f"{part}/good.jpg": good_images()[0] for part in ("train/a", "train/b", "val/a", "val/b")}
    for name, image in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(image)
    return 0


def _pixels_or_reason(decode: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8] | str:
    try:
        pixels = decode()
    except ValueError as error:
        reason = str(error)
    else:
        assert pixels.size <= 3 * MAX_PIXELS
        return pixels
    assert reason
    return reason


def look_at_archives(number: int, examples: int, place: Path) -> int:
    """Read all of damaged archives: each is refused with one reason, or its images are."""

    def check(content: bytes) -> None:
        place.write_bytes(content)
        try:
            found = find_images([place])
        except UserError as error:
            reason = str(error)
        else:
            for image in found.images:
                _pixels_or_reason(image.pixels)
            return
        assert str(place) in reason

    search(damaged([good_zip()]), examples, number, check)
    return 0


def pack_images(source: Path, out: Path, *more: str) -> int:
    """The packing of a folder or zip of classes."""
    return run_command(pack_main, ["--layout", "imagefolder", "--source", str(source), "--out", str(out), *more])


def predict_images(run: Path, source: Path, out: Path) -> int:
    """The boxes of a folder's or zip's images."""
    return run_small(predict.main, [str(run), str(source), "--out", str(out), "--threads", "1"])


def decode_packed(shards: Path) -> int:
    """What a training would read: every packed image, by DALI."""
    opened = open_shards(shards)
    for split in opened.splits.values():
        moments = opened.manifest.statistics
        plan = evaluation_plan(len(split), 16)
        stream = Stream(split, plan, 16, Config.of(aug="none").views, 0, moments)
        batches = DaliBatches(stream, torch.device("cpu"), threads=1)
        for _ in range(-(-len(split) // 16)):
            next(batches)
    return 0
