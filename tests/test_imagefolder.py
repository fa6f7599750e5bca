"""A folder of class folders: classes, splits, images, and what is refused."""

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from class_folders import CLASSES, fill, names, pack_flags, ten_of_each_class, train_and_val
from conftest import noise_jpeg
from PIL import Image
from small_sources import turned_jpeg

from fastwsol import pack as pack_command
from fastwsol.dataset.packer import pack
from fastwsol.dataset.shards import open_shards
from fastwsol.host.command_line import run_command
from fastwsol.host.errors import UserError
from fastwsol.sources import Record, heif, splits
from fastwsol.sources.decode import decode
from fastwsol.sources.imagefolder import ImageFolder
from fastwsol.sources.splits import ValOf, drawn_val


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return ten_of_each_class(tmp_path / "photos")


@pytest.fixture
def with_val(tmp_path: Path) -> Path:
    return train_and_val(tmp_path / "photos")


def test_classes_are_the_folders_in_order_and_images_are_found_at_any_depth(photos: Path) -> None:
    source = ImageFolder(photos)
    assert [each.wnid for each in source.classes] == [each.name for each in source.classes] == [*CLASSES]
    found = names(source, "train") + names(source, "val")
    assert sorted(found) == sorted(str(path.relative_to(photos)) for path in photos.rglob("*.jpg"))
    assert source.notes == ["2 files in the class folders ignored, as their endings are no image's"]
    for split in source.splits:
        labels = [CLASSES.index(name.partition("/")[0]) for name in names(source, split)]
        assert source.labels(split).tolist() == labels == sorted(labels)
        assert source.count(split) == len(labels)


def test_where_images_drawn_for_val_are_bad_others_of_their_class_are(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --quarantine."""
    drawn = [name for name in names(ImageFolder(photos, val=0.3), "val") if name.startswith(CLASSES[0])]
    folder = shutil.copytree(photos, tmp_path / "bad")
    for bad in drawn[:2]:
        (folder / bad).write_bytes((folder / bad).read_bytes()[:-200])
    flags = ["--layout", "imagefolder", "--source", folder, "--val-fraction", "0.3", "--out", tmp_path / "shards"]
    assert run_command(pack_command.main, [*map(str, flags), "--quarantine"]) == 3
    said = capsys.readouterr().out
    assert "2 bad images ignored where val was drawn" in said
    assert "28 packed and 2 quarantined, 30 in all" in said
    splits = open_shards(tmp_path / "shards").splits
    assert np.bincount(splits["val"].labels).tolist() == [3, 3, 3]
    assert np.bincount(splits["train"].labels).tolist() == [5, 7, 7]
    val = set(splits["val"].names(range(9)))
    assert drawn[2] in val
    assert {name for name in val if not name.startswith(CLASSES[0])} == {
        name for name in names(ImageFolder(photos, val=0.3), "val") if not name.startswith(CLASSES[0])
    }


def test_a_class_whose_only_other_image_is_bad_is_trained_on_and_not_measured_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path / "photos", 2)
    bad = tmp_path / "photos" / CLASSES[0] / f"{CLASSES[0]}_0.jpg"
    bad.write_bytes(bad.read_bytes()[:-200])
    flags = ["--layout", "imagefolder", "--source", str(tmp_path / "photos"), "--out", str(tmp_path / "shards")]
    assert run_command(pack_command.main, [*flags, "--quarantine"]) == 3
    assert f"no image of {CLASSES[0]} is in val: nothing is measured there" in capsys.readouterr().out
    splits = open_shards(tmp_path / "shards").splits
    assert 0 in splits["train"].labels
    assert 0 not in splits["val"].labels


def test_class_folders_are_told_from_what_is_no_layout(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(pack_command.main, ["--source", str(photos), "--out", "never"]) == 2
    assert "of images in class folders say --layout imagefolder, or get the official" in capsys.readouterr().err


def test_a_val_folder_is_val(with_val: Path) -> None:
    source = ImageFolder(with_val)
    assert source.splits == ("train", "val")
    assert {name.partition("/")[0] for name in names(source, "val")} == {"val"}
    assert (source.count("train"), source.count("val")) == (9, 6)


def test_without_one_a_share_of_each_class_is_drawn_the_same_each_time(photos: Path, tmp_path: Path) -> None:
    source = ImageFolder(photos, val=0.3)
    assert np.bincount(source.labels("val")).tolist() == [3, 3, 3]
    assert names(source, "val") == names(ImageFolder(photos, val=0.3), "val")
    elsewhere = shutil.copytree(photos, tmp_path / "other" / "photos")
    assert names(source, "val") == names(ImageFolder(elsewhere, val=0.3), "val")
    larger = ImageFolder(photos, val=0.5)
    assert set(names(source, "val")) < set(names(larger, "val"))
    shutil.rmtree(photos / "cat")
    assert [name for name in names(source, "val") if not name.startswith("cat")] == names(
        ImageFolder(photos, val=0.3), "val"
    )


@pytest.mark.parametrize(("count", "in_val"), [(1, 0), (2, 1), (3, 1), (15, 2)])
def test_a_small_class_keeps_an_image_to_train_on_and_gives_one_to_val_if_it_has_two(
    tmp_path: Path, count: int, in_val: int
) -> None:
    fill(tmp_path / "photos", count)
    assert np.bincount(ImageFolder(tmp_path / "photos").labels("val"), minlength=3).tolist() == [in_val] * 3


def test_the_first_classes_can_be_kept(photos: Path) -> None:
    source = ImageFolder(photos, class_count=2)
    assert [each.wnid for each in source.classes] == ["bird", "cat"]
    assert set(source.labels("train").tolist()) == {0, 1}


def test_folder_and_zip_and_a_zip_with_an_outer_folder_give_the_same_records(
    photos: Path, as_zip: Callable[..., Path]
) -> None:
    expected = [*ImageFolder(photos).records("train")]
    for prefix in ("", "outer/", "outer/inner/"):
        found = [*ImageFolder(as_zip(photos, prefix)).records("train")]
        for one, other in zip(expected, found, strict=True):
            assert isinstance(one, Record)
            assert isinstance(other, Record)
            assert prefix + one.name == other.name
            assert (one.image, one.label) == (other.image, other.label)


def test_a_changed_image_changes_the_fingerprint(photos: Path) -> None:
    before = ImageFolder(photos).fingerprint("train", 0, 5)
    changed = photos / names(ImageFolder(photos), "train")[2]
    changed.write_bytes(noise_jpeg(999))
    assert ImageFolder(photos).fingerprint("train", 0, 5) != before


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_an_image_is_packed_upright(with_val: Path, tmp_path: Path, form: str, orientation: int, capsys) -> None:
    rows = np.linspace(0, 255, 40)[:, None, None]
    pixels = np.broadcast_to(rows, (40, 24, 3)).astype(np.uint8).copy()  # dark above, bright below
    path = with_val / "train" / "bird" / f"bird_9.{form.lower()}"
    path.write_bytes(turned_jpeg(orientation, pixels, form))
    file = tmp_path / "boxes.csv"
    upright = (40, 24) if orientation in (6, 8) else (24, 40)
    file.write_text(f"name,x0,y0,x1,y1\n{path.name},0,0,{upright[0]},{upright[1]}\n")
    pack(ImageFolder(with_val, boxes=file), tmp_path / "shards")
    split = open_shards(tmp_path / "shards").splits["train"]
    (k,) = [k for k, name in enumerate(split.names(range(len(split)))) if name.endswith(path.name)]
    assert (split.widths[k], split.heights[k]) == upright
    packed = np.asarray(Image.open(io.BytesIO(split.image(k)))).astype(int)
    expected = {1: pixels, 3: pixels[::-1], 6: np.rot90(pixels, -1), 8: np.rot90(pixels)}[orientation]
    assert np.abs(packed - expected).max() <= 3
    assert ("1 image is packed upright" in capsys.readouterr().out) == (orientation != 1)


def test_a_set_without_boxes_is_packed_and_its_command_continues(photos: Path, tmp_path: Path) -> None:
    fresh = pack(ImageFolder(photos), tmp_path / "fresh", max_shard_bytes=8192)
    assert len(fresh.splits["train"].shards) > 2
    again = tmp_path / "again"

    class Stop(Exception):
        pass

    class Stopping(ImageFolder):
        def records(self, split, start=0):
            for k, record in enumerate(super().records(split, start)):
                if split == "train" and k == 20:
                    raise Stop
                yield record

    with pytest.raises(Stop):
        pack(Stopping(photos), again, max_shard_bytes=8192, workers=1)
    assert pack(ImageFolder(photos), again, max_shard_bytes=8192) == fresh
    for shard in fresh.splits["train"].shards:
        assert (again / shard.file).read_bytes() == (tmp_path / "fresh" / shard.file).read_bytes()
    assert len(open_shards(again).splits["val"].boxes) == 0


def test_the_command_says_what_it_ignored(photos: Path, tmp_path: Path, capsys) -> None:
    arguments = ["--layout", "imagefolder", "--source", str(photos), "--out", str(tmp_path / "shards")]
    assert run_command(pack_command.main, arguments) == 0
    said = capsys.readouterr().out
    assert "photos (class folders, 0.1 of them val), 3 classes, 27 train, 3 val images" in said
    assert "2 files in the class folders ignored" in said
    assert run_command(pack_command.main, arguments) == 2
    assert "is packed already, and whole" in capsys.readouterr().err
    assert run_command(pack_command.main, [*arguments, "--val-fraction", "0.5"]) == 2
    assert "holds another data set" in capsys.readouterr().err


def in_folder(name: str) -> Callable[[Path], None]:
    """An image in a folder of this name in a class."""

    def spoil(photos: Path) -> None:
        (photos / "dog" / name).mkdir()
        (photos / "dog" / name / "1.jpg").write_bytes(noise_jpeg(0))

    return spoil


def only_one_class(photos: Path) -> None:
    shutil.rmtree(photos / "cat")
    shutil.rmtree(photos / "dog")


def unknown_val_class(photos: Path) -> None:
    (photos / "train").mkdir()
    for name in CLASSES:
        (photos / name).rename(photos / "train" / name)
    (photos / "val" / "horse").mkdir(parents=True)


@pytest.mark.parametrize(
    ("spoil", "arguments", "words"),
    [
        (only_one_class, [], "its class folders: one, 'bird'; give a folder with one for each class, two at least"),
        (unknown_val_class, [], "'horse' is no class of train"),
        (lambda photos: None, ["--val-fraction", "10"], "--val-fraction 10.0: must lie between 0 and 1"),
        (lambda photos: None, ["--classes", "4"], "--classes 4"),
        (lambda photos: None, ["--boxes", "nowhere.csv"], "--boxes nowhere.csv: cannot be read"),
        (lambda photos: None, ["--metadata", "x"], "--metadata: goes with --layout wsoleval"),
        (lambda photos: [path.unlink() for path in (photos / "dog").rglob("*.jpg")], [], "class dog has no images"),
        (lambda photos: (photos / "dog" / "dog_0.jpg").write_bytes(b""), [], "dog/dog_0.jpg: bad image"),
        (lambda photos: (photos / "stray.jpg").write_bytes(b""), [], "stray.jpg: lies beside the class folders"),
        (lambda photos: (photos / "dog").rename(photos / "val"), [], "there is no train beside it"),
        (lambda photos: (photos / "dog" / "a\nb.jpg").write_bytes(b""), [], "its name is no text in UTF-8 of a single"),
        (lambda photos: (photos / "dog" / os.fsdecode(b"\xff.jpg")).write_bytes(b""), [], "its name is no text"),
        (in_folder("day\n1"), [], "its name is no text"),
        (in_folder(os.fsdecode(b"day\xff")), [], "its name is no text"),
        (lambda photos: (photos / "dog" / "loop.jpg").symlink_to("loop.jpg"), [], "dog/loop.jpg: "),
    ],
)
def test_mistakes_are_named(photos: Path, spoil, arguments: list[str], words: str, capsys) -> None:
    spoil(photos)
    assert run_command(pack_command.main, pack_flags(photos, *arguments)) == 2
    assert words in capsys.readouterr().err
    assert not (photos.parent / "out" / "manifest.json").exists()


def test_val_of_a_folder_is_found_in_a_zip_of_it_and_so_are_boxes(photos: Path, tmp_path: Path, as_zip) -> None:
    assert run_command(pack_command.main, pack_flags(photos, "--val-fraction", 0.3)) == 0
    before = open_shards(photos.parent / "out").splits["val"]
    names = before.names(range(len(before)))
    (tmp_path / "boxes.csv").write_text(f"name,x0,y0,x1,y1\n{names[0]},1,1,9,9\n")
    flags = ["--layout", "imagefolder", "--source", as_zip(photos, "outer/"), "--val-of", photos.parent / "out"]
    flags += ["--boxes", tmp_path / "boxes.csv", "--out", tmp_path / "zipped"]
    assert run_command(pack_command.main, [*map(str, flags)]) == 0
    val = open_shards(tmp_path / "zipped").splits["val"]
    assert val.names(range(len(val))) == [f"outer/{name}" for name in names]
    assert np.diff(val.box_offsets).tolist() == [1] + [0] * (len(val) - 1)


def test_val_of_an_earlier_round_stays_val_where_the_set_grows(photos: Path, tmp_path: Path, capsys) -> None:
    assert run_command(pack_command.main, pack_flags(photos, "--val-fraction", 0.3)) == 0
    first = photos.parent / "out"
    before = set(open_shards(first).splits["val"].names(range(9)))
    gone = sorted(before)[0]
    (photos / gone).unlink()
    for k in range(7):
        (photos / "cat" / f"new-{k}.jpg").write_bytes(noise_jpeg(100 + k))
    capsys.readouterr()
    flags = [*map(str, ["--layout", "imagefolder", "--source", photos, "--val-of", first])]
    assert run_command(pack_command.main, [*flags, "--out", str(tmp_path / "second")]) == 0
    assert f"--val-of {first}: 1 of its 9 val images are not here" in capsys.readouterr().out
    splits = open_shards(tmp_path / "second").splits
    assert set(splits["val"].names(range(len(splits["val"])))) == before - {gone}
    assert {f"cat/new-{k}.jpg" for k in range(7)} < set(splits["train"].names(range(len(splits["train"]))))
    assert run_command(pack_command.main, [*flags, "--val-fraction", "0.3", "--out", str(tmp_path / "never")]) == 2
    assert "--val-of names the images of val; leave one of them out" in capsys.readouterr().err
    other = tmp_path / "other"
    fill(other, 3, first=50)
    flags[3] = str(other)
    assert run_command(pack_command.main, [*flags, "--out", str(tmp_path / "never")]) == 2
    assert "none of its val images is in" in capsys.readouterr().err
    damaged = sorted(first.glob("*.arrow"))[-1]
    with damaged.open("r+b") as file:
        file.seek(-100, 2)
        file.write(bytes(100))
    assert run_command(pack_command.main, [*flags[:3], str(photos), *flags[4:], "--out", str(tmp_path / "third")]) == 2
    assert f"{damaged}: its SHA-256 is not the manifest's" in capsys.readouterr().err


def test_of_a_class_that_an_earlier_round_had_not_some_become_val(photos: Path, tmp_path: Path, capsys) -> None:
    assert run_command(pack_command.main, pack_flags(photos)) == 0
    first = photos.parent / "out"
    before = set(open_shards(first).splits["val"].names(range(3)))
    (photos / "auk").mkdir()
    for k in range(20):
        (photos / "auk" / f"{k}.jpg").write_bytes(noise_jpeg(200 + k))
    flags = ["--layout", "imagefolder", "--source", photos, "--val-of", first, "--out", tmp_path / "second"]
    capsys.readouterr()
    assert run_command(pack_command.main, [*map(str, flags)]) == 0
    said = capsys.readouterr().out
    assert f"--val-of {first}: has no class auk: of each 0.1 was drawn, 2 images" in said
    assert "val images are not here" not in said
    val = open_shards(tmp_path / "second").splits["val"]
    names = set(val.names(range(len(val))))
    assert {name for name in names if not name.startswith("auk/")} == before
    assert sum(name.startswith("auk/") for name in names) == 2


def test_images_of_val_whose_class_has_another_name_stay_val() -> None:
    """And count as those of the earlier set."""
    earlier = ValOf(Path("earlier"), frozenset({"katze/a.jpg"}), frozenset({"cat"}))
    images = [("katze/a.jpg", "katze"), *((f"katze/{k}.jpg", "katze") for k in range(9))]
    images += [(f"auk/{k}.jpg", "auk") for k in range(4)]
    parts = splits.with_val({"train": images}, lambda each: each[1], lambda each: each[0], earlier, "here")
    assert [name.partition("/")[0] for name, _ in parts["val"]] == ["katze", "auk"]
    assert earlier.notes(parts["val"]) == ["--val-of earlier: has no class auk: of each 0.1 was drawn, 1 image"]


def test_a_val_fraction_beside_a_val_folder_and_a_missing_source_are_refused(with_val: Path, capsys) -> None:
    assert run_command(pack_command.main, pack_flags(with_val, "--val-fraction", 0.2)) == 2
    assert "has a val of its own" in capsys.readouterr().err
    for arguments in (["--layout", "imagefolder"], pack_flags(with_val / "nowhere")):
        assert run_command(pack_command.main, arguments) == 2
        assert "--source" in capsys.readouterr().err


def test_photographs_that_cannot_be_read_are_counted_by_their_endings_with_the_remedy(
    photos: Path, tmp_path: Path, capsys
) -> None:
    for name in ("a.jxl", "b.JXL", "c.cr2", "d.jpg?w=300", "e.jpeg~", "LICENSE", "f.txt"):
        (photos / "cat" / name).write_bytes(b"x")
    assert run_command(pack_command.main, pack_flags(photos)) == 0
    said = capsys.readouterr().out
    over = "in the class folders ignored,"
    assert f"2 files {over} as photographs that end in .jxl cannot be read here (convert them to JPEG)" in said
    assert f"1 file {over} as photographs that end in .cr2 cannot be read here" in said
    assert f"2 files {over} as their names go on behind an image's ending, as in x.jpg?w=300 (rename them)" in said
    assert f"1 file {over} as their names have no ending (where they are images, give them one)" in said
    assert f"3 files {over} as their endings are no image's" in said  # and those of the set itself


@pytest.mark.parametrize("kind", heif.KINDS)
def test_avif_and_heic_are_packed_where_pillow_or_its_plugin_can_read_them(photos: Path, tmp_path: Path, kind) -> None:
    if not heif.is_read(kind):
        pytest.skip(f"NOT TESTED: {kind} cannot be read here")
    heif.let_pillow_read(kind)
    pixels = np.full((60, 40, 3), (200, 30, 90), np.uint8)
    suffix = {"AVIF": ".avif", "HEIF": ".HEIC"}[kind]
    Image.fromarray(pixels).save(photos / "cat" / f"zzz{suffix}", kind)
    pack(ImageFolder(photos), tmp_path / "out")
    for split in open_shards(tmp_path / "out").splits.values():
        for k, name in enumerate(split.names(range(len(split)))):
            if name.endswith(suffix):
                found = decode(split.image(k))
    assert np.abs(found.astype(int) - pixels).max() <= 3


def test_drawing_val_goes_through_the_images_once():
    """And not once for each class."""

    class Counted(list):
        passes = 0

        def __iter__(self):
            Counted.passes += 1
            return super().__iter__()

    splits = drawn_val(Counted((name, k) for name in "abcde" for k in range(20)), lambda image: image[0], 0.1)
    assert Counted.passes == 1
    assert (len(splits["val"]), len(splits["train"])) == (10, 90)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_a_share_of_none_or_all_is_no_val(fraction: float) -> None:
    with pytest.raises(UserError, match="must lie between 0 and 1"):
        drawn_val("abcd", ord, fraction)


def test_val_of_an_earlier_set_fits_one_that_lies_in_another_outer_folder() -> None:
    earlier = ValOf(Path("earlier"), frozenset({"birds/a.jpg"}), frozenset({"birds"}))
    assert earlier.are_val(["a.jpg", "b.jpg"]) == [True, False]
    assert earlier.are_val(["more/birds/a.jpg"]) == [True]


def test_of_classes_that_are_not_packed_no_image_is_looked_at(photos: Path) -> None:
    for name in ("dog", "owl"):
        for path in (photos / name).rglob("*.jpg"):
            path.write_bytes(b"no image")
    source = ImageFolder(photos, class_count=1, quarantine=True)
    assert len(source.classes) == 1
    assert not [note for note in source.notes if "ignored where val was drawn" in note]
