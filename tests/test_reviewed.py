"""Predictions beside what is known of them, by a review or known boxes: `evaluate --predictions --reviewed`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastwsol import convert, evaluate
from fastwsol.evaluation.certainty import (
    area_under_curve,
    share_interval,
)
from fastwsol.formats.labelled_images import GIVEN_CLASSES
from fastwsol.host.command_line import run_command


def coco(images: Sequence[dict[str, Any]], annotations: Sequence[dict[str, Any]], **info: Any) -> str:
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    whole = {"info": info, "images": images, "annotations": annotations, "categories": categories}
    return json.dumps(whole)


def image(number: int, **more: Any) -> dict[str, Any]:
    return {"id": number, "file_name": f"{number}.jpg", "width": 100, "height": 100, **more}


def thing(number: int, category: int, x: float, side: float, **more: Any) -> dict[str, Any]:
    return {"image_id": number, "category_id": category, "bbox": [x, x, side, side], **more}


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    """Of a hundred images: those of a high score are mostly right."""
    random = np.random.default_rng(0)
    scores = np.round(random.random(100), 4).tolist()
    signals = dict.fromkeys(("margin", "sharpness", "share", "mirrored", "smaller", "other"), 0.5)
    annotations = [
        thing(k, 1, 10, 40, score=scores[k], probability=scores[k], signals={**signals, "smaller": scores[k]})
        for k in range(100)
    ]
    (tmp_path / "p.json").write_text(coco([image(k, category_id=1) for k in range(100)], annotations))
    truths = [thing(k, 1, 12 if random.random() < scores[k] else 60, 30 + 8) for k in range(100)]
    (tmp_path / "truth.json").write_text(coco([image(k) for k in range(100)], truths))
    return tmp_path / "p.json"


def evaluated(predictions: Path, reviewed: str, *more: str) -> int:
    flags = ["--predictions", str(predictions), "--reviewed", str(predictions.parent / reviewed), *more]
    return run_command(evaluate.main, flags)


def test_boxes_calibrate_certainties_which_are_kept_with_the_predictions(
    predictions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = predictions.parent / "out"
    assert evaluated(predictions, "truth.json", "--out", str(out)) == 0
    said = capsys.readouterr().out
    assert "100 images predicted, 100 reviewed: 100 boxes" in said
    report = json.loads((out / "report.json").read_text())
    assert report["boxes"]["boxes"]["top1_clas"] == 100
    right = report["boxes"]["boxes"]["top1_loc@0.5"]
    assert report["certainty"]["calibrated"]["right"] == right
    assert report["certainty"]["calibrated"]["calibration_error"] < 0.12
    assert report["certainty"]["calibrated"]["auroc"] > 0.7
    content = json.loads((out / "predictions.json").read_text())
    certainties = np.array([each["certainty"] for each in content["annotations"]])
    scores = np.array([each["score"] for each in content["annotations"]])
    assert np.corrcoef(certainties, scores)[0, 1] > 0.9
    assert "100 images of truth.json" in content["info"]["calibrated_on"]


def reviewed(
    predictions: Path,
    looked: Sequence[tuple[int, str, str]],
    phases: dict[str, int],
    wrong: Mapping[int, str] | None = None,
) -> str:
    """A review's export: for each image that was reviewed its phase and verdict; a corrected one's box is moved.
    wrong: what of rejected ones is.
    """
    predicted = [{"category_id": 1, "bbox": [10, 10, 40, 40]}]
    images = []
    for k, phase, verdict in looked:
        said = {"wrong": wrong[k]} if wrong and k in wrong else {}
        images.append(image(k, review={"phase": phase, "verdict": verdict, "predicted": predicted, **said}))
    places = {"accepted": (10, 40), "corrected": (14, 40), "drawn": (60, 30)}
    annotations = [thing(k, 1, *places[verdict]) for k, _, verdict in looked if verdict in places]
    review = {"phases": phases, "seed": 0}
    (predictions.parent / "reviewed.json").write_text(coco(images, annotations, review=review))
    return "reviewed.json"


def test_of_a_sample_of_all_images_the_share_is_no_guess(predictions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    count = len(json.loads(predictions.read_text())["images"])
    looked = [(k, "sample", "accepted" if k % 4 else "corrected") for k in range(count)]
    name = reviewed(predictions, looked, {"sample": count})
    assert evaluated(predictions, name) == 0
    said = capsys.readouterr().out
    accepted = sum(verdict == "accepted" for _, _, verdict in looked)
    assert f"accepted: {100 * accepted / count:.1f} % of all {count} images" in said
    assert "(95 %)" not in said.partition("ertaint")[0]
    assert "Boxes are redrawn where they are wrong: their row says nothing of images as a whole." in said


def test_a_whole_sample_gives_the_share_and_its_interval(predictions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    looked = [(k, "sample", "accepted" if k < 33 else "rejected" if k < 35 else "corrected") for k in range(40)]
    looked += [(50, "uncertain", "rejected"), (51, "drawn", "drawn"), (52, "drawn", "rejected")]
    name = reviewed(predictions, looked, {"sample": 40, "drawn": 2, "uncertain": 1})
    assert evaluated(predictions, name, "--out", str(predictions.parent / "out")) == 0
    said = capsys.readouterr().out
    low, high = share_interval(33, 40, len(json.loads(predictions.read_text())["images"]))
    assert f"accepted: 82.5 % of a random sample of 40; of all images {100 * low:.1f} to {100 * high:.1f} %" in said
    report = json.loads((predictions.parent / "out" / "report.json").read_text())
    assert report["verdicts"] == {"accepted": 33, "rejected": 4, "corrected": 5, "drawn": 1}
    assert {name: each["images"] for name, each in report["boxes"].items()} == {
        "drawn": 1,
        "redrawn": 5,
        "sample": 40,
    }
    of_sample = report["boxes"]["sample"]
    assert of_sample["top1_loc@0.5"] == 38, "a rejected one is a miss"
    assert of_sample["top1_clas"] is of_sample["predicted_loc@0.5"] is None, "what is wrong with it was not said"
    assert report["boxes"]["redrawn"]["predicted_loc@0.5"] == 5
    assert report["boxes"]["redrawn"]["predicted_loc@0.7"] == 0
    assert report["boxes"]["drawn"]["predicted_loc@0.5"] == 0
    assert "whole sample: upper bound" in said
    assert report["certainty"]["uncalibrated"]["images"] == 41, "without 50 and 52"
    assert "38 are right and 3 wrong, and 5 of each are needed" in " ".join(said.split())


def test_a_rejected_image_counts_by_what_is_wrong_with_it_where_that_was_said_of_all(
    predictions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = predictions.parent / "out"
    looked = [(k, "sample", "rejected" if k < 6 else "accepted") for k in range(20)]
    faults = {0: "class", 1: "class", 2: "class", 3: "box", 4: "both", 5: "both"}
    assert evaluated(predictions, reviewed(predictions, looked, {"sample": 20}, faults), "--out", str(out)) == 0
    of_sample = json.loads((out / "report.json").read_text())["boxes"]["sample"]
    assert of_sample == {
        "images": 20,
        "top1_clas": 15,
        "predicted_loc@0.5": 17,
        "predicted_loc@0.7": 17,
        "top1_loc@0.5": 14,
    }
    assert "was not said" not in capsys.readouterr().out
    del faults[5]
    assert evaluated(predictions, reviewed(predictions, looked, {"sample": 20}, faults), "--out", str(out) + "2") == 0
    of_sample = json.loads((predictions.parent / "out2" / "report.json").read_text())["boxes"]["sample"]
    assert of_sample["top1_clas"] is of_sample["predicted_loc@0.5"] is None
    assert of_sample["top1_loc@0.5"] == 14
    assert "was not said of all" in capsys.readouterr().out
    reviewed(predictions, [(0, "sample", "accepted")], {"sample": 20}, {0: "box"})
    assert evaluated(predictions, "reviewed.json") == 2
    assert "says that 'box' is wrong, and the image is accepted" in capsys.readouterr().err


def test_classes_that_were_given_are_no_merit(predictions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads(predictions.read_text())
    content["info"]["description"] = f"by fastwsol, run, step 9, mask, {GIVEN_CLASSES}"
    predictions.write_text(json.dumps(content))
    out = predictions.parent / "out"
    assert evaluated(predictions, "truth.json", "--out", str(out)) == 0
    counts = json.loads((out / "report.json").read_text())["boxes"]["boxes"]
    assert counts["top1_clas"] is counts["top1_loc@0.5"] is None
    assert counts["predicted_loc@0.5"] > 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Classes were given (--class-of-folder)" in said
    assert "Predicted Loc is GT-known Loc" in said


def test_known_images_without_a_box_are_counted(predictions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A box that is found there costs nothing, which has to be said."""
    truth = predictions.parent / "truth.json"
    content = json.loads(truth.read_text())
    first, second = (each["id"] for each in content["images"][:2])
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] != first]
    for each in content["annotations"]:
        each["iscrowd"] = int(each["image_id"] == second)
    truth.write_text(json.dumps(content))
    out = predictions.parent / "out"
    assert evaluated(predictions, "truth.json", "--out", str(out)) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["without_box"] == 2
    assert report["looked_at"] + report["without_box"] == report["images"] == 100
    said = " ".join(capsys.readouterr().out.split())
    assert "without a known box in truth.json, and left out: 2 predicted images" in said


def test_known_boxes_of_one_class_are_warned_of(predictions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, out = predictions.parent / "truth.json", predictions.parent / "out"
    assert evaluated(predictions, "truth.json", "--out", str(out)) == 0
    assert json.loads((out / "report.json").read_text())["certainty"]["of_one_class"] == "cat"
    said = " ".join(capsys.readouterr().out.split())
    assert "warning: the known boxes are all of one class, cat, and certainties of others may be wrong" in said
    content = json.loads(truth.read_text())
    content["annotations"][0]["category_id"] = 2
    truth.write_text(json.dumps(content))
    assert evaluated(predictions, "truth.json") == 0
    assert "all of one class" not in capsys.readouterr().out


def test_an_image_without_a_box_is_classified_all_the_same(predictions: Path) -> None:
    content = json.loads(predictions.read_text())
    content["annotations"] = content["annotations"][10:]
    predictions.write_text(json.dumps(content))
    out = predictions.parent / "out"
    assert evaluated(predictions, "truth.json", "--out", str(out)) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["boxes"]["boxes"]["top1_clas"] == 100
    assert report["boxes"]["boxes"]["predicted_loc@0.5"] <= 90
    assert report["format_version"] == 2
    assert report["versions"]["torch"], "every number names what made it"


def test_certainties_that_are_written_are_those_of_fits_to_other_images(predictions: Path) -> None:
    assert evaluated(predictions, "truth.json", "--out", str(predictions.parent / "out")) == 0
    report = json.loads((predictions.parent / "out" / "report.json").read_text())
    content = json.loads((predictions.parent / "out" / "predictions.json").read_text())
    truth = json.loads((predictions.parent / "truth.json").read_text())["annotations"]
    written = np.array([each["certainty"] for each in content["annotations"]])
    right = np.array([each["bbox"][0] == 12 for each in truth])
    assert area_under_curve(written, right) == pytest.approx(report["certainty"]["calibrated"]["auroc"], abs=2e-3)


def test_classes_are_known_by_their_wnid_or_their_name(predictions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads((predictions.parent / "truth.json").read_text())
    for each in content["categories"]:
        each["wnid"] = f"n{each['id']}"
    (predictions.parent / "by-name.json").write_text(json.dumps(content))
    assert evaluated(predictions, "by-name.json", "--out", str(predictions.parent / "named")) == 0
    report = json.loads((predictions.parent / "named" / "report.json").read_text())
    assert report["boxes"]["boxes"]["top1_clas"] == 100


def test_certainties_that_tell_less_than_chance_are_not_kept(
    predictions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is right was drawn without regard to anything."""
    random = np.random.default_rng(4)
    looked = [(k, "sample", "accepted" if random.random() < 0.5 else "rejected") for k in range(24)]
    out = predictions.parent / "out"
    assert evaluated(predictions, reviewed(predictions, looked, {"sample": 24}), "--out", str(out)) == 0
    certainty = json.loads((out / "report.json").read_text())["certainty"]
    assert certainty["calibrated"]["auroc"] < 0.5
    assert "they tell right from wrong no better than chance does" in " ".join(capsys.readouterr().out.split())
    assert not (out / "predictions.json").exists()


def test_a_sample_that_is_not_looked_through_has_no_interval(
    predictions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = reviewed(predictions, [(k, "sample", "accepted") for k in range(10)], {"sample": 40})
    assert evaluated(predictions, name) == 0
    said = capsys.readouterr().out
    assert "random sample: 10 of 40 reviewed, 10 of them accepted; review all of it" in " ".join(said.split())
    assert "95 %)" not in said


MISTAKES = [
    ({"--predictions": None}, "--reviewed: goes with --predictions; leave it out"),
    ({"--reviewed": None}, "--predictions: needs what is known of the images; give it with --reviewed FILE"),
    ({"--reviewed": "nowhere.json"}, "--reviewed nowhere.json: cannot be read"),
    ({"--reviewed": "others.json"}, "predictions (its images are called like '7000.jpg', and these like"),
    (
        {"--reviewed": "p.json"},
        "its boxes have scores, so they are predictions and no review; give what",
    ),
    ({"--reviewed": "odd.json"}, "its review is {'verdict': 'maybe'}, no verdict and phase; correct it"),
    ({"--reviewed": "other-review.json"}, "'1.jpg' was reviewed with other predictions than these"),
    ({"--reviewed": "other-classes.json"}, "its categories (x, y) are none of the predictions' classes (cat, dog)"),
    ({"--reviewed": "case.json"}, "'CAT' is the predictions' class 'cat' but for case; write both alike"),
    ({"--reviewed": "no-classes.json"}, "its categories (none) are none of the predictions' classes"),
    ({"--reviewed": "other-size.json"}, "'1.jpg' has (50, 50) pixels, and 100x100 were predicted"),
    ({"--reviewed": "larger.json"}, "a box of '1.jpg', (10, 10, 170, 170), reaches outside its 100x100 pixels"),
    ({"--reviewed": "accepted.csv"}, "has predicted boxes that a review accepted, which are no ground truth; give"),
    ({"--reviewed": "head.csv"}, "head.csv: holds no box; give boxes of some of the images"),
    (
        {"--reviewed": "sides.csv"},
        "sides.csv line 2: x0 50 .. x1 30, y0 50 .. y1 30 is no box; x1,y1 is its lower right",
    ),
    ({"--reviewed": "twice.json"}, "'1.jpg' is listed twice; give each image once"),
    ({"--reviewed": "no-phases.json"}, "its review has no phases; give the file that the page exported"),
    ({"--out": "p.json"}, "--out p.json: exists; nothing was changed"),
    ({"--maps": "p.json", "--boxes": "p.json"}, "--maps: is another evaluation than --predictions"),
    ({"--threshold": "0.3"}, "--threshold: says nothing of predictions; leave it out"),
]


@pytest.mark.parametrize(("changes", "words"), MISTAKES)
def test_mistakes_get_one_line(
    changes: dict[str, str | None],
    words: str,
    predictions: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(predictions.parent)
    Path("others.json").write_text(coco([image(7000)], [thing(7000, 1, 1, 5)]))
    Path("odd.json").write_text(coco([image(1, review={"verdict": "maybe"})], [], review={"phases": {}}))
    other = {"phase": "sample", "verdict": "accepted", "predicted": [{"category_id": 1, "bbox": [1, 1, 5, 5]}]}
    Path("other-review.json").write_text(coco([image(1, review=other)], [], review={"phases": {"sample": 1}}))
    known = json.loads(coco([image(1)], [thing(1, 1, 1, 5)]))
    kinds = [{"id": 1, "name": "x"}, {"id": 2, "name": "y"}]
    Path("other-classes.json").write_text(json.dumps(known | {"categories": kinds}))
    cased = [kind | {"name": name, "wnid": name} for kind, name in zip(kinds, ("CAT", "dog"), strict=True)]
    Path("case.json").write_text(json.dumps(known | {"categories": cased}))
    Path("no-classes.json").write_text(json.dumps(known | {"categories": []}))
    Path("larger.json").write_text(json.dumps(known | {"annotations": [thing(1, 1, 10, 160)]}))
    Path("accepted.csv").write_text("name,x0,y0,x1,y1,label,verdict\n1.jpg,5,5,30,30,cat,accepted\n")
    Path("head.csv").write_text("name,x0,y0,x1,y1,label\n")
    Path("sides.csv").write_text("name,x0,y0,x1,y1,label\n1.jpg,50,50,30,30,cat\n")
    Path("other-size.json").write_text(json.dumps(known | {"images": [image(1) | {"width": 50, "height": 50}]}))
    Path("twice.json").write_text(
        json.dumps(
            known | {"images": [image(1), image(1) | {"id": 2}], "annotations": [thing(1, 1, 1, 5), thing(2, 1, 1, 5)]}
        )
    )
    Path("no-phases.json").write_text(coco([image(1)], [], review={"phases": ["sample"]}))
    flags = {"--predictions": "p.json", "--reviewed": "truth.json", **changes}
    words_of = [word for name, value in flags.items() if value is not None for word in (name, value)]
    assert run_command(evaluate.main, words_of) == 2
    said = capsys.readouterr().err
    assert words in said or (changes.get("--predictions", "") is None and "nothing to evaluate" in said), said
    assert said.count("\n") == 1


def test_known_boxes_of_a_misspelled_class_are_told(predictions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They count as no prediction's class, and so lower the rates."""
    lines = [f"{k}.jpg,12,12,50,50,{'cat' if k % 4 else 'catt'}" for k in range(40)]
    (predictions.parent / "known.csv").write_text("\n".join(["name,x0,y0,x1,y1,label", *lines]) + "\n")
    assert evaluated(predictions, "known.csv", "--out", str(predictions.parent / "out")) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "warning: known boxes of classes that are none of the predictions': 10 of catt" in said
    report = json.loads((predictions.parent / "out" / "report.json").read_text())
    assert report["boxes_of_other_classes"] == {"catt": 10}
    assert report["boxes"]["boxes"]["top1_clas"] == 30


def test_beside_ground_truth_stand_the_whole_image_and_intervals(
    predictions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A box of 80 x 80 of 100 x 100 pixels is hit by the whole image at 0.5, and not at 0.7."""
    truths = [thing(k, 1, 5, 80 if k < 30 else 40) for k in range(40)]
    (predictions.parent / "known.json").write_text(coco([image(k) for k in range(40)], truths))
    assert evaluated(predictions, "known.json", "--out", str(predictions.parent / "out")) == 0
    said = capsys.readouterr().out
    assert "whole image, no network" in said
    assert "75.0 (59–87)" in said, "Clopper and Pearson's"
    of = json.loads((predictions.parent / "out" / "report.json").read_text())["boxes"]["whole-image"]
    assert of == {
        "images": 40,
        "top1_clas": None,
        "predicted_loc@0.5": 30,
        "predicted_loc@0.7": 0,
        "top1_loc@0.5": None,
    }


@pytest.mark.parametrize(("file", "is_oracle"), [("truth.json", True), ("others.json", False)])
def test_boxes_that_the_maps_were_cut_on_measure_an_oracle(
    predictions: Path, file: str, is_oracle: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(predictions.read_text())
    content["info"]["description"] = f"by fastwsol, run, step 3, mask, cut on 20 images of {file}, by their boxes"
    predictions.write_text(json.dumps(content))
    assert evaluated(predictions, "truth.json") == 0
    assert ("the rates are an oracle's" in " ".join(capsys.readouterr().out.split())) == is_oracle


@pytest.mark.parametrize("of", ["score", "certainty"])
def test_unsure_boxes_can_be_left_out_of_what_is_converted(
    predictions: Path, of: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(predictions.read_text())
    for each in content["annotations"]:
        each["certainty"] = each["score"]
    content["annotations"].append(thing(3, 1, 60, 20, score=0.1))
    content["annotations"].append(thing(0, 2, 60, 20, score=1.0, certainty=1.0))
    content["images"][1]["review"] = {"verdict": "accepted", "phase": "sample"}
    sure = {0, 1} | {each["image_id"] for each in content["annotations"] if each.get(of, 0) >= 0.75}
    predictions.write_text(json.dumps(content))
    out = predictions.parent / f"{of}.json"
    assert run_command(convert.main, [str(predictions), "--out", str(out), f"--least-{of}", "0.75"]) == 0
    said = capsys.readouterr().out
    written = json.loads(out.read_text())
    assert {each["image_id"] for each in written["annotations"]} == {each["id"] for each in written["images"]}
    names = {each["file_name"] for each in written["images"]}
    assert names == {f"{k}.jpg" for k in sure}
    left = (102 if of == "score" else 101) - len(written["annotations"])
    beside = "" if of == "score" else " and 1 that have none (of an image the best box alone has a certainty)"
    assert f"{left} boxes below the limit{beside} left out, and {100 - len(sure)} images left without a box" in said


def test_images_without_a_box_are_counted_where_no_box_is_left_out(
    predictions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(predictions.read_text())
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] > 1]
    predictions.write_text(json.dumps(content))
    out = predictions.parent / "sure.json"
    assert run_command(convert.main, [str(predictions), "--out", str(out), "--least-score", "0"]) == 0
    assert "0 boxes below the limit left out, and 2 images left without a box" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--least-certainty", "0.9"], "p.json has one; evaluate --predictions --reviewed --out finds them"),
        (["--least-score", "90"], "--least-score 90: must be from 0 to 1"),
    ],
)
def test_limits_that_are_none_get_one_line(
    predictions: Path, flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = predictions.parent / "sure.json"
    assert run_command(convert.main, [str(predictions), "--out", str(out), *flags]) == 2
    assert words in capsys.readouterr().err
    assert not out.exists()


def test_classes_of_images_that_are_not_predicted_are_no_warning(
    predictions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f"{k}.jpg,12,12,50,50,{'cat' if k < 100 else 'zebra'}" for k in range(90, 110)]
    (predictions.parent / "known.csv").write_text("\n".join(["name,x0,y0,x1,y1,label", *lines]) + "\n")
    assert evaluated(predictions, "known.csv") == 0
    said = capsys.readouterr().out
    assert "not predicted, and left out: 10 images" in said
    assert "zebra" not in said


def test_the_order_of_the_known_images_in_their_file_does_not_matter(predictions: Path) -> None:
    content = json.loads((predictions.parent / "truth.json").read_text())
    content["images"].reverse()
    (predictions.parent / "reversed.json").write_text(json.dumps(content))
    for name in ("truth", "reversed"):
        assert evaluated(predictions, f"{name}.json", "--out", str(predictions.parent / name)) == 0
    one, other = (
        [
            each["certainty"]
            for each in json.loads((predictions.parent / name / "predictions.json").read_text())["annotations"]
        ]
        for name in ("truth", "reversed")
    )
    assert one == other


def test_known_boxes_of_images_that_are_wider_than_high_are_taken(
    predictions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = [image(k) | {"width": 100, "height": 50} for k in range(3)]
    predicted = [thing(k, 1, 10, 30, score=0.5, probability=0.5) for k in range(3)]
    predictions.write_text(coco(wide, predicted))
    known = [{"image_id": 0, "category_id": 1, "bbox": [55, 5, 45, 40]}]
    (predictions.parent / "known.json").write_text(coco(wide, known))
    assert evaluated(predictions, "known.json") == 0
    known[0]["bbox"] = [5, 45, 40, 10]
    (predictions.parent / "below.json").write_text(coco(wide, known))
    assert evaluated(predictions, "below.json") == 2
    assert "(5, 45, 45, 55), reaches outside its 100x50 pixels" in capsys.readouterr().err


def test_crowds_and_difficult_boxes_are_no_known_ones(predictions: Path) -> None:
    content = json.loads((predictions.parent / "truth.json").read_text())
    for k, more in ((0, {"iscrowd": 1}), (1, {"difficult": 1})):
        content["annotations"][k] |= more
    (predictions.parent / "known.json").write_text(json.dumps(content))
    assert evaluated(predictions, "known.json", "--out", str(predictions.parent / "out")) == 0
    report = json.loads((predictions.parent / "out" / "report.json").read_text())
    assert (report["looked_at"], report["without_box"]) == (98, 2)


def test_a_class_is_known_by_its_wnid_before_its_name(predictions: Path) -> None:
    """As where two languages name classes, and one's name is the other's of another class."""
    content = json.loads(predictions.read_text())
    content["categories"] = [{"id": 1, "name": "cat", "wnid": "n1"}, {"id": 2, "name": "dog", "wnid": "n2"}]
    predictions.write_text(json.dumps(content))
    content = json.loads((predictions.parent / "truth.json").read_text())
    content["categories"] = [{"id": 1, "name": "dog", "wnid": "n1"}, {"id": 2, "name": "hound", "wnid": "n2"}]
    (predictions.parent / "known.json").write_text(json.dumps(content))
    assert evaluated(predictions, "known.json", "--out", str(predictions.parent / "out")) == 0
    report = json.loads((predictions.parent / "out" / "report.json").read_text())
    assert report["boxes"]["boxes"]["top1_clas"] == 100


def test_a_corrected_image_may_have_another_number_of_boxes(predictions: Path) -> None:
    content = json.loads(predictions.read_text())
    for x in (30, 50):
        content["annotations"].append(thing(0, 1, x, 20, score=0.1, probability=0.5))
    predictions.write_text(json.dumps(content))
    name = reviewed(predictions, [(0, "sample", "corrected"), (1, "sample", "accepted")], {"sample": 2})
    review = json.loads((predictions.parent / name).read_text())
    review["images"][0]["review"]["predicted"] += [{"category_id": 1, "bbox": [x, x, 20, 20]} for x in (30, 50)]
    review["annotations"] += [thing(0, 1, 10, 40)]
    (predictions.parent / name).write_text(json.dumps(review))
    assert evaluated(predictions, name, "--out", str(predictions.parent / "out")) == 0
    report = json.loads((predictions.parent / "out" / "report.json").read_text())
    assert report["boxes"]["redrawn"]["images"] == 1


def test_a_review_of_boxes_a_pixel_away_was_of_other_predictions(
    predictions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = reviewed(predictions, [(0, "sample", "accepted")], {"sample": 1})
    review = json.loads((predictions.parent / name).read_text())
    review["images"][0]["review"]["predicted"][0]["bbox"] = [10, 10, 40, 40.5]
    (predictions.parent / name).write_text(json.dumps(review))
    assert evaluated(predictions, name) == 2
    assert "'0.jpg' was reviewed with other predictions than these" in capsys.readouterr().err


def test_a_packed_sets_predicted_boxes_are_no_known_ones(predictions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They have no scores; the file says what they are."""
    content = json.loads((predictions.parent / "truth.json").read_text())
    (predictions.parent / "known.json").write_text(json.dumps(content | {"predicted": True}))
    assert evaluated(predictions, "known.json") == 2
    assert "so they are predictions and no review" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("before", "ours"),
    [
        *(("/data/local-files/?d=photos/", ours) for ours in ("", "photos/")),
        *((before, "") for before in ("../../data/local-files/?d=", "mine/photos/", "images/0a1b2c3d-", "0a1b2c3d-")),
    ],
)
def test_known_boxes_come_back_under_the_names_that_label_studio_gives(
    predictions: Path, capsys: pytest.CaptureFixture[str], before: str, ours: str
) -> None:
    """ours: the folder before the names of the predictions."""
    truth = predictions.parent / "truth.json"
    content = json.loads(truth.read_text())
    assert evaluated(predictions, "truth.json", "--out", str(predictions.parent / "own")) == 0
    for each in content["images"]:
        each["file_name"] = before + each["file_name"].replace("photos/", "")
    truth.write_text(json.dumps(content))
    of_predictions = json.loads(predictions.read_text())
    for each in of_predictions["images"]:
        each["file_name"] = ours + each["file_name"]
    predictions.write_text(json.dumps(of_predictions))
    assert evaluated(predictions, "truth.json", "--out", str(predictions.parent / "theirs")) == 0
    assert "100 images predicted, 100 reviewed" in capsys.readouterr().out
    own, theirs = (json.loads((predictions.parent / name / "report.json").read_text()) for name in ("own", "theirs"))
    assert own["boxes"] == theirs["boxes"]


def test_dates_before_names_are_no_uploads(predictions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two of them would be one image."""
    truth = predictions.parent / "truth.json"
    content = json.loads(truth.read_text())
    for number, each in enumerate(content["images"]):
        each["file_name"] = f"2024{number % 2:02}31-{number // 2}.jpg"
    truth.write_text(json.dumps(content))
    assert evaluated(predictions, "truth.json") == 2
    assert "none of its images is among the predictions" in capsys.readouterr().err
