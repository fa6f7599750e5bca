"""Packing: the same bytes every time, nothing bad let in, nothing finished or foreign ever touched."""

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import noise_jpeg
from interference import ended_at_write, full_disk
from PIL import Image

from fastwsol.dataset.packer import PixelMoments, pack
from fastwsol.dataset.shards import MANIFEST_NAME, open_shards
from fastwsol.host.command_line import FAILURE, USER_ERROR, run_command
from fastwsol.host.errors import UserError
from fastwsol.host.starting import INTERRUPTED
from fastwsol.pack import main
from fastwsol.sources import Record
from fastwsol.sources.decode import ImageFacts, decode, judge_images
from fastwsol.sources.imagefolder import ImageFolder
from fastwsol.sources.synthetic import Synthetic
from fastwsol.sources.tiny_imagenet import TinyImageNet

ROOT = Path(__file__).parents[1]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def pack_command(*arguments: object) -> int:
    return run_command(main, [str(argument) for argument in arguments])


def test_two_packs_are_byte_identical(layout: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert pack_command("--source", layout, "--out", tmp_path / name) == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize("prefix", ["tiny-imagenet-200/", ""])
def test_folder_and_zip_pack_to_the_same_bytes(
    prefix: str, layout: Path, as_zip: Callable[..., Path], tmp_path: Path
) -> None:
    assert pack_command("--source", layout, "--out", tmp_path / "a") == 0
    assert pack_command("--source", as_zip(layout, prefix), "--out", tmp_path / "b") == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_the_number_of_threads_changes_nothing(synthetic_shards: Path, tmp_path: Path) -> None:
    pack(Synthetic(class_count=4, train_count=20, val_count=10), tmp_path / "out", workers=5)
    assert contents(tmp_path / "out") == contents(synthetic_shards)


def test_packed_set_holds_the_sources_records(synthetic_shards: Path) -> None:
    source = Synthetic(class_count=4, train_count=20, val_count=10)
    shards = open_shards(synthetic_shards)
    assert shards.manifest.classes == source.classes
    assert shards.manifest.source == source.identity
    assert set(shards.splits) == {"train", "val"}
    for name, split in shards.splits.items():
        records = list(source.records(name))
        assert len(split) == len(records)
        assert split.names(range(len(split))) == [record.name for record in records]
        assert [split.image(k) for k in range(len(split))] == [record.image for record in records]
        assert split.labels.tolist() == [record.label for record in records]
        np.testing.assert_array_equal(split.boxes, np.concatenate([record.boxes for record in records]))
        np.testing.assert_array_equal(split.box_offsets, np.arange(len(split) + 1))
        assert set(split.widths) == set(split.heights) == {64}


@pytest.mark.parametrize("largest", [64 * 1024, 10**6])
def test_gather_equals_image_whatever_the_number_of_shards(largest: int, tmp_path: Path) -> None:
    source = Synthetic(class_count=4, train_count=30, val_count=2)
    manifest = pack(source, tmp_path / "out", max_shard_bytes=largest)
    assert (len(manifest.splits["train"].shards) > 3) == (largest < 10**6)
    split = open_shards(tmp_path / "out").splits["train"]
    ids = np.random.default_rng(0).integers(0, len(split), 200)
    images, lengths = split.gather(ids)
    for k, index in enumerate(ids):
        assert images[k, : lengths[k]].tobytes() == split.image(index)
        assert not images[k, lengths[k] :].any()


def test_mean_and_std_are_those_of_all_train_pixels(layout: Path, tmp_path: Path) -> None:
    odd = layout / "train/n01/images/n01_2.JPEG"
    odd.write_bytes(noise_jpeg(5, size=(80, 70)))  # a larger image weighs more
    (layout / "train/n02/images/n02_2.JPEG").write_bytes(noise_jpeg(6, mode="L"))
    manifest = pack(TinyImageNet(layout), tmp_path / "out")
    pixels = np.concatenate(
        [np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3) for path in layout.glob("train/*/images/*")]
    )
    np.testing.assert_allclose(manifest.statistics.mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(manifest.statistics.std, pixels.std(axis=0), rtol=1e-12)


def test_pixel_moments_do_not_depend_on_order_or_grouping() -> None:
    images = [noise_jpeg(k) for k in range(6)]
    together, apart = PixelMoments(), PixelMoments()
    for look in judge_images(images):
        together.add(look)
    for image in reversed(images):
        (look,) = judge_images([image])
        apart.add(look)
    assert (together.mean(), together.std()) == (apart.mean(), apart.std())


def test_sizes_are_width_then_height(layout: Path, tmp_path: Path) -> None:
    (layout / "val/images/val_1.JPEG").write_bytes(noise_jpeg(5, size=(80, 70)))
    pack(TinyImageNet(layout), tmp_path / "out")
    split = open_shards(tmp_path / "out").splits["val"]
    assert (split.widths[1], split.heights[1]) == (80, 70)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_images_are_kept_as_they_came(mode: str, layout: Path, tmp_path: Path) -> None:
    image = noise_jpeg(3, mode=mode)
    (layout / "val/images/val_1.JPEG").write_bytes(image)
    assert pack_command("--source", layout, "--out", tmp_path / "out") == 0
    assert open_shards(tmp_path / "out").splits["val"].image(1) == image


def jpeg_2000() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "JPEG2000")
    return file.getvalue()


GOOD = noise_jpeg(1)
BAD_IMAGES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the file is empty"),
    "garbage": (bytes(range(256)) * 4, "no JPEG, PNG, BMP, WEBP, GIF or TIFF (its first bytes are 00 01 02 03)"),
    "text": (b"404 Not Found\n", "no JPEG, PNG, BMP, WEBP, GIF or TIFF (text)"),
    "another format": (jpeg_2000(), "no JPEG, PNG, BMP, WEBP, GIF or TIFF (a JPEG 2000)"),
    "truncated": (GOOD[: len(GOOD) // 2], "truncated"),
    "last byte missing": (GOOD[:-1], "truncated"),
    "tail overwritten with zeros": (GOOD[: len(GOOD) // 2] + bytes(9000), "truncated"),
    "header damaged": (GOOD[:150] + bytes(20) + GOOD[170:], ""),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_bad_image_stops_the_packing_with_its_name(
    kind: str, layout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, reason = BAD_IMAGES[kind]
    (layout / "val/images/val_4.JPEG").write_bytes(image)
    assert pack_command("--source", layout, "--out", tmp_path / "out") == USER_ERROR
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: val/images/val_4.JPEG: bad image, ")
    assert reason in line
    assert "val_annotations.txt line 5" in line
    assert ("convert it to a JPEG" if kind == "another format" else "put a whole copy in its place") in line
    assert not (tmp_path / "out" / MANIFEST_NAME).exists()


def test_a_bad_image_does_not_hide_those_behind_it() -> None:
    first, bad, last = judge_images([GOOD, b"garbage", GOOD])
    assert isinstance(first, ImageFacts)
    assert isinstance(last, ImageFacts)
    assert "no JPEG" in bad
    pixels = decode(GOOD).reshape(-1, 3).astype(np.int64)
    for look in (first, last):
        assert (look.width, look.height) == (64, 64)
        np.testing.assert_array_equal(look.moments, np.array([pixels.sum(axis=0), (pixels**2).sum(axis=0)]))


def test_box_without_extent_is_refused(tmp_path: Path) -> None:
    class Empty(Synthetic):
        def records(self, split: str, start: int = 0) -> Iterator[Record]:
            for record in super().records(split, start):
                yield Record(record.name, record.image, record.label, np.array([[3, 4, 3, 9]], np.float32))

    with pytest.raises(UserError, match=r"box \(3, 4, 3, 9\).*is empty .*draw_scene.*; correct the box"):
        pack(Empty(2, 2, 2), tmp_path / "out")


def test_one_flipped_bit_in_a_packed_shard_is_refused(layout: Path, tmp_path: Path) -> None:
    pack(TinyImageNet(layout), tmp_path / "out")
    path = tmp_path / "out" / "val-00000.arrow"
    content = bytearray(path.read_bytes())
    content[1000] ^= 16
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"val-00000\.arrow: its SHA-256 is not the manifest's"):
        open_shards(tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "state"),
    [((), "is packed already, and whole"), (("--classes", 2), "holds another data set")],
    ids=["same", "other"],
)
def test_finished_set_is_never_touched(
    arguments: tuple[object, ...], state: str, layout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert pack_command("--source", layout, "--out", out) == 0
    before = contents(out)
    capsys.readouterr()
    assert pack_command("--source", layout, "--out", out, *arguments) == USER_ERROR
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {out}: {state} (tiny-imagenet-200, 3 classes, 9 train, 6 val images)")
    assert "--out OTHER" in line
    assert contents(out) == before


def test_wrong_source_leaves_an_unfinished_pack_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "train-00000.arrow").write_bytes(b"half of it")
    assert pack_command("--source", tmp_path / "none", "--out", tmp_path / "out") == USER_ERROR
    assert contents(tmp_path / "out") == {"train-00000.arrow": b"half of it"}


def test_folder_with_foreign_files_is_refused(layout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    (out / "train-00000.arrow").write_bytes(b"half of it")
    before = contents(out)
    assert pack_command("--source", layout, "--out", out) == USER_ERROR
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(rf"{out}: holds 'thesis\.tex', which packing did not write; .*--out", line)
    assert contents(out) == before


def test_out_that_is_a_file_is_refused(layout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("a file")
    assert pack_command("--source", layout, "--out", tmp_path / "out") == USER_ERROR
    assert "out: is a file; give a folder with --out" in capsys.readouterr().err


def test_full_disk_is_one_line_and_leaves_no_manifest(
    layout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with full_disk():
        assert pack_command("--source", layout, "--out", tmp_path / "out") == FAILURE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"failed: {tmp_path / 'out' / 'packing.json'}: cannot be written (No space left on device)")
    assert "make room" in line
    assert "manifest.json" not in contents(tmp_path / "out")


def test_keyboard_interrupt_leaves_a_folder_that_the_same_command_packs(
    layout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ended_at_write(MANIFEST_NAME, end=KeyboardInterrupt):
        assert pack_command("--source", layout, "--out", tmp_path / "out") == INTERRUPTED
    assert "not finished and not usable yet; the same command" in capsys.readouterr().err
    with pytest.raises(UserError, match="no packed data set"):
        open_shards(tmp_path / "out")
    assert pack_command("--source", layout, "--out", tmp_path / "out") == 0
    assert len(open_shards(tmp_path / "out").splits["train"]) == 9


@pytest.mark.usefixtures("every_line")
def test_progress_says_how_far_how_fast_and_how_long(
    layout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(TinyImageNet(layout), tmp_path / "out")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 9 + 6
    assert re.fullmatch(r"train  7 of 9 images  [\d,]+ images/s  \d+s left", lines[6])
    assert re.fullmatch(r"val  6 of 6 images  [\d,]+ images/s  0s left", lines[-1])


def test_synthetic_takes_no_source(layout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pack_command("--synthetic", "--source", layout, "--out", tmp_path / "out") == USER_ERROR
    assert "--synthetic draws its images itself; give one of the two" in capsys.readouterr().err


def test_script_packs_what_lies_in_data_raw(layout: Path, as_zip: Callable[..., Path], tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "data" / "raw").mkdir(parents=True)
    as_zip(layout).rename(work / "data" / "raw" / "tiny-imagenet-200.zip")
    command = [sys.executable, str(ROOT / "scripts" / "pack.py"), "--classes", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if not line.startswith("compiling kernels")]
    assert (done.returncode, said) == (0, [])
    assert "data/shards: tiny-imagenet-200, 2 classes, 6 train, 4 val images" in done.stdout
    assert "images/s" in done.stdout
    assert len(open_shards(work / "data" / "shards").splits["train"]) == 6


def test_real_data_packs(real_source: Path, tmp_path: Path) -> None:
    assert pack_command("--source", real_source, "--classes", 3, "--out", tmp_path / "out") == 0
    shards = open_shards(tmp_path / "out")
    assert [one.wnid for one in shards.manifest.classes] == ["n02124075", "n04067472", "n04540053"]
    for name, each in (("train", 500), ("val", 50)):
        split = shards.splits[name]
        assert np.bincount(split.labels).tolist() == [each] * 3
        assert set(split.widths) == set(split.heights) == {64}
        assert len(split.boxes) == len(split)
        assert split.boxes.min() == 0
        assert split.boxes.max() == 64
        assert (split.boxes[:, :2] < split.boxes[:, 2:]).all()
    train = shards.splits["train"]
    channels = [len(Image.open(io.BytesIO(train.image(k))).getbands()) for k in range(len(train))]
    assert set(channels) == {1, 3}
    assert all(100 < value < 140 for value in shards.manifest.statistics.mean)


def test_an_image_that_is_missing_is_told_before_anything_is_packed(
    layout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (layout / "val/images/val_4.JPEG").unlink()
    assert pack_command("--source", layout, "--out", tmp_path / "out") == USER_ERROR
    assert "val/images/val_4.JPEG" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_said_of_a_packed_set_is_no_failure_of_its_packing(tmp_path):
    """As where nobody reads it any more."""

    def nobody(said: str) -> None:
        raise BrokenPipeError(said)

    source = tmp_path / "photos"
    for name in "ab":
        (source / name).mkdir(parents=True)
        for k in range(3):
            Image.open(io.BytesIO(noise_jpeg(k))).save(source / name / f"{k}.gif")
    with pytest.raises(BrokenPipeError, match="6 images are packed as PNG"):
        pack(ImageFolder(source), tmp_path / "shards", tell=nobody)
    assert len(open_shards(tmp_path / "shards").splits["train"]) == 4


def test_classes_of_unequal_size_are_told(tmp_path, capsys):
    for name, count in (("cat", 12), ("dog", 5), ("owl", 9)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(count):
            (tmp_path / "photos" / name / f"{k}.jpg").write_bytes(noise_jpeg(100 * count + k))
    flags = ["--layout", "imagefolder", "--source", str(tmp_path / "photos"), "--val-fraction", "0.2"]
    assert run_command(main, [*flags, "--out", str(tmp_path / "shards")]) == 0
    said = capsys.readouterr().out
    assert "classes are unequal: 4 images (dog) to 10 (cat) in train" in said


def test_a_packing_that_has_not_finished_is_called_so(tmp_path):
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "packing.json").write_text("{}")
    with pytest.raises(UserError, match="its packing has not finished: run the same pack command once more"):
        open_shards(tmp_path / "shards")
