"""`predict --cut-on`: known boxes of some of the images say where the maps of all are cut."""

import json
import tempfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from colour_network import colour_predictor, picture
from conftest import noise_jpeg
from faults.run_cases import CONFIG, make_run

import kernels
from fastwsol import predict
from fastwsol.evaluation.table_cells import to_type
from fastwsol.evaluation.thresholds import Cut
from fastwsol.host.command_line import run_command
from fastwsol.host.errors import UserError
from fastwsol.prediction.cut_on_boxes import cut_on_boxes
from fastwsol.prediction.image_like import named_image
from fastwsol.prediction.predictions import Prediction, Request
from fastwsol.sources.coco_json import CocoFile, CocoImage
from fastwsol.sources.known_boxes import image_finder, read_known_boxes
from kernels.levels import level_of, threshold_of


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, synthetic_shards: Path) -> Path:
    """A run, photos, and as known boxes of all but two of them those that it finds at another threshold."""
    folder = tmp_path_factory.mktemp("cut")
    (folder / "photos").mkdir()
    for k in range(24):
        (folder / "photos" / f"{k:02}.jpg").write_bytes(noise_jpeg(k, size=(60 + 3 * k, 70)))
    make_run(folder / "run", synthetic_shards)
    assert predicted(folder, "known.json", "--threshold", "0.72") == 0
    content = json.loads((folder / "known.json").read_text())
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] > 2]
    (folder / "known.json").write_text(json.dumps(content))
    judge(folder / "known.json")
    return folder


def judge(file: Path) -> None:
    """Take the scores off predictions, which then are known boxes."""
    content = json.loads(file.read_text())
    for each in content["annotations"]:
        del each["score"]
    file.write_text(json.dumps(content))


def predicted(folder: Path, out: str, *more: str) -> int:
    flags = [str(folder / "run"), str(folder / "photos"), "--device", "cpu", "--threads", "1"]
    return run_command(predict.main, [*flags, "--out", str(folder / out), *more])


def boxes_in(path: Path) -> dict[str, list[float]]:
    content = json.loads(path.read_text())
    names = {each["id"]: each["file_name"] for each in content["images"]}
    return {names[each["image_id"]]: each["bbox"] for each in content["annotations"]}


def test_maps_are_cut_where_the_known_boxes_are_hit(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predicted(root, "plain.json") == 0
    capsys.readouterr()
    assert predicted(root, "cut.json", "--cut-on", str(root / "known.json")) == 0
    said = capsys.readouterr().out
    assert "the best on 22 images of known.json, by their boxes" in said
    known, hits = boxes_in(root / "known.json"), {}
    for name in ("plain.json", "cut.json"):
        found = boxes_in(root / name)
        ends = [np.array([of[image] for image in known], np.float32) for of in (found, known)]
        ours, theirs = (np.hstack([each[:, :2], each[:, :2] + each[:, 2:]]) for each in ends)
        hits[name] = (kernels.best_iou(ours, theirs, np.arange(len(ours) + 1)) >= 0.5).mean()
    assert hits["cut.json"] == 1
    assert hits["plain.json"] < 0.9
    info = json.loads((root / "cut.json").read_text())["info"]
    assert "cut on 22 images of known.json, by their boxes" in info["description"]


@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_a_class_that_is_asked_for_is_cut_by_its_own_maps(root: Path, name: str) -> None:
    known, found = f"of-{name}.json", f"cut-for-{name}.json"
    assert predicted(root, known, "--class", name, "--threshold", "0.72") == 0
    judge(root / known)
    assert predicted(root, found, "--class", name, "--cut-on", str(root / known)) == 0
    expected, boxes = boxes_in(root / known), boxes_in(root / found)
    both = [np.array([[x, y, x + w, y + h] for x, y, w, h in of.values()], np.float32) for of in (expected, boxes)]
    assert (kernels.best_iou(*both, np.arange(len(expected) + 1)) >= 0.5).all()


def test_known_boxes_of_one_class_are_warned_of(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads((root / "known.json").read_text())
    for each in content["annotations"]:
        each["category_id"] = 1
    (root / "of-one.json").write_text(json.dumps(content))
    assert predicted(root, "cut-on-one.json", "--cut-on", str(root / "of-one.json")) == 0
    said = capsys.readouterr()
    assert "the boxes are all of one class" in said.err
    assert "(the run itself cuts them at 0.2)" in said.out


def test_the_cut_that_is_printed_gives_the_same_boxes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predicted(root, "by-boxes.json", "--cut-on", str(root / "known.json")) == 0
    printed = capsys.readouterr().out.partition("maps are cut at ")[2].split()[0]
    assert predicted(root, "typed.json", "--threshold", printed) == 0
    assert boxes_in(root / "typed.json") == boxes_in(root / "by-boxes.json")


@pytest.mark.parametrize("level", range(256))
def test_a_threshold_that_is_typed_again_is_of_the_same_level(level: int) -> None:
    assert level_of(float(to_type(threshold_of(level)))) == level


@pytest.mark.parametrize("ending", ["json", "csv"])
def test_predictions_are_no_known_boxes(root: Path, ending: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert predicted(root, f"own.{ending}") == 0
    assert predicted(root, "never.json", "--cut-on", str(root / f"own.{ending}")) == 2
    assert "24 images in it with boxes that have scores: a network predicted them" in capsys.readouterr().err


def test_boxes_of_other_classes_than_the_one_asked_for_are_left_out(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = boxes_in(root / "known.json")
    lines = [
        f"{name},{x},{y},{x + w},{y + h},{'alpha' if k < 9 else 'beta'}"
        for k, (name, (x, y, w, h)) in enumerate(known.items())
    ]
    (root / "two.csv").write_text("\n".join(["name,x0,y0,x1,y1,label", *lines]) + "\n")
    assert predicted(root, "by-alpha.json", "--class", "alpha", "--cut-on", str(root / "two.csv")) == 0
    said = capsys.readouterr().out
    assert "the best on 9 images of two.csv" in said
    assert "boxes of other classes than the one that is asked for, left out: 13" in said
    assert predicted(root, "by-gamma.json", "--class", "gamma", "--cut-on", str(root / "two.csv")) == 2
    assert "has boxes of 0 of the images, and 5 at least are needed" in capsys.readouterr().err


def test_known_boxes_of_one_class_are_warned_of_in_a_csv_too(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its one class is all that it knows; the network knows more."""
    known = boxes_in(root / "known.json")
    for head, label in (("name,x0,y0,x1,y1,label", ",alpha"), ("name,x0,y0,x1,y1", "")):
        lines = [f"{name},{x},{y},{x + w},{y + h}{label}" for name, (x, y, w, h) in known.items()]
        (root / "one.csv").write_text("\n".join([head, *lines]) + "\n")
        asked = [] if label else ["--class", "alpha"]
        (root / "of-one.json").unlink(missing_ok=True)
        assert predicted(root, "of-one.json", "--cut-on", str(root / "one.csv"), *asked) == 0
        assert ("the boxes are all of one class, alpha" in capsys.readouterr().err) == bool(label)


def test_boxes_under_other_names_are_shown_beside_ours(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "others.csv").write_text("name,x0,y0,x1,y1\nphotos/train/a.jpg,1,1,9,9\n")
    assert predicted(root, "none.json", "--cut-on", str(root / "others.csv")) == 2
    said = capsys.readouterr().err
    assert "its images are called like 'photos/train/a.jpg', and these like '00.jpg'" in said


def test_known_boxes_may_be_csv_and_names_without_folders(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["name,x0,y0,x1,y1"]
    for name, (x, y, width, height) in boxes_in(root / "known.json").items():
        lines.append(f"{name.rpartition('/')[2]},{x},{y},{x + width},{y + height}")
    (root / "known.csv").write_text("\n".join([*lines, "another.jpg,1,1,9,9"]))
    assert predicted(root, "as-json.json", "--cut-on", str(root / "known.json")) == 0
    capsys.readouterr()
    assert predicted(root, "as-csv.json", "--cut-on", str(root / "known.csv")) == 0
    assert "known.csv: images of it that are none of these: 1 of 23" in capsys.readouterr().out
    assert boxes_in(root / "as-csv.json") == boxes_in(root / "as-json.json")


def test_a_name_without_folders_means_the_only_image_of_that_name() -> None:
    def listing(*names: str) -> CocoFile:
        images = {name: CocoImage(name, None, {}, "") for name in names}
        return CocoFile(Path("known.csv"), images, {}, [], {})

    find = image_finder(["a/1.jpg", "a/2.jpg", "b/2.jpg", "3.jpg"], listing("1.jpg", "2.jpg", "3.jpg"), "--cut-on")
    assert [find(name) for name in ("1.jpg", "3.jpg", "4.jpg", "c/1.jpg")] == ["a/1.jpg", "3.jpg", None, None]
    with pytest.raises(UserError, match=r"--cut-on: '2\.jpg' may be a/2\.jpg or b/2\.jpg; give its path"):
        find("2.jpg")
    find = image_finder(["b/1.jpg"], listing("b/1.jpg", "1.jpg"), "--cut-on")
    assert find("1.jpg") is None, "the file knows that image by its own name: this is another"


def test_a_known_name_may_have_the_other_unicode_form() -> None:
    """As a Mac writes it, and as others do."""
    ours = [unicodedata.normalize("NFD", name) for name in ("é/1.jpg", "b/ä.jpg")]
    listed = {name: CocoImage(name, None, {}, "") for name in ("é/1.jpg", "ä.jpg")}
    find = image_finder(ours, CocoFile(Path("known.csv"), listed, {}, [], {}), "--cut-on")
    assert [find(name) for name in listed] == ours


def test_sizes_of_a_csv_may_stand_on_some_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "known.csv"
    file.write_text("name,x0,y0,x1,y1,width,height,by\na.jpg,1,1,9,9,,,me\na.jpg,1,1,8,8,20,10,\nb.jpg,,,,,,,\n")
    (image,) = read_known_boxes(file, "known").images.values()
    assert image.size == (20, 10)
    assert capsys.readouterr().out == "known: 1 line without edges; columns ignored: by\n"
    file.write_text("name,x0,y0,x1,y1,width,height\na.jpg,1,1,9,9,20,10\na.jpg,1,1,8,8,30,10\n")
    with pytest.raises(UserError, match=r"line 3: 'a.jpg' has two sizes, \(20, 10\) and \(30, 10\)"):
        read_known_boxes(file, "known")


def test_a_part_is_cut_as_the_whole_is(root: Path) -> None:
    cut_on = ("--cut-on", str(root / "known.json"))
    assert predicted(root, "whole.json", *cut_on) == predicted(root, "part.json", *cut_on, "--part", "1/1") == 0
    assert boxes_in(root / "part.json") == boxes_in(root / "whole.json")


def test_known_boxes_without_a_width_are_left_out(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As packing has it, in COCO's JSON and in CSV."""
    content = json.loads((root / "known.json").read_text())
    flat = content["annotations"][0] | {"bbox": [5, 5, 0, 9]}
    (root / "flat.json").write_text(json.dumps(content | {"annotations": [*content["annotations"], flat]}))
    assert predicted(root, "flat-out.json", "--cut-on", str(root / "flat.json")) == 0
    assert "1 box without a width or a height, left out" in " ".join(capsys.readouterr().out.split())
    assert predicted(root, "plain-out.json", "--cut-on", str(root / "known.json")) == 0
    assert boxes_in(root / "flat-out.json") == boxes_in(root / "plain-out.json")
    (root / "flat.csv").write_text("name,x0,y0,x1,y1\na.jpg,0,0,0,0\na.jpg,5,5,15,19\n")
    assert len(read_known_boxes(root / "flat.csv", "flat.csv").raw_annotations) == 1
    assert "flat.csv: 1 box without a width or a height, left out" in capsys.readouterr().out
    (root / "flat.csv").write_text("name,x0,y0,x1,y1\na.jpg,5,5,5,9\n")
    with pytest.raises(UserError, match="holds no box"):
        read_known_boxes(root / "flat.csv", "flat.csv")
    left = [*content["annotations"][:1], flat, content["annotations"][1] | {"bbox": [2000, 2000, 9, 9]}]
    (root / "flat.json").write_text(json.dumps(content | {"annotations": left}))
    places = [each.where for each in read_known_boxes(root / "flat.json", "flat.json").annotations()]
    assert [place.partition("annotation ")[2].split()[0] for place in places] == ["0", "2"], "their own places"


@pytest.mark.parametrize(
    ("file", "more", "words"),
    [
        ("nowhere.json", [], "nowhere.json: cannot be read"),
        ("few.json", [], "few.json: has boxes of 1 of the images, and 5 at least are needed"),
        ("larger.json", [], "pixels there, and "),
        ("outside.json", [], "reaches outside its "),
        ("shares.json", [], "lie between 0 and 1, as shares of the image do"),
        ("empty.json", [], "x0 20 .. x1 10, y0 20 .. y1 10 is no box"),
        ("never-closed.csv", [], "never-closed.csv line 1: field larger than field limit"),
        ("no-box.csv", [], "no-box.csv line 2: x0 9 .. x1 1, y0 1 .. y1 9 is no box"),
        ("german.csv", [], "german.csv line 1: columns are separated by semicolons"),
        ("labels.csv", [], "labels.csv line 3: some boxes have a label and some have none"),
        ("known.json", ["--threshold", "0.3"], "chooses the threshold, and --threshold gives one"),
    ],
)
def test_mistakes_get_one_line(
    root: Path, file: str, more: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads((root / "known.json").read_text())
    larger = [image | {"width": 10 * image["width"]} for image in content["images"]]
    (root / "larger.json").write_text(json.dumps(content | {"images": larger}))
    boxes = {"outside": [2000, 2000, 100, 100], "shares": [0.1, 0.2, 0.5, 0.6], "empty": [20, 20, -10, -10]}
    for name, box in boxes.items():
        annotations = [each | {"bbox": box} for each in content["annotations"]]
        (root / f"{name}.json").write_text(json.dumps(content | {"annotations": annotations}))
    (root / "never-closed.csv").write_text('"name,x0,y0,x1,y1\n' + 200_000 * "a")
    (root / "no-box.csv").write_text("name,x0,y0,x1,y1\na.jpg,9,1,1,9\n")
    (root / "german.csv").write_text("name;x0;y0;x1;y1\na.jpg;1,5;1;9;9\n")
    (root / "labels.csv").write_text("name,x0,y0,x1,y1,label\na.jpg,1,1,9,9,dog\nb.jpg,1,1,9,9,\n")
    content["annotations"] = content["annotations"][:1]
    (root / "few.json").write_text(json.dumps(content))
    assert predicted(root, "never.json", "--cut-on", str(root / file), *more) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (root / "never.json").exists()


def test_crowds_and_difficult_boxes_are_no_known_ones(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads((root / "known.json").read_text())
    for each, mark in zip(content["annotations"], [{"difficult": 1}, {"iscrowd": 1}, {}] * 8, strict=False):
        each |= mark
    (root / "hard.json").write_text(json.dumps(content))
    assert predicted(root, "not-hard.json", "--cut-on", str(root / "hard.json")) == 0
    assert "the best on 7 images of hard.json" in capsys.readouterr().out
    lines = [f"{k:02}.jpg,1,1,9,9,alpha,{int(k % 2 == 0)}" for k in range(4)]
    (root / "hard.csv").write_text("\n".join(["name,x0,y0,x1,y1,label,difficult", *lines]))
    found = read_known_boxes(root / "hard.csv", "--cut-on hard.csv")
    assert [each.counts for each in found.annotations()] == [False, True, False, True]


def test_it_is_said_how_many_images_were_merely_accepted(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads((root / "known.json").read_text())
    with_boxes = {each["image_id"] for each in content["annotations"]}
    verdicts = ["accepted"] * 3 + ["corrected"] * 2
    images = [each for each in content["images"] if each["id"] in with_boxes]
    for each, verdict in zip(images, verdicts, strict=False):
        each["review"] = {"verdict": verdict}
    (root / "accepted.json").write_text(json.dumps(content))
    assert predicted(root, "by-accepted.json", "--cut-on", str(root / "accepted.json")) == 0
    assert "by their boxes, 3 of which were merely accepted" in capsys.readouterr().out


def test_of_cuts_that_hit_as_many_the_nearest_to_the_runs_own_is_taken() -> None:
    """And not to the paper's."""
    predictor = colour_predictor()
    predictor.cut = Cut("asked", 0.6, "by hand")
    images = [named_image(np.roll(picture(), k, axis=1), k) for k in range(5)]
    found = [each for each in predictor.stream(images) if isinstance(each, Prediction)]
    lines = ["name,x0,y0,x1,y1", *(f"{each.name},{','.join(map(str, each.boxes[0][2:6]))}" for each in found)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "known.csv"
        file.write_text("\n".join(lines))
        assert cut_on_boxes(predictor, Request(), images, file).value == pytest.approx(0.6, abs=1 / 255)


def test_known_boxes_of_a_run_that_sees_the_middle_square_are_moved_into_it(
    tmp_path: Path, synthetic_shards: Path
) -> None:
    (tmp_path / "photos").mkdir()
    for k in range(8):
        (tmp_path / "photos" / f"{k}.jpg").write_bytes(noise_jpeg(k, size=(160, 64)))
    make_run(tmp_path / "run", synthetic_shards, CONFIG.changed(fit="crop"))
    assert predicted(tmp_path, "known.json", "--threshold", "0.72") == 0
    judge(tmp_path / "known.json")
    assert predicted(tmp_path, "cut.json", "--cut-on", str(tmp_path / "known.json")) == 0
    known, found = boxes_in(tmp_path / "known.json"), boxes_in(tmp_path / "cut.json")
    both = [np.array([[x, y, x + w, y + h] for x, y, w, h in of.values()], np.float32) for of in (known, found)]
    assert (kernels.best_iou(*both, np.arange(len(known) + 1)) >= 0.5).all()
