"""A folder of class folders: classes, splits, boxes from a file, and what is refused."""

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import noise_jpeg
from PIL import Image
from small_sources import turned_jpeg

from fastwsol import pack as pack_command
from fastwsol.dataset.packer import pack
from fastwsol.dataset.shards import Split, open_shards
from fastwsol.host.command_line import run_command
from fastwsol.host.errors import UserError
from fastwsol.sources import Record, heif, splits
from fastwsol.sources.annotated import LEFT_OUT
from fastwsol.sources.decode import decode
from fastwsol.sources.imagefolder import ImageFolder
from fastwsol.sources.splits import ValOf, drawn_val

CLASSES = ("bird", "cat", "dog")
SIZES = [(64, 48), (40, 90), (33, 33)]


def fill(folder: Path, per_class: int, first: int = 0) -> None:
    """Class folders with `per_class` images each, some of them one folder deeper."""
    for label, name in enumerate(CLASSES):
        for k in range(first, first + per_class):
            path = folder / name / ("deep" if k % 3 == 2 else "") / f"{name}_{k}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(noise_jpeg(100 * label + k, size=SIZES[k % 3]))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    fill(folder, 10)
    (folder / "readme.txt").write_text("hello")
    (folder / "cat" / "labels.csv").write_text("x")
    return folder


@pytest.fixture
def with_val(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    fill(folder / "train", 3)
    fill(folder / "val", 2, first=50)
    return folder


def names(source: ImageFolder, split: str) -> list[str]:
    return [record.name for record in source.records(split)]


def boxes_of(split: Split) -> dict[str, list[list[float]]]:
    offsets = split.box_offsets
    every = split.names(range(len(split)))
    return {
        name: split.boxes[offsets[k] : offsets[k + 1]].tolist()
        for k, name in enumerate(every)
        if offsets[k + 1] > offsets[k]
    }


# Images and classes


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


# Boxes


def test_boxes_come_from_csv_by_path_or_by_the_last_part(with_val: Path, tmp_path: Path) -> None:
    file = tmp_path / "boxes.csv"
    file.write_text(
        "x0,y0,x1,y1,name,score\n1,2,30,40,train/bird/bird_0.jpg,0.5\n"
        '3,4,5.5,6,cat_51.jpg,\n,,,,dog_0.jpg,\n"10","11","12","13",train/bird/bird_0.jpg,1\n'
    )
    pack(ImageFolder(with_val, boxes=file), tmp_path / "shards")
    splits = open_shards(tmp_path / "shards").splits
    assert boxes_of(splits["train"]) == {"train/bird/bird_0.jpg": [[1, 2, 30, 40], [10, 11, 12, 13]]}
    assert boxes_of(splits["val"]) == {"val/cat/cat_51.jpg": [[3, 4, 5.5, 6]]}


def coco(images: list[str], annotations: list[dict]) -> dict:
    return {
        "images": [{"id": 10 + k, "file_name": name} for k, name in enumerate(images)],
        "annotations": annotations,
        "categories": [{"id": k, "name": name} for k, name in enumerate(("bird", "cat", "thing", "dog"), 1)],
    }


def test_boxes_come_from_coco_but_crowds_and_those_of_another_class(with_val: Path, tmp_path: Path) -> None:
    file = tmp_path / "boxes.json"
    annotations = [
        {"image_id": 10, "bbox": [1, 2, 10, 20], "category_id": 1},
        {"image_id": 10, "bbox": [5, 5, 5, 5], "category_id": 2},  # a cat in a bird's image
        {"image_id": 10, "bbox": [0, 0, 3, 3], "category_id": 3},
        {"image_id": 11, "bbox": [0.5, 0, 3, 3], "category_id": 4},
        {"image_id": 11, "bbox": [0, 0, 30, 30], "category_id": 4, "iscrowd": 1},
    ]
    file.write_text(json.dumps(coco(["bird_0.jpg", "val/dog/deep/dog_50.jpg"], annotations)))
    pack(ImageFolder(with_val, boxes=file), tmp_path / "shards")
    splits = open_shards(tmp_path / "shards").splits
    assert boxes_of(splits["train"]) == {"train/bird/bird_0.jpg": [[1, 2, 11, 22]]}
    assert boxes_of(splits["val"]) == {"val/dog/deep/dog_50.jpg": [[0.5, 0, 3.5, 3]]}


@pytest.mark.parametrize("edges", ["-0.4,0,64.9,48.2", "-2,-1,66,50"])
def test_a_box_that_hangs_over_the_edge_is_cut_and_one_farther_out_is_refused(
    with_val: Path, tmp_path: Path, edges: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in published sets, by up to two pixels; how many is said."""
    file = tmp_path / "boxes.csv"
    file.write_text(f"name,x0,y0,x1,y1\nbird_0.jpg,{edges}\n")
    pack(ImageFolder(with_val, boxes=file), tmp_path / "shards")
    assert boxes_of(open_shards(tmp_path / "shards").splits["train"]) == {"train/bird/bird_0.jpg": [[0, 0, 64, 48]]}
    assert "1 box reached up to 2 pixels outside the image: cut at the edge" in capsys.readouterr().out
    file.write_text("name,x0,y0,x1,y1\nbird_0.jpg,0,0,66.1,48\n")
    with pytest.raises(UserError, match=r"reaches outside the 64x48 pixels.*boxes\.csv line 2.*correct the box"):
        pack(ImageFolder(with_val, boxes=file), tmp_path / "other")


# Images that are turned


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


# Packing


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


# Mistakes


def pack_flags(photos: Path, *arguments: object) -> list[str]:
    return [
        "--layout",
        "imagefolder",
        "--source",
        str(photos),
        "--out",
        str(photos.parent / "out"),
        *map(str, arguments),
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("name,x0,y0,x1\nbird_0.jpg,1,2,3\n", "boxes.csv line 1: no column 'y1'"),
        ("", "boxes.csv line 1: no column 'name'"),
        ("name,x0,y0,x1,y1\nnone.jpg,1,2,3,4\n", "boxes.csv line 2: 'none.jpg' is no image of the source"),
        ("name,x0,y0,x1,y1\n\nbird_0.jpg,1,2,3\n", "boxes.csv line 3: found 4 values"),
        ("name,x0,y0,x1,y1\nbird_0.jpg,1,2,three,4\n", "boxes.csv line 2: ['1', '2', 'three', '4'] are not four"),
        ("name,x0,y0,x1,y1\nbird_0.jpg,1,2,nan,4\n", "boxes.csv line 2"),
        ("name,x0,y0,x1,y1\nbird_0.jpg,9,2,3,4\n", "FILE line 2: x0 9 .. x1 3, y0 2 .. y1 4 is no box"),
        ("name,x0,y0,x1,y1\nsame.jpg,1,2,3,4\n", "may be bird/same.jpg or cat/same.jpg; give its path"),
    ],
)
def test_bad_lines_of_csv_are_named(photos: Path, content: str, words: str, capsys) -> None:
    for name in ("bird", "cat"):
        (photos / name / "same.jpg").write_bytes(noise_jpeg(1))
    file = photos.parent / "boxes.csv"
    file.write_text(content)
    assert run_command(pack_command.main, pack_flags(photos, "--boxes", file)) == 2
    assert words.replace("FILE", str(file)) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "boxes.json line 1: not JSON"),
        ("[]", "not COCO's JSON"),
        ('{"images": []}', "not COCO's JSON (no 'annotations')"),
        ('{"images": [3], "annotations": []}', "not COCO's JSON"),
        (json.dumps(coco(["bird_0.jpg"], [{"image_id": 10}])), "annotation 0: has no image_id or no bbox"),
        (json.dumps(coco([], [{"image_id": 7, "bbox": [0, 0, 1, 1], "id": 3}])), "annotation 0 (id 3): image_id 7"),
        (
            json.dumps(coco(["bird_0.jpg"], [{"image_id": 10, "bbox": [0, 0, 1], "category_id": 1}])),
            "is not x, y, width",
        ),
        (json.dumps(coco(["bird_0.jpg"], [{"image_id": 10, "bbox": [5, 5, 0, 1], "category_id": 1}])), "or is empty"),
        (
            json.dumps(coco(["bird_0.jpg"], [{"image_id": 10, "bbox": [0, 0, int("9" * 400), 1], "category_id": 1}])),
            "four",
        ),
        (
            json.dumps(coco(["bird_0.jpg"], [{"image_id": 10, "bbox": [0] * 4, "category_id": []}])),
            "category_id [] is none of",
        ),
        ('{"images": [], "annotations": [], "info": ' + "9" * 5000 + "}", "not COCO's JSON"),
        (
            json.dumps(coco(["nope.jpg"], [{"image_id": 10, "bbox": [0, 0, 1, 1], "category_id": 1}])),
            "'nope.jpg' is no",
        ),
    ],
)
def test_bad_annotations_of_coco_are_named(photos: Path, content: str, words: str, capsys) -> None:
    file = photos.parent / "boxes.json"
    file.write_text(content)
    assert run_command(pack_command.main, pack_flags(photos, "--boxes", file)) == 2
    assert words in capsys.readouterr().err


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


def test_boxes_that_a_network_predicted_are_named_in_the_set(photos: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "boxes.csv").write_text("name,x0,y0,x1,y1,label,score\nbird_0.jpg,1,1,20,20,bird,0.9\n")
    assert run_command(pack_command.main, pack_flags(photos, "--boxes", tmp_path / "boxes.csv")) == 0
    assert "nobody has judged" in capsys.readouterr().out
    assert open_shards(photos.parent / "out").manifest.source == (
        "photos (class folders, 0.1 of them val, with predicted boxes)"
    )


def test_a_val_fraction_beside_a_val_folder_and_a_missing_source_are_refused(with_val: Path, capsys) -> None:
    assert run_command(pack_command.main, pack_flags(with_val, "--val-fraction", 0.2)) == 2
    assert "has a val of its own" in capsys.readouterr().err
    for arguments in (["--layout", "imagefolder"], pack_flags(with_val / "nowhere")):
        assert run_command(pack_command.main, arguments) == 2
        assert "--source" in capsys.readouterr().err


def test_what_lies_beside_train_and_val_is_said_and_not_packed(with_val: Path, tmp_path: Path, capsys) -> None:
    fill(with_val / "validation", 1)
    assert run_command(pack_command.main, pack_flags(with_val)) == 0
    said = capsys.readouterr().out
    assert "photos/validation: neither train nor val, and not packed (" in said
    assert "in no class" not in said
    (with_val / "stray.jpg").write_bytes(noise_jpeg(0))
    assert run_command(pack_command.main, [*pack_flags(with_val)[:-2], "--out", str(tmp_path / "again")]) == 0
    assert "photos: 1 image beside train and val, in no class, and not packed" in capsys.readouterr().out


def test_a_zip_with_a_member_that_shrinks_a_lot_and_paths_that_begin_with_a_dot(photos: Path, tmp_path: Path) -> None:
    """A log of zeros beside the images is no bomb: it is not read."""
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("./", b"")
        for file in sorted(photos.rglob("*.jpg")):
            archive.write(file, f"./{file.relative_to(photos)}")
        archive.writestr("./cat/log.txt", bytes(5 * 2**20))
        blank = io.BytesIO()
        Image.new("RGB", (1500, 1000)).save(blank, "BMP")
        archive.writestr("./cat/zzz.bmp", blank.getvalue())
    source = ImageFolder(path)
    assert set(names(source, "train") + names(source, "val")) == {
        *names(ImageFolder(photos), "train"),
        *names(ImageFolder(photos), "val"),
        "cat/zzz.bmp",
    }
    pack(source, tmp_path / "out")


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


@pytest.mark.parametrize("zipped", [False, True])
def test_what_systems_keep_beside_the_images_is_left_out_and_counted(
    photos: Path, tmp_path: Path, as_zip: Callable[..., Path], zipped: bool, capsys
) -> None:
    """Thumbnails of network storage among them, which end as images do; a folder of theirs is no class."""
    before = names(ImageFolder(photos), "train")
    for path in ("cat/@eaDir/cat_0.jpg/SYNOPHOTO_THUMB_M.jpg", "lost+found/x.jpg", "dog/._dog_0.jpg", ".DS_Store"):
        (photos / path).parent.mkdir(parents=True, exist_ok=True)
        (photos / path).write_bytes(noise_jpeg(1))
    source = as_zip(photos, prefix="") if zipped else photos
    assert names(ImageFolder(source), "train") == before
    assert run_command(pack_command.main, pack_flags(source)) == 0
    assert f"4 {LEFT_OUT}" in capsys.readouterr().out


def test_what_macos_puts_into_a_zip_is_not_the_users(photos: Path, as_zip: Callable[..., Path]) -> None:
    archive = as_zip(photos, "photos/")
    with zipfile.ZipFile(archive, "a") as more:
        more.writestr("__MACOSX/photos/cat/._cat_0.jpg", b"resource fork")
    assert len(names(ImageFolder(archive), "train")) == 27


def test_a_zip_whose_paths_lead_out_is_refused(tmp_path: Path, capsys) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("cat/1.jpg", "dog/1.jpg", "../../evil/1.jpg"):
            archive.writestr(name, noise_jpeg(0))
    assert run_command(pack_command.main, pack_flags(tmp_path / "a.zip")) == 2
    assert "'../../evil/1.jpg' is no path within an archive" in capsys.readouterr().err


def test_a_zip_of_endless_paths_is_refused(tmp_path: Path, capsys) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("cat/1.jpg", f"dog/{'a/' * 64}1.jpg"):
            archive.writestr(name, noise_jpeg(0))
    assert run_command(pack_command.main, pack_flags(tmp_path / "a.zip")) == 2
    assert "lies deeper than 64 folders" in capsys.readouterr().err


def test_a_class_folder_of_two_lines_is_refused(tmp_path: Path, capsys) -> None:
    for name in ("cat", "dog\nowl"):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "1.jpg").write_bytes(noise_jpeg(0))
    assert run_command(pack_command.main, pack_flags(tmp_path / "set")) == 2
    assert r"the class folder 'dog\nowl': its name is no text" in capsys.readouterr().err


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


def split_names(photos: Path, **more: bool) -> dict[str, list[str]]:
    source = ImageFolder(photos, **more)
    return {split: names(source, split) for split in ("train", "val")}


def test_a_class_folder_that_is_a_link_out_of_the_set_is_refused_and_followed_where_asked(
    with_val: Path, tmp_path: Path
) -> None:
    plain = split_names(with_val)
    away = tmp_path / "elsewhere"
    (with_val / "train" / "cat").rename(away)
    (with_val / "train" / "cat").symlink_to(away)
    with pytest.raises(UserError, match=r"train/cat: is a link to a folder outside of .*--follow-links"):
        ImageFolder(with_val)
    assert split_names(with_val, follow_links=True) == plain


def test_a_val_that_is_a_link_is_refused_and_not_drawn_from_train(with_val: Path, tmp_path: Path) -> None:
    plain = split_names(with_val)
    (with_val / "val").rename(tmp_path / "elsewhere")
    (with_val / "val").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="val: is a link to a folder outside of"):
        ImageFolder(with_val)
    assert split_names(with_val, follow_links=True) == plain


@pytest.mark.parametrize("follow", [False, True])
def test_a_link_to_a_folder_that_it_lies_in_is_refused(with_val: Path, follow: bool) -> None:
    (with_val / "train" / "cat" / "again").symlink_to(with_val / "train")
    with pytest.raises(UserError, match="cat/again: is a link back to a folder on the way to it"):
        ImageFolder(with_val, follow_links=follow)


@pytest.mark.parametrize("name", ["see", "see.also"])
def test_links_that_lead_round_in_a_ring_are_refused(with_val: Path, name: str) -> None:
    (with_val / "train" / "cat" / name).symlink_to("../dog")
    (with_val / "train" / "dog" / name).symlink_to("../cat")
    with pytest.raises(UserError, match=f"cat/{name}/{name}: is a link back to a folder on the way to it"):
        ImageFolder(with_val)


def test_a_link_that_leads_nowhere_is_refused_where_it_could_be_a_class(with_val: Path) -> None:
    (with_val / "train" / "emu").symlink_to(with_val / "gone")
    with pytest.raises(UserError, match="emu: is a link that leads nowhere"):
        ImageFolder(with_val)


def test_a_link_inside_the_set_is_followed_as_ever(with_val: Path) -> None:
    (with_val / "train" / "cat").rename(with_val / "train" / "dog" / "cats")
    (with_val / "train" / "cat").symlink_to(with_val / "train" / "dog" / "cats")
    assert any(name.startswith("train/cat/") for name in names(ImageFolder(with_val), "train"))


def test_the_command_follows_links_where_asked(with_val: Path, tmp_path: Path, capsys) -> None:
    (with_val / "val").rename(tmp_path / "elsewhere")
    (with_val / "val").symlink_to(tmp_path / "elsewhere")
    assert run_command(pack_command.main, pack_flags(with_val, "--out", tmp_path / "a")) == 2
    assert "is a link to a folder outside" in capsys.readouterr().err
    assert run_command(pack_command.main, pack_flags(with_val, "--out", tmp_path / "b", "--follow-links")) == 0
    assert run_command(pack_command.main, ["--synthetic", "--follow-links", "--out", str(tmp_path / "c")]) == 2
    assert "--follow-links: --synthetic draws its images itself" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("train", "val"), [("Train", "Val"), ("training", "valid"), ("TRAIN", "Validation"), ("train", "VALID")]
)
def test_splits_are_known_by_their_other_names(with_val: Path, train: str, val: str) -> None:
    plain = split_names(with_val)
    (with_val / "val").rename(with_val / "v")
    (with_val / "train").rename(with_val / "t")
    (with_val / "v").rename(with_val / val)
    (with_val / "t").rename(with_val / train)
    found = split_names(with_val)
    assert [each.partition("/")[2] for each in found["train"]] == [each.partition("/")[2] for each in plain["train"]]
    assert [each.partition("/")[2] for each in found["val"]] == [each.partition("/")[2] for each in plain["val"]]


@pytest.mark.parametrize("name", ["train", "val"])
def test_a_class_may_be_called_train(photos: Path, name: str) -> None:
    (photos / name).mkdir()
    for path in (photos / "cat").glob("*.jpg"):
        shutil.copy(path, photos / name)
    source = ImageFolder(photos)
    assert name in [one.name for one in source.classes]
    assert len(source.classes) == len(CLASSES) + 1
    assert f"{photos / name}: is taken for a class, as it and all beside it hold images" in source.notes
    with_splits = photos.with_name("with-splits")
    shutil.copytree(photos, with_splits / "train")
    assert not [note for note in ImageFolder(with_splits).notes if "taken for a class" in note]
    (photos / "dog").rename(photos / "test1")
    with pytest.raises(UserError, match=r"class folders|no train beside it"):
        ImageFolder(photos)


def test_a_class_of_a_splits_other_name_is_a_class(photos: Path) -> None:
    (photos / "cat").rename(photos / "training")
    assert any(name.startswith("training/") for name in names(ImageFolder(photos), "train"))


def test_two_folders_that_may_be_one_split_are_refused(with_val: Path) -> None:
    (with_val / "val").rename(with_val / "Validation")
    (with_val / "valid" / "cat").mkdir(parents=True)
    with pytest.raises(UserError, match="valid: 'Validation' beside it may be val too"):
        ImageFolder(with_val)


def test_splits_under_unknown_names_are_not_taken_for_classes(with_val: Path) -> None:
    (with_val / "train").rename(with_val / "part one")
    (with_val / "val").rename(with_val / "part two")
    with pytest.raises(UserError, match=r"all hold the same folders .* and no images; if they are splits"):
        ImageFolder(with_val)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_a_share_of_none_or_all_is_no_val(fraction: float) -> None:
    with pytest.raises(UserError, match="must lie between 0 and 1"):
        drawn_val("abcd", ord, fraction)


def test_val_of_an_earlier_set_fits_one_that_lies_in_another_outer_folder() -> None:
    earlier = ValOf(Path("earlier"), frozenset({"birds/a.jpg"}), frozenset({"birds"}))
    assert earlier.are_val(["a.jpg", "b.jpg"]) == [True, False]
    assert earlier.are_val(["more/birds/a.jpg"]) == [True]


def test_names_of_a_zip_that_does_not_say_that_they_are_utf_8_are_read_as_that(photos: Path, tmp_path: Path) -> None:
    """As the Finder and Info-ZIP write them; other bytes are of the code page that the standard names."""
    for raw, name in (("Käfer".encode(), "Käfer"), (b"K\x84fer", "Käfer")):
        archive = tmp_path / f"{len(raw)}.zip"
        with zipfile.ZipFile(archive, "w") as file:
            for k in range(4):
                for folder in ("0" * len(raw), "dog"):
                    file.writestr(f"{folder}/{k}.jpg", noise_jpeg(k))
        archive.write_bytes(archive.read_bytes().replace(b"0" * len(raw) + b"/", raw + b"/"))
        source = ImageFolder(archive)
        assert {one.wnid for one in source.classes} == {name, "dog"}
        assert len([*source.records("train")]) == 6


def test_shards_are_not_packed_into_the_class_folders(photos: Path, capsys) -> None:
    """They would be a class for the command that goes on with them."""
    flags = pack_flags(photos)
    flags[flags.index("--out") + 1] = str(photos / "shards")
    assert run_command(pack_command.main, flags) == 2
    assert f"lies in --source {photos}, among its class folders" in capsys.readouterr().err
    assert not (photos / "shards").exists()
    inner = photos.rename(photos.parent / "inner")
    photos.mkdir()
    inner.rename(photos / "set")
    assert run_command(pack_command.main, flags) == 2, "the set would no longer be the only folder"


def test_beside_train_and_val_they_are_no_class(photos: Path, capsys) -> None:
    (photos / "train").mkdir()
    for name in CLASSES:
        (photos / name).rename(photos / "train" / name)
    shutil.copytree(photos / "train", photos / "val")
    flags = pack_flags(photos)
    for name, status in (("shards", 0), ("again", 0), ("train/shards", 2), ("val/cat/shards", 2)):
        flags[flags.index("--out") + 1] = str(photos / name)
        assert run_command(pack_command.main, flags) == status
    assert "shards: neither train nor val, and not packed" in capsys.readouterr().out


def test_of_classes_that_are_not_packed_no_image_is_looked_at(photos: Path) -> None:
    for name in ("dog", "owl"):
        for path in (photos / name).rglob("*.jpg"):
            path.write_bytes(b"no image")
    source = ImageFolder(photos, class_count=1, quarantine=True)
    assert len(source.classes) == 1
    assert not [note for note in source.notes if "ignored where val was drawn" in note]
