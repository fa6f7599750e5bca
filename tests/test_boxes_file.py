"""Files of boxes that are meant for other images or classes: refused by their place, or left out and counted."""

import copy
import json
import random
import shutil
import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import noise_jpeg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_sources import turned_jpeg

from fastwsol import pack as pack_command
from fastwsol.dataset.packer import pack
from fastwsol.dataset.shards import open_shards
from fastwsol.host.command_line import run_command
from fastwsol.host.errors import UserError
from fastwsol.sources.boxes_file import read_boxes
from fastwsol.sources.imagefolder import ImageFolder
from fastwsol.sources.names import Names, own_names

WIDTH, HEIGHT = 96, 80
CLASSES = ("café", "dog")
NAMES = [f"{name}/{name}{k}.jpg" for name in CLASSES for k in range(3)]
BOX = [30, 20, 40, 30]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images of each class. Shared: read them."""
    root = tmp_path_factory.mktemp("boxes") / "photos"
    for k, name in enumerate(NAMES):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(noise_jpeg(k, size=(WIDTH, HEIGHT)))
    return root


def good() -> dict[str, Any]:
    """A box an image."""
    return {
        "images": [{"id": k, "file_name": name, "width": WIDTH, "height": HEIGHT} for k, name in enumerate(NAMES)],
        "annotations": [{"id": k, "image_id": k, "category_id": 1 + k // 3, "bbox": [*BOX]} for k in range(len(NAMES))],
        "categories": [{"id": 1 + k, "name": name} for k, name in enumerate(CLASSES)],
    }


def set_all(content: dict, part: str, **values: Callable[[dict], Any]) -> None:
    for each in content[part]:
        each.update({name: value(each) for name, value in values.items()})


def drawn_on_small_copies(content: dict) -> None:
    set_all(content, "images", width=lambda _: WIDTH // 2, height=lambda _: HEIGHT // 2)
    set_all(content, "annotations", bbox=lambda each: [value / 2 for value in each["bbox"]])


def in_shares(content: dict) -> None:
    set_all(
        content,
        "annotations",
        bbox=lambda each: [value / side for value, side in zip(each["bbox"], (WIDTH, HEIGHT) * 2, strict=True)],
    )


def ids_of_two_files(content: dict) -> None:
    set_all(content, "images", id=lambda each: each["id"] % 4)


def categories_from_zero(content: dict) -> None:
    set_all(content, "annotations", category_id=lambda each: each["category_id"] - 1)


def sizes_that_disagree(content: dict) -> None:
    content["images"].append({"id": 77, "file_name": NAMES[0], "width": 10, "height": 10})
    content["annotations"].append({"image_id": 77, "category_id": 1, "bbox": BOX})


def without_category(content: dict) -> None:
    del content["annotations"][3]["category_id"]


def one_category_for_all(content: dict) -> None:
    content["categories"] = [{"id": 1, "name": "object"}, {"id": 2, "name": "object"}]


REFUSED: list[tuple[Callable[[dict], object], str]] = [
    (drawn_on_small_copies, "the image has 96x80 pixels, and its annotation says 48x40 (FILE annotation "),
    (in_shares, "FILE annotation 0 (id 0): edges (0.3125, 0.25, 0.729167, 0.625) lie between 0 and 1, as shares"),
    (ids_of_two_files, "FILE image 4: its id 0 is another's too"),
    (
        categories_from_zero,
        "FILE annotation 0 (id 0): category_id 0 is none of the file's categories (1, 2); count both",
    ),
    (sizes_that_disagree, "has two sizes, (96, 80) and (10, 10)"),
    (without_category, "FILE annotation 3 (id 3): has no category_id, and the file lists categories"),
    (
        one_category_for_all,
        "no box is used: 6 boxes, 0 used, 6 left out (6 of no class of the set); of no class: 6 object; give",
    ),
    (lambda content: content["annotations"].clear(), "--boxes FILE: it holds no box; give boxes of this set's"),
    (lambda content: content["categories"][1].update(id=1), "FILE category 1: its id 1 is another's too"),
    (lambda content: content["categories"][1].update(name="Dog"), "'Dog' is the class 'dog' but for case or Unicode"),
    (
        lambda content: content["categories"][0].update(name=unicodedata.normalize("NFD", "café")),
        "is the class 'café' but for case or Unicode form; write both alike",
    ),
    (lambda content: content["images"][4].update(file_name="dog/DOG1.JPG"), "'dog/DOG1.JPG' is 'dog/dog1.jpg' but for"),
    (lambda content: content["images"][2].update(width=0), "FILE image 2: [0, 80] are no width and height in pixels"),
]


@pytest.mark.parametrize(("spoil", "words"), REFUSED)
def test_a_file_for_other_images_is_refused(
    photos: Path, tmp_path: Path, spoil: Callable[[dict], object], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content, file = good(), tmp_path / "boxes.json"
    spoil(content)
    file.write_text(json.dumps(content))
    assert packed_by_command(photos, file, tmp_path / "out") == 2
    assert words.replace("FILE", str(file)) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("header", "line", "words"),
    [
        (
            "name,x0,y0,x1,y1",
            "dog/dog1.jpg,10,5,20,50,60",
            "line 2: found 6 values for 5 columns; numbers have a decimal",
        ),
        ("name,x0,y0,x1,y1,x1", "dog/dog1.jpg,1,2,30,40,41", "line 1: two columns 'x1'; give each column its own name"),
        (
            "name,x0,y0,x1,y1,Label",
            "dog/dog1.jpg,1,2,30,40,dog",
            "line 1: the column 'Label' is 'label' but for its form",
        ),
        (
            "name,x0,y0,x1,y1,Width,HEIGHT",
            "dog/dog1.jpg,1,2,30,40,96,80",
            "the column 'Width' is 'width' but for its form",
        ),
        ("name,x0,y0,x1,y1,width", "dog/dog1.jpg,1,2,30,40,96", "line 1: one of width and height without the other"),
    ],
)
def test_a_csv_file_whose_columns_do_not_fit_is_refused(
    photos: Path, tmp_path: Path, header: str, line: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "boxes.csv"
    file.write_text(f"{header}\n{line}\n")
    assert packed_by_command(photos, file, tmp_path / "out") == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("more", ["label,Label", "Name", "Width"])
def test_columns_of_ones_own_may_be_called_alike(
    more: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the column that is meant is there too, or cannot be meant."""
    (tmp_path / "boxes.csv").write_text(
        f"name,x0,y0,x1,y1,{more}\n{NAMES[4]},1,2,30,40{',dog' * more.count(',')},dog\n"
    )
    assert packed_by_command(photos, tmp_path / "boxes.csv", tmp_path / "out") == 0
    assert f"columns ignored: {more.rpartition(',')[2]}" in capsys.readouterr().out


def packed_by_command(photos: Path, file: Path, out: Path, *more: str) -> int:
    flags = ["--layout", "imagefolder", "--source", photos, "--boxes", file, "--out", out, *more]
    return run_command(pack_command.main, [str(each) for each in flags])


def test_what_is_left_out_is_counted_and_the_rest_adds_up(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, file = good(), tmp_path / "boxes.json"
    content["categories"].append({"id": 3, "name": "person"})
    content["annotations"] += [
        {"image_id": 0, "category_id": 3, "bbox": [0, 0, 10, 10]},
        {"image_id": 1, "category_id": 3, "bbox": [0, 0, 10, 10]},
        {"image_id": 0, "category_id": 2, "bbox": [0, 0, 10, 10]},
        {"image_id": 5, "category_id": 2, "bbox": [0, 0, 10, 10], "iscrowd": 1},
    ]
    file.write_text(json.dumps(content))
    assert packed_by_command(photos, file, tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "2 in val; 6 boxes in all" in said
    beside, aside = "1 of another class than their image's", "2 of no class of the set, 1 crowds"
    assert f"{file}: 10 boxes, 6 used, 1 kept but no ground truth ({beside}), 3 left out ({aside})" in said
    assert "1 box beside them, of other classes than their image's, or difficult" in said
    assert boxes_in(tmp_path / "out") == {name: [[30, 20, 70, 50]] for name in NAMES}
    shards = open_shards(tmp_path / "out")
    assert shards.manifest.schema_version == 2
    other = [
        each.objects.labels != each.labels.repeat(np.diff(each.objects.offsets)) for each in shards.splits.values()
    ]
    assert sum(int(each.sum()) for each in other) == 1


def test_a_class_is_known_by_its_id_before_its_name(photos: Path, tmp_path: Path) -> None:
    """As `predict` writes them, of classes whose folders are ids and whose names are words."""
    paths = [NAMES[0], NAMES[-1]]
    names = sorted({path.split("/")[0] for path in paths})
    content = {
        "images": [{"id": number, "file_name": path} for number, path in enumerate(paths)],
        "categories": [{"id": name, "name": f"a {name}", "wnid": name} for name in names],
        "annotations": [
            {"image_id": number, "category_id": path.split("/")[0], "bbox": [1, 1, 5, 5]}
            for number, path in enumerate(paths)
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    found = read_boxes(tmp_path / "a.json", paths, {path: path.split("/")[0] for path in paths}, names)
    assert (found.used, found.left_out.total()) == (2, 0)


def test_boxes_of_classes_and_images_that_are_not_packed_are_counted(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps(good()))
    spoilt = shutil.copytree(photos, tmp_path / "photos")
    (spoilt / NAMES[0]).write_bytes(b"no image")
    assert packed_by_command(spoilt, file, tmp_path / "out", "--classes", "1", "--quarantine") == 3
    said = capsys.readouterr().out
    assert "1 in val; 2 boxes in all" in said
    assert "6 boxes, 3 used, 3 left out (3 of classes beyond --classes 1)" in said
    assert "of the boxes used, 1 of images that were quarantined are not packed" in said


def test_csv_tells_label_and_size_too(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As our own files of boxes do."""
    file = tmp_path / "boxes.csv"
    head = "name,width,height,x0,y0,x1,y1,label,score\n"
    file.write_text(f"{head}dog0.jpg,96,80,30,20,70,50,dog,1\ndog1.jpg,96,80,1,2,30,40,café,1\ndog2.jpg,96,80,,,,,,\n")
    assert packed_by_command(photos, file, tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "in val; 1 box in all" in said
    assert (
        "2 boxes, 1 used, 1 kept but no ground truth (1 of another class than their image's); 1 line without edges; "
        "columns ignored: score" in said
    )


def test_difficult_boxes_are_kept_and_are_no_ground_truth(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "boxes.csv"
    head = "name,x0,y0,x1,y1,difficult\n"
    file.write_text(f"{head}dog0.jpg,30,20,70,50,0\ndog0.jpg,3,2,7,5,1\ndog1.jpg,1,2,30,40,1\n")
    assert packed_by_command(photos, file, tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "3 boxes, 1 used, 2 kept but no ground truth (2 difficult)" in said
    found = {name: boxes for name, boxes in boxes_in(tmp_path / "out").items() if boxes}
    assert found == {"dog/dog0.jpg": [[30, 20, 70, 50]]}
    splits = open_shards(tmp_path / "out").splits.values()
    assert sum(int(each.objects.difficult.sum()) for each in splits) == 2
    file.write_text(f"{head}dog0.jpg,30,20,70,50,yes\n")
    assert packed_by_command(photos, file, tmp_path / "other") == 2
    assert "boxes.csv line 2: difficult 'yes' is neither 0 nor 1" in capsys.readouterr().err


def test_a_bad_box_is_named_by_its_own_line(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "boxes.csv").write_text(f"name,x0,y0,x1,y1\n{NAMES[0]},1,1,9,9\n{NAMES[0]},5,5,500,50\n")
    flags = ["--layout", "imagefolder", "--source", str(photos), "--boxes", str(tmp_path / "boxes.csv")]
    assert run_command(pack_command.main, [*flags, "--out", str(tmp_path / "out")]) == 2
    assert "boxes.csv line 3); correct the box" in capsys.readouterr().err


def test_a_file_of_more_images_is_taken_where_that_is_said(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names that are an image's but for their form are refused all the same."""
    file = tmp_path / "boxes.csv"
    file.write_text(f"name,x0,y0,x1,y1\n{NAMES[0]},1,1,9,9\nother/1.jpg,1,1,9,9\nother/2.jpg,1,1,9,9\n")
    assert packed_by_command(photos, file, tmp_path / "out") == 2
    assert "line 3: 'other/1.jpg' is no image of the source" in (said := capsys.readouterr().err)
    assert "add --boxes-of-more" in said
    assert packed_by_command(photos, file, tmp_path / "out", "--boxes-of-more") == 0
    assert "3 boxes, 1 used, 2 left out (2 of no image of the source)" in capsys.readouterr().out
    file.write_text("name,x0,y0,x1,y1\nother/1.jpg,1,1,9,9\n")
    assert packed_by_command(photos, file, tmp_path / "none", "--boxes-of-more") == 2
    assert "no box is used: 1 boxes, 0 used, 1 left out (1 of no image" in capsys.readouterr().err
    file.write_text(f"name,x0,y0,x1,y1\n{NAMES[4].upper()},1,1,9,9\n")
    assert packed_by_command(photos, file, tmp_path / "none", "--boxes-of-more") == 2
    assert "but for case or Unicode form" in capsys.readouterr().err


def test_labels_of_no_class_are_named(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        f"{NAMES[0]},1,1,9,9,café",
        f"{NAMES[3]},1,1,9,9,dogg",
        f"{NAMES[4]},1,1,9,9,dogg",
        f"{NAMES[5]},1,1,9,9,zzz",
    ]
    (tmp_path / "boxes.csv").write_text("\n".join(["name,x0,y0,x1,y1,label", *lines]))
    assert packed_by_command(photos, tmp_path / "boxes.csv", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert (
        "4 boxes, 1 used, 3 left out (3 of no class of the set); of no class: 2 dogg, 1 zzz (the set has dog)" in said
    )


def test_widths_in_the_place_of_ends_are_told(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And no image is quarantined for it."""
    (tmp_path / "boxes.csv").write_text(f"name,x0,y0,x1,y1\n{NAMES[0]},50,20,30,40\n")
    assert packed_by_command(photos, tmp_path / "boxes.csv", tmp_path / "out", "--quarantine") == 2
    said = capsys.readouterr().err
    assert "line 2: x0 50 .. x1 30, y0 20 .. y1 40 is no box; x1,y1 is its lower right corner" in said


def test_the_end_of_a_path_is_enough_where_one_image_has_it(photos: Path) -> None:
    """As of a set that lies in another folder, as in a zip."""
    paths = [f"photos/{name}" for name in NAMES]
    file = photos.parent / "inner.csv"
    file.write_text(f"name,x0,y0,x1,y1\n{NAMES[0]},1,1,9,9\n{unicodedata.normalize('NFD', NAMES[1])},1,1,9,9\n")
    found = read_boxes(file, paths, dict.fromkeys(paths, "dog"), CLASSES)
    assert [*found.of_image] == paths[:2]


def test_what_a_csv_tells_is_checked_against_the_image(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "boxes.csv"
    head = "name,width,height,x0,y0,x1,y1,label,score\n"
    file.write_text(f"{head}dog0.jpg,48,40,15,10,35,25,dog,1\n")
    assert packed_by_command(photos, file, tmp_path / "other") == 2
    assert "the image has 96x80 pixels, and its annotation says 48x40" in capsys.readouterr().err
    file.write_text(f"{head}dog0.jpg,96,80,.1,.2,.5,1,dog,1\n")
    assert packed_by_command(photos, file, tmp_path / "other") == 2
    assert "boxes.csv line 2: edges (0.1, 0.2, 0.5, 1) lie between 0 and 1" in capsys.readouterr().err


def test_a_size_before_turning_is_told_as_such(photos: Path, tmp_path: Path) -> None:
    """An image that lies on its side, whose boxes were drawn on it as it lies."""
    turned = shutil.copytree(photos, tmp_path / "photos")
    (turned / NAMES[0]).write_bytes(turned_jpeg(6, np.zeros((HEIGHT, WIDTH, 3), np.uint8)))
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps(good()))
    with pytest.raises(
        UserError, match="has 80x96 pixels once it is turned as its EXIF says, and its annotation says 9"
    ):
        pack(ImageFolder(turned, boxes=file), tmp_path / "out")


def boxes_in(shards: Path) -> dict[str, list[list[float]]]:
    found = {}
    for split in open_shards(shards).splits.values():
        for k, name in enumerate(split.names(range(len(split)))):
            found[name] = split.boxes[split.box_offsets[k] : split.box_offsets[k + 1]].tolist()
    return found


# Any structure

boxes = st.tuples(st.integers(0, 60), st.integers(0, 50), st.integers(2, 30), st.integers(2, 30)).map(list)
annotations = st.fixed_dictionaries(
    {
        "image_id": st.integers(0, 5),
        "category_id": st.integers(1, 3),
        "bbox": boxes,
        "iscrowd": st.sampled_from([0, 0, 1]),
    }
)


def forms(text: str) -> st.SearchStrategy[str]:
    return st.sampled_from([text.upper(), text.title(), f"{text} ", unicodedata.normalize("NFD", text), "other", text])


KEYS = {
    "images": ("id", "file_name", "width", "height"),
    "annotations": ("image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}


@st.composite
def changes(draw: st.DrawFn) -> Callable[[dict], None]:
    """One fault of the kinds that files are seen to have, somewhere in the file."""
    part, keys = draw(st.sampled_from([*KEYS.items()]))
    key = draw(st.sampled_from(keys))
    at, number = draw(st.integers(0, 5)), draw(st.integers(-1, 7))
    scale = draw(st.sampled_from([0.5, 1 / 96, 1 / 2000, 2]))
    name, category = draw(forms(NAMES[at])), draw(forms(CLASSES[at % 2]))
    everywhere = draw(st.booleans())

    def change(content: dict) -> None:
        entries = content[part]
        for entry in entries if everywhere else [entries[at % len(entries)]] if entries else []:
            old = entry[key]
            if key == "bbox":
                entry[key] = [value * scale for value in old]
            elif key in ("width", "height"):
                entry[key] = int((old or WIDTH) * 2 * scale) or None
            elif key in ("file_name", "name"):
                entry[key] = name if key == "file_name" else category
            else:
                entry[key] = old + number if everywhere else number

    return change


def test_no_fault_of_structure_changes_a_box_in_silence(photos: Path, full: bool) -> None:
    """What is packed of an image are the boxes that the file, as it stands, has for its class in its pixels; and the
    counts add up. Else it is refused, with the file's name.
    """

    seen = {"refused": 0, "packed": 0}

    @settings(
        max_examples=3000 if full else 120,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(annotations, max_size=8), st.lists(changes(), max_size=2))
    def check(drawn: list[dict], faults: list[Callable[[dict], None]]) -> None:
        content = good()
        content["categories"].append({"id": 3, "name": "person"})
        content["annotations"] = copy.deepcopy(drawn)
        for fault in faults:
            fault(content)
        with tempfile.TemporaryDirectory() as folder:
            file, out = Path(folder) / "boxes.json", Path(folder) / "out"
            file.write_text(json.dumps(content))
            complaint = None
            try:
                source = ImageFolder(photos, boxes=file)
                pack(source, out)
            except UserError as error:
                complaint = str(error)
            seen["refused" if complaint else "packed"] += 1
            if complaint:
                assert "boxes.json" in complaint
                return
            packed = boxes_in(out)
        names = {each["id"]: each["file_name"] for each in content["images"]}
        kinds = {each["id"]: each["name"] for each in content["categories"]}
        expected: dict[str, list[list[float]]] = {name: [] for name in NAMES}
        for each in content["annotations"]:
            name = names[each["image_id"]]
            if kinds[each["category_id"]] == name.partition("/")[0] and not each["iscrowd"]:
                x, y, width, height = each["bbox"]
                ends = np.float32([x, y, x + width, y + height]).clip(0, np.float32([WIDTH, HEIGHT] * 2))
                expected[name].append(ends.tolist())
        assert packed == expected
        (account,) = (note for note in source.notes if note.startswith(str(file)))
        used, every = sum(map(len, packed.values())), len(content["annotations"])
        of_classes = sum(
            kinds[each["category_id"]] in CLASSES and not each["iscrowd"] for each in content["annotations"]
        )
        beside, aside = of_classes - used, every - of_classes
        assert f"{every:,} boxes, {used:,} used" in account
        assert (f"{beside:,} kept but no ground truth" in account) == bool(beside)
        assert (f"{aside:,} left out" in account) == bool(aside)
        for each in content["images"]:
            assert (each["width"], each["height"]) in ((WIDTH, HEIGHT), (None, None)) or not packed[each["file_name"]]

    check()
    assert min(seen.values()) > 20, seen


def test_a_name_is_the_same_text_in_both_unicode_forms(tmp_path: Path) -> None:
    """As a Mac writes it, and as others do."""
    path = unicodedata.normalize("NFD", "möwe/Bild ä.jpg")
    file = tmp_path / "boxes.csv"
    file.write_text("name,x0,y0,x1,y1\n" + unicodedata.normalize("NFC", path) + ",1,2,3,4\n")
    assert [*read_boxes(file, [path], {path: "möwe"}, ["möwe"]).of_image] == [path]


def test_what_is_left_out_is_counted_in_boxes_and_keeps_their_places(tmp_path: Path) -> None:
    lines = ["name,x0,y0,x1,y1,label,score", "a.jpg,0,0,9,9,cat,0.5", "a.jpg,1,1,9,9,dog,", "b.jpg,0,0,5,5,cat,"]
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    labels = {"a.jpg": "cat", "b.jpg": "cat"}
    found = read_boxes(tmp_path / "boxes.csv", [*labels], labels, ["cat", "dog"])
    assert found.predicted, "also where a box without a score comes later"
    found.leave_out_classes(["dog"], "x")
    a = found.of_image["a.jpg"]
    assert len(a.boxes) == 1
    found.leave_out(["a.jpg"], "y")
    assert dict(found.left_out) == {"x": 1, "y": 1}


@pytest.mark.parametrize("box", ["0,50,10,20", "50,0,20,10"])
def test_boxes_that_end_before_they_begin_are_refused(box: str, tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text(f"name,x0,y0,x1,y1\na.jpg,{box}\n")
    with pytest.raises(UserError, match="is no box; x1,y1 is its lower right corner"):
        read_boxes(tmp_path / "boxes.csv", ["a.jpg"], {"a.jpg": "cat"}, ["cat"])


def test_an_image_is_meant_by_the_end_of_its_path_at_a_folder() -> None:
    assert Names(["mydog/1.jpg"]).by_end("dog/1.jpg") == []
    assert Names(["my/dog/1.jpg"]).by_end("dog/1.jpg") == ["my/dog/1.jpg"]


def test_names_of_a_packed_sets_csv_are_those_of_its_images(tmp_path: Path) -> None:
    """As `convert SHARDS --format csv` writes them: behind their split."""
    lines = ("name,x0,y0,x1,y1", "val/cat/1.jpg,1,1,5,5", "train/cat/2.gif.png,1,1,5,5", "")  # a GIF is packed as PNG
    (tmp_path / "a.csv").write_text("\n".join(lines))
    paths = ["cat/1.jpg", "cat/2.gif"]
    found = read_boxes(tmp_path / "a.csv", paths, dict.fromkeys(paths, "cat"), ["cat", "dog"])
    assert sorted(found.of_image) == paths


def test_a_verdict_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,x0,y0,x1,y1,score,verdict\n1.jpg,1,1,5,5,0.5,pending\n")
    with pytest.raises(
        UserError, match=r"line 2: verdict 'pending' is none of drawn, .*; correct it, or call the column"
    ):
        read_boxes(tmp_path / "a.csv", ["1.jpg"], {"1.jpg": "cat"}, ["cat", "dog"])


def test_an_end_of_several_parts_is_found_among_images_of_one_name() -> None:
    names = Names([f"train/n{k:03}/images/0.jpg" for k in range(50)] + ["0.jpg"])
    assert names.by_end("n007/images/0.jpg") == ["train/n007/images/0.jpg"]
    assert names.by_end("images/0.jpg") == [f"train/n{k:03}/images/0.jpg" for k in range(50)]
    assert len(names.by_end("0.jpg")) == 50
    assert names.by_end("n007/0.jpg") == []
    assert names.by_end("train/n007/images/0.jpg") == [], "which is a whole path, and no end"
    assert Names(["/cats/0.jpg"]).by_end("cats/0.jpg") == ["/cats/0.jpg"]


def test_the_end_of_a_name_is_found_in_all_that_end_so() -> None:
    rng = random.Random(0)
    paths = {"/".join(rng.choices(["", "a", "b", "e\u0301", "\u00e9"], k=rng.randrange(1, 6))) for _ in range(200)}
    names = Names(paths)
    for asked in [*paths, *(path.partition("/")[2] for path in paths)]:
        end = unicodedata.normalize("NFC", f"/{asked}")
        assert sorted(names.by_end(asked)) == sorted(
            path for path in paths if unicodedata.normalize("NFC", path).endswith(end)
        )


def boxes_by_path(photos: Path, file: Path, content: dict, of_more: bool = False) -> dict[str, list[float]]:
    """The x0 of each image's boxes. photos: the images' folder."""
    paths = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.jpg"))
    file.write_text(json.dumps(content))
    found = read_boxes(file, paths, {path: path.split("/")[-2] for path in paths}, CLASSES, of_more)
    return {path: [box.box[0] for box in image.boxes] for path, image in found.of_image.items()}


def renamed(named: str) -> dict[str, Any]:
    """A box an image, each at another x; the names as another tool gives them."""
    content = good()
    for each in content["images"]:
        each["file_name"] = named.format(each["file_name"], end=each["file_name"].split("/")[1])
    set_all(content, "annotations", bbox=lambda each: [each["image_id"], 20, 40, 30])
    return content


TOOLS_NAMES = ["/data/local-files/?d=photos/{}", "mine/photos/{}", "images/0a1b2c3d-{end}"]


@pytest.mark.parametrize("named", TOOLS_NAMES)
def test_names_come_back_from_a_labelling_tool(photos: Path, tmp_path: Path, capsys, named: str) -> None:
    found = boxes_by_path(photos, tmp_path / "boxes.json", renamed(named))
    assert found == {name: [k] for k, name in enumerate(NAMES)}
    assert capsys.readouterr().out.count("the names of its images are taken without") == 1


@pytest.mark.parametrize("named", TOOLS_NAMES)
@pytest.mark.parametrize("more", ["none.jpg", "dog0.JPG"])
def test_where_not_all_are_known_nothing_is_taken_away(photos: Path, tmp_path: Path, named: str, more: str) -> None:
    """It may be of other images, some of which are called alike."""
    content = renamed(named)
    content["images"].append({"id": 77, "file_name": named.format(f"dog/{more}", end=more)})
    content["annotations"].append({"id": 77, "image_id": 77, "category_id": 2, "bbox": [*BOX]})
    with pytest.raises(UserError, match=r"annotation 0 .* is no image of the source"):
        boxes_by_path(photos, tmp_path / "boxes.json", content)
    assert boxes_by_path(photos, tmp_path / "boxes.json", content, of_more=True) == {}


def test_boxes_of_another_class_or_split_are_not_taken_for_these_images(tmp_path: Path) -> None:
    paths = ["1.jpg", "2.jpg"]
    for folder in ("dog", "photos/dog", "train", "photos/val"):
        theirs = [f"{folder}/{path}" for path in paths]
        assert own_names(theirs, Names(paths), {"dog"}) is None
        assert own_names([f"photos/{path}" for path in paths], Names(paths), {"dog"}) is not None


def test_dates_before_names_are_no_uploads() -> None:
    known = Names(["cat/20240115-001.jpg", "cat/20240115-002.jpg", "dog/001.jpg", "dog/002.jpg"])
    own = own_names(["x/cat/20240115-001.jpg", "x/cat/20240115-002.jpg"], known, {"cat"})
    assert own is not None
    assert own.of["x/cat/20240115-001.jpg"] == "cat/20240115-001.jpg"
    assert own_names(["20240115-001.jpg", "20240115-002.jpg"], known, {"cat"}) is None, "they are known by their end"


def test_a_name_that_is_known_by_its_end_keeps_its_folders() -> None:
    known = Names(["cat/1.jpg", "cat/2.jpg", "old/photos/cat/2.jpg"])
    assert own_names(["photos/cat/1.jpg", "photos/cat/2.jpg"], known, set()) is None
