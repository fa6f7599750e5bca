"""The store: pixels decoded once, equal to every decoder's; whole, of these shards, and one for all processes."""

import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import noise_jpeg, with_damaged_images
from PIL import Image

from fastwsol.batches import decoded_store as store
from fastwsol.batches import views_reference as reference
from fastwsol.batches.dali_batches import DaliBatches
from fastwsol.batches.decoded_store import Store, default_folder
from fastwsol.batches.stream import Stream, evaluation_plan
from fastwsol.config import Augmentation, Statistics
from fastwsol.dataset.packer import pack
from fastwsol.dataset.shards import Shards, open_shards
from fastwsol.host.errors import Interrupted, RunFailure
from fastwsol.host.kept_arrays import KeptArray
from fastwsol.sources.synthetic import Synthetic

PLAIN = Augmentation("none", False, False, "bilinear", 64)


@pytest.fixture
def shards(tmp_path) -> Shards:
    pack(Synthetic(class_count=4, train_count=20, val_count=10), tmp_path / "shards")
    return open_shards(tmp_path / "shards")


def opened(shards: Shards, name: str = "train", **options) -> KeptArray:
    return Store(shards, name, default_folder(shards)).open(threads=2, **options)


def assert_pixels_are_those_of_every_decoder(shards: Shards, name: str) -> None:
    split, pixels = shards.splits[name], opened(shards, name).values
    by_pillow = np.stack([reference.decode(split.image(row)) for row in range(len(split))])
    np.testing.assert_array_equal(pixels, by_pillow)
    plan = evaluation_plan(len(split), len(split))
    zeros, ones = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    stream = Stream(split, plan, len(split), PLAIN, 0, Statistics(zeros, ones))
    batches = DaliBatches(stream, torch.device("cpu"), threads=2)
    (by_dali,) = batches._pipeline.run()
    np.testing.assert_array_equal(pixels, np.asarray(by_dali.as_tensor()))


def test_pixels_are_those_of_dali_and_of_pillow(shards):
    for name in ("train", "val"):
        assert_pixels_are_those_of_every_decoder(shards, name)


def test_real_pixels_are_those_of_dali_and_of_pillow(real_source, tmp_path):
    """Grey images among them."""
    from fastwsol.sources.tiny_imagenet import TinyImageNet

    pack(TinyImageNet(real_source, class_count=2), tmp_path / "shards")
    assert_pixels_are_those_of_every_decoder(open_shards(tmp_path / "shards"), "train")


def test_the_file_is_numpys_own_and_nobody_writes_to_it(shards):
    found = opened(shards)
    assert found.path == shards.folder / "decoded" / "train.npy"
    np.testing.assert_array_equal(np.load(found.path), found.values)
    with pytest.raises(ValueError, match="read-only"):
        found.values[0] = 0


def test_a_whole_store_is_not_built_again(shards):
    before = opened(shards).path.stat()
    assert Store(shards, "train", default_folder(shards)).is_built()
    after = opened(shards).path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def spoil_a_pixel(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-7, io.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-7, io.SEEK_END)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_a_pixel,
        lambda path: os.truncate(path, path.stat().st_size - 1),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        lambda path: path.with_suffix(".json").write_text("{"),
        lambda path: path.with_suffix(".json").write_text("[1]"),
        lambda path: path.with_suffix(".json").unlink(),
    ],
    ids=["a bit", "truncated", "empty", "no file", "no JSON", "another JSON", "no description"],
)
def test_a_damaged_store_is_built_anew(shards, spoil):
    found = opened(shards)
    pixels = found.values.copy()
    spoil(found.path)
    np.testing.assert_array_equal(opened(shards).values, pixels)
    assert json.loads(found.path.with_suffix(".json").read_text())["key"]["shape"] == [80, 64, 64, 3]


def test_a_store_of_other_shards_is_built_anew_and_whoever_reads_the_old_one_keeps_it(shards, tmp_path, capsys):
    old = opened(shards)
    before = old.values.copy()
    pack(Synthetic(class_count=4, train_count=20, val_count=10, seed=1), tmp_path / "others")
    others = open_shards(tmp_path / "others")
    new = Store(others, "train", default_folder(shards)).open(threads=1)
    assert "other shards" in capsys.readouterr().out
    assert not np.array_equal(new.values, before)
    np.testing.assert_array_equal(old.values, before)
    assert not Store(shards, "train", default_folder(shards)).is_built()


@pytest.mark.parametrize("of", ["code", "packages"])
def test_a_store_of_another_version_is_built_anew(shards, monkeypatch, capsys, of):
    first = opened(shards)
    before = first.path.stat().st_mtime_ns
    with monkeypatch.context() as patched:
        if of == "code":
            patched.setattr(store, "SOURCES_OF_PIXELS", ("fastwsol/sources/decode.py",))
        else:
            installed = metadata.version
            patched.setattr(metadata, "version", lambda name: "0.1" if name == "pillow" else installed(name))
        assert Store(shards, "train", first.path.parent).is_built(), "so that it is renewed by whoever uses a store"
        assert opened(shards).sha256 == first.sha256
    assert "was made by another version, and is built anew" in capsys.readouterr().out
    assert first.path.stat().st_mtime_ns != before


def test_a_store_that_cannot_be_replaced_is_used_as_it_is(shards, monkeypatch, capsys):
    first = opened(shards)
    monkeypatch.setattr(store, "SOURCES_OF_PIXELS", ("fastwsol/sources/decode.py",))

    def never(path, missing_ok=False):
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(Path, "unlink", never)
    assert opened(shards).sha256 == first.sha256
    assert "was made by another version and cannot be replaced; it is used as it is" in capsys.readouterr().err


def test_an_image_that_does_not_decode_is_named_and_leaves_nothing(shards):
    with pytest.raises(RunFailure, match=shards.splits["train"].names([17])[0]):
        opened(with_damaged_images(shards, "train", [17]))
    assert [path.name for path in default_folder(shards).iterdir()] == ["train.lock"]


def build_in_another_process(folder: str, begun, builds) -> None:
    build = store._decode

    def counted(*arguments) -> None:
        with builds.get_lock():
            builds.value += 1
        build(*arguments)

    store._decode = counted
    begun.wait()
    opened(open_shards(Path(folder)))


def test_of_several_processes_that_want_it_one_builds(shards):
    context = multiprocessing.get_context("spawn")
    begun, builds = context.Barrier(3), context.Value("i", 0)
    processes = [
        context.Process(target=build_in_another_process, args=(str(shards.folder), begun, builds)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert builds.value == 1
    assert_pixels_are_those_of_every_decoder(shards, "train")


KILLED = """
import signal, sys, time
from pathlib import Path
from fastwsol.batches import decoded_store as store
from fastwsol.dataset.shards import open_shards
decode = store.decode
def slow(image):
    print("decoding", flush=True)
    time.sleep(0.05)
    return decode(image)
store.decode = slow
signal.signal(signal.SIGINT, signal.default_int_handler)  # as where this process's own ignores it
shards = open_shards(Path(sys.argv[1]))
store.Store(shards, "train", store.default_folder(shards)).open(1)
"""


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_build_that_was_killed_is_begun_anew(shards, sign):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(shards.folder)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout.readline() == b"decoding\n"
    process.send_signal(sign)
    process.wait()
    assert not Store(shards, "train", default_folder(shards)).is_built()
    assert_pixels_are_those_of_every_decoder(shards, "train")
    assert sorted(path.name for path in default_folder(shards).iterdir()) == ["train.json", "train.lock", "train.npy"]


def test_a_build_is_given_up_when_asked(shards, monkeypatch):
    monkeypatch.setattr(store, "_CHUNK", 8)
    asked = iter([False, False, True])
    with pytest.raises(Interrupted, match="the same command begins it anew"):
        opened(shards, gives_up=lambda: next(asked))
    assert [path.name for path in default_folder(shards).iterdir()] == ["train.lock"]
    assert_pixels_are_those_of_every_decoder(shards, "train")


def test_a_full_disk_is_told_before_anything_is_decoded(shards, monkeypatch):
    def no_room(*arguments) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_room)
    with pytest.raises(OSError, match="No space left"):
        opened(with_damaged_images(shards, "train", range(80)))
    assert [path.name for path in default_folder(shards).iterdir()] == ["train.lock"]


def test_waiting_is_said(shards):
    """A process that finds the lock taken says so, and goes on when it is let go; or gives up when it is asked to."""
    default_folder(shards).mkdir()
    hold = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(default_folder(shards) / "train.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    holder.stdout.readline()
    build = (
        "import sys; from pathlib import Path; from fastwsol.dataset.shards import open_shards; "
        "from fastwsol.batches.decoded_store import *; "
        "s = open_shards(Path(sys.argv[1])); Store(s, 'train', default_folder(s)).open(1)"
    )
    command = [sys.executable, "-c", build, str(shards.folder)]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert "waiting for another process" in other.stdout.readline()
    assert not Store(shards, "train", default_folder(shards)).is_built()
    with pytest.raises(Interrupted):
        opened(shards, gives_up=lambda: True)
    holder.communicate(b"\n")
    assert other.wait() == 0
    assert Store(shards, "train", default_folder(shards)).is_built()


def test_one_pixel_of_a_png_is_where_it_was(tmp_path, shards):
    """Rows, columns and channels in the order that the shape says."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[5, 7] = 10, 20, 30
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    split = shards.splits["train"]
    split.image = lambda row: file.getvalue() if row == 3 else noise_jpeg(row)
    np.testing.assert_array_equal(opened(shards).values[3], image)
