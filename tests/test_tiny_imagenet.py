"""The official layout is read as it stands, and every mistake in it is one line naming file and remedy, status 2."""

import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fastwsol.host.command_line import USER_ERROR, run_command
from fastwsol.host.errors import UserError
from fastwsol.pack import main
from fastwsol.sources import Fault
from fastwsol.sources.tiny_imagenet import LAYOUT_NAME, TinyImageNet, find_layout

OFFICIAL = "official tiny-imagenet-200.zip"
VAL = "val/val_annotations.txt"
BOXES = "train/n01/n01_boxes.txt"


def test_label_order_is_that_of_the_wnids_file(layout: Path) -> None:
    source = TinyImageNet(layout)
    assert [one.wnid for one in source.classes] == ["n03", "n01", "n02"]
    assert source.classes[0].name == "name of n03, another name"
    assert [record.label for record in source.records("train")] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [record.label for record in source.records("val")] == [0, 1, 2, 0, 1, 2]


def test_records_come_in_the_order_of_the_annotation_lines(layout: Path) -> None:
    source = TinyImageNet(layout)
    assert [record.name for record in source.records("train")][:4] == [
        "train/n03/images/n03_10.JPEG",
        "train/n03/images/n03_2.JPEG",
        "train/n03/images/n03_0.JPEG",
        "train/n01/images/n01_10.JPEG",
    ]
    assert [record.name for record in source.records("val")] == [f"val/images/val_{k}.JPEG" for k in range(6)]


def test_images_are_the_files_bytes(layout: Path) -> None:
    for split in ("train", "val"):
        for record in TinyImageNet(layout).records(split):
            assert record.image == (layout / record.name).read_bytes()


def test_inclusive_box_ends_become_half_open(layout: Path) -> None:
    source = TinyImageNet(layout)
    train, val = next(source.records("train")), list(source.records("val"))[3]
    np.testing.assert_array_equal(train.boxes, np.array([[10, 1, 31, 64]], np.float32))
    np.testing.assert_array_equal(val.boxes, np.array([[3, 3, 4, 64]], np.float32))  # equal ends: one pixel wide
    assert train.boxes.dtype == np.float32


def test_classes_keeps_the_first_of_the_wnids_file_in_both_splits(layout: Path) -> None:
    source = TinyImageNet(layout, class_count=2)
    assert [one.wnid for one in source.classes] == ["n03", "n01"]
    assert (source.count("train"), source.count("val")) == (6, 4)
    assert [record.name for record in source.records("val")] == [f"val/images/val_{k}.JPEG" for k in (0, 1, 3, 4)]


@pytest.mark.parametrize("prefix", ["tiny-imagenet-200/", ""])
def test_zip_gives_the_records_of_the_folder(layout: Path, as_zip: Callable[..., Path], prefix: str) -> None:
    folder, archive = TinyImageNet(layout), TinyImageNet(as_zip(layout, prefix))
    assert folder.identity == archive.identity
    assert folder.classes == archive.classes
    for split in ("train", "val"):
        assert folder.count(split) == archive.count(split)
        for a, b in zip(folder.records(split), archive.records(split), strict=True):
            assert (a.name, a.image, a.label, a.boxes.tolist()) == (b.name, b.image, b.label, b.boxes.tolist())


def test_windows_line_ends_and_hidden_files_change_nothing(layout: Path) -> None:
    expected = [(record.name, record.label, record.boxes.tolist()) for record in TinyImageNet(layout).records("val")]
    for path in (layout / VAL, layout / "wnids.txt", layout / "words.txt"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    (layout / "val" / "images" / ".DS_Store").write_bytes(b"x")
    (layout / "train" / ".DS_Store").write_bytes(b"x")
    source = TinyImageNet(layout)
    assert [(record.name, record.label, record.boxes.tolist()) for record in source.records("val")] == expected
    assert source.classes[0].name == "name of n03, another name"


def test_layout_is_found_in_the_folder_around_it(layout: Path, as_zip: Callable[..., Path], tmp_path: Path) -> None:
    assert find_layout(layout) == layout
    assert find_layout(layout.parent) == layout
    raw = tmp_path / "raw"
    raw.mkdir()
    archive = as_zip(layout).rename(raw / "tiny-imagenet-200.zip")
    assert find_layout(raw) == find_layout(archive) == archive


def test_origin_names_the_annotation_line(layout: Path) -> None:
    source = TinyImageNet(layout)
    assert source.origin("train", 4) == f"{layout / BOXES} line 2"
    assert source.origin("val", 5) == f"{layout / VAL} line 6"


def replace(path: str, old: str, new: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        text = (root / path).read_text()
        assert old in text
        (root / path).write_text(text.replace(old, new, 1))

    return spoil


def append(path: str, text: str) -> Callable[[Path], None]:
    return lambda root: (root / path).write_text((root / path).read_text() + text)


def remove(path: str) -> Callable[[Path], None]:
    return lambda root: (root / path).unlink()


def add(path: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"anything")

    return spoil


# What is spoilt; what the line must say: the file (and line), what is wrong, the remedy.
MISTAKES: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "no wnids.txt": (remove("wnids.txt"), ("not a Tiny ImageNet layout", "wnids.txt", "--source")),
    "empty wnids.txt": (lambda root: (root / "wnids.txt").write_text("\n"), ("wnids.txt: names no class", OFFICIAL)),
    "class twice": (append("wnids.txt", "n01\n"), ("wnids.txt line 4: n01 stands in line 2 already", "correct")),
    "malformed wnid": (append("wnids.txt", "n04\tx\n"), ("wnids.txt line 4", "'n04\\tx'", "<wnid>", "correct")),
    "no words.txt": (remove("words.txt"), ("words.txt: missing", OFFICIAL)),
    "class without name": (replace("words.txt", "n02", "n12"), ("words.txt: no name for n02", "line 3", "add a line")),
    "not text": (lambda root: (root / "words.txt").write_bytes(b"\nn\xff"), ("words.txt line 2: not UTF-8", OFFICIAL)),
    "no train annotations": (remove(BOXES), (f"{BOXES}: missing", OFFICIAL)),
    "no val annotations": (remove(VAL), (f"{VAL}: missing", OFFICIAL)),
    "class folder not listed": (add("train/n77/n77_boxes.txt"), ("train/n77", "not a class", "wnids.txt", "remove it")),
    "unknown wnid in val": (replace(VAL, "n03", "n77"), (f"{VAL} line 1: 'n77' is not a class", "correct")),
    "train image without annotation": (
        add("train/n01/images/n01_7.JPEG"),
        ("n01_7.JPEG", f"{BOXES} has no annotation for this image", "add the line"),
    ),
    "val image without annotation": (
        add("val/images/val_77.JPEG"),
        ("val_77.JPEG", f"{VAL} has no annotation for this image", "remove the image"),
    ),
    "train annotation without image": (
        remove("train/n01/images/n01_2.JPEG"),
        ("n01_2.JPEG: no such image", f"{BOXES} line 2", "put the image back"),
    ),
    "val annotation without image": (
        remove("val/images/val_4.JPEG"),
        ("val_4.JPEG: no such image", f"{VAL} line 5", "remove the line"),
    ),
    "annotation that leaves its folder": (
        append(VAL, "../../wnids.txt\tn01\t0\t0\t1\t1\n"),
        ("../../wnids.txt", f"{VAL} line 7", "no image's name", "correct the line"),
    ),
    "field missing": (
        replace(VAL, "\t63\n", "\n"),
        (f"{VAL} line 1: found 'val_0", "expected <file> <wnid>", "correct"),
    ),
    "field too many": (replace(BOXES, "\t63\n", "\t63\t1\n"), (f"{BOXES} line 1: found", "<x0> <y0>", "correct")),
    "field empty": (replace(BOXES, "\t1\t", "\t\t"), (f"{BOXES} line 1: found", "expected <file>", "correct")),
    "not an integer": (replace(BOXES, "\t30\t", "\t30.5\t"), (f"{BOXES} line 1", "'30.5'", "integer", "correct")),
    "negative": (
        replace(BOXES, "\t1\t", "\t-1\t"),
        (f"{BOXES} line 1", "(10, -1, 30, 63)", "begins outside", "correct"),
    ),
    "inverted": (replace(BOXES, "\t30\t", "\t9\t"), (f"{BOXES} line 1", "(10, 1, 9, 63)", "inverted", "correct")),
    "right of the frame": (
        replace(BOXES, "\t30\t", "\t66\t"),
        (f"{BOXES} line 1", "(10, 1, 67, 64)", "outside the 64x64", "n01_10.JPEG", "correct"),
    ),
    "below the frame": (
        replace(VAL, "5\t63\n", "5\t66\n"),
        (f"{VAL} line 6", "(5, 5, 6, 67)", "outside the 64x64", "val_5.JPEG", "correct"),
    ),
    "train name twice": (
        append(BOXES, "n01_2.JPEG\t0\t0\t1\t1\n"),
        (f"{BOXES} line 4: n01_2.JPEG stands in line 2 already", "correct"),
    ),
    "val name twice": (
        append(VAL, "val_0.JPEG\tn01\t0\t0\t1\t1\n"),
        (f"{VAL} line 7: val_0.JPEG", "line 1", "correct"),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_mistake_is_one_line_with_file_and_remedy(
    mistake: str, zipped: bool, layout: Path, as_zip: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, expected = MISTAKES[mistake]
    spoil(layout)
    source = as_zip(layout) if zipped else layout
    _assert_refused(["--source", str(source)], (str(source), *expected), layout.parent / "out", capsys)


@pytest.mark.parametrize("count", ["0", "-1", "4"])
def test_classes_out_of_range(count: str, layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--source", str(layout), "--classes", count]
    _assert_refused(arguments, (f"--classes {count}", "wnids.txt", "choose 1 to 3"), layout.parent / "out", capsys)


def test_class_without_val_images(layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (layout / VAL).write_text((layout / VAL).read_text().replace("n03", "n01"))
    expected = ("'val' has no images", "--classes")
    _assert_refused(["--source", str(layout), "--classes", "1"], expected, layout.parent / "out", capsys)


def test_missing_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = (str(tmp_path / "none.zip"), "no such folder or zip", "--source")
    _assert_refused(["--source", str(tmp_path / "none.zip")], expected, tmp_path / "out", capsys)


def test_folder_without_a_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    expected = (str(tmp_path / "empty"), "not a Tiny ImageNet layout", "--source")
    _assert_refused(["--source", str(tmp_path / "empty")], expected, tmp_path / "out", capsys)


def test_zip_cut_short(layout: Path, as_zip: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = as_zip(layout)
    path.write_bytes(path.read_bytes()[:-500])
    expected = (str(path), "not a whole zip archive", "get the official")
    _assert_refused(["--source", str(path)], expected, layout.parent / "out", capsys)


def test_zip_damaged_within_an_image(
    layout: Path, as_zip: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = as_zip(layout)
    content = bytearray(path.read_bytes())
    content[content.index((layout / "val/images/val_3.JPEG").read_bytes()) + 700] ^= 1
    path.write_bytes(content)
    expected = (str(path), "val_3.JPEG", "the archive is damaged here", "put a whole copy")
    _assert_refused(["--source", str(path)], expected, layout.parent / "out", capsys)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zip_with_two_files_of_one_name(
    layout: Path, as_zip: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = as_zip(layout)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("tiny-imagenet-200/val/images/val_3.JPEG", b"another")
    expected = (str(path), "val_3.JPEG", "two files of this name", "get the official")
    _assert_refused(["--source", str(path)], expected, layout.parent / "out", capsys)


def changed_somewhere(rng: random.Random, content: bytes, first: int) -> bytes:
    """`content` with a few bytes changed, put in or taken out, mostly from `first` on."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(first if rng.random() < 0.7 else 0, len(content))
        way = rng.randrange(6)
        if way == 0:
            changed[at : at + 1] = bytes([rng.randrange(256)])
        elif way == 1:
            changed[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff"))
        elif way == 2:
            changed[at:at] = rng.choice((b"\t", b"\n", b"\0", b"-", b"9" * 12, b"\xc2\x85", b"..", b"/", b" ", b"\r"))
        elif way == 3 and rng.random() < 0.3:
            del changed[at : at + rng.randrange(1, 20)]
        elif way == 4 and changed[at : at + 1]:
            changed[at] ^= 1 << rng.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zips_changed_anywhere_give_records_or_a_complaint(compression: int, layout: Path, tmp_path: Path) -> None:
    path, rng = tmp_path / "changed.zip", random.Random(compression)
    files = {f"{LAYOUT_NAME}/{file.relative_to(layout)}": file for file in layout.rglob("*") if file.is_file()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, file in files.items():
            archive.write(file, name)
    whole = path.read_bytes()
    directory = whole.index(b"PK\x01\x02")
    read_through(path)
    refused = 0
    for _ in range(300):
        path.write_bytes(changed_somewhere(rng, whole, directory))
        refused += not read_through(path)
    assert 100 < refused < 300


def test_annotations_changed_anywhere_give_records_or_a_complaint(layout: Path) -> None:
    rng = random.Random(0)
    texts = {path: path.read_bytes() for path in layout.rglob("*.txt")}
    refused = 0
    for _ in range(300):
        path = rng.choice(sorted(texts))
        path.write_bytes(changed_somewhere(rng, texts[path], 0))
        refused += not read_through(layout)
        path.write_bytes(texts[path])
    assert 100 < refused < 300
    assert read_through(layout)


def read_through(path: Path) -> bool:
    """Use everything of the source at `path`; whether it could be opened. Nothing but UserError may come out."""
    try:
        source = TinyImageNet(path)
    except UserError:
        return False
    for split in source.splits:
        records = list(source.records(split))
        assert len(records) == source.count(split) == len(source.labels(split))
        assert all(source.origin(split, index) for index in range(len(records)))
        assert all(isinstance(records[index], Fault) for index in source.known_faults(split))
        source.fingerprint(split, 0, len(records))
    return True


def test_image_that_vanishes_after_the_source_was_opened(layout: Path) -> None:
    source = TinyImageNet(layout)
    (layout / "val/images/val_3.JPEG").unlink()
    fault = list(source.records("val"))[3]
    assert isinstance(fault, Fault)
    assert (fault.name, fault.reason) == ("val/images/val_3.JPEG", "missing")


def _assert_refused(
    arguments: list[str],
    expected: tuple[str, ...],
    out: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command(main, [*arguments, "--out", str(out)]) == USER_ERROR
    (line,) = capsys.readouterr().err.splitlines()
    for fragment in expected:
        assert fragment in line, line
    assert not (out / "manifest.json").exists()


def test_what_lies_behind_links_is_taken_where_asked_and_else_refused_by_name(layout: Path, tmp_path: Path) -> None:
    whole = [record.name for record in TinyImageNet(layout).records("train")]
    (layout / "train" / "n02").rename(tmp_path / "elsewhere")
    (layout / "train" / "n02").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"train/n02.* link"):
        TinyImageNet(layout)
    assert [record.name for record in TinyImageNet(layout, follow_links=True).records("train")] == whole
