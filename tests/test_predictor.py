"""`Predictor`: an evaluation's boxes, whatever form an image comes in."""

import csv
import io
import os
import re
import shutil
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import noise_jpeg
from PIL import Image

import fastwsol
from fastwsol import evaluate
from fastwsol.dataset.shards import open_shards
from fastwsol.evaluation.boxes import localize
from fastwsol.formats.labelled_images import Skipped
from fastwsol.host.errors import RunFailure, UserError
from fastwsol.localizer.ddt import DdtDirections
from fastwsol.prediction import threads
from fastwsol.prediction.components import boxes_of_maps
from fastwsol.prediction.named import ClassesByName
from fastwsol.prediction.predictions import Prediction
from fastwsol.prediction.predictor import Predictor

ON_CPU = ["--device", "cpu", "--threads", "1"]


def test_boxes_of_a_packed_split_are_those_of_its_evaluation(
    run: Path, predictor: Predictor, synthetic_shards: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    evaluate.main([str(copy), "--cam-class", "predicted", *ON_CPU])
    (report,) = copy.glob("report-predicted-step-*[0-9].csv")
    rows = {row["name"]: row for row in csv.DictReader(report.open())}
    split = open_shards(synthetic_shards).splits["val"]
    names = split.names(range(len(split)))
    found = predictor.predict([split.image(k) for k in range(len(split))])
    assert len(found) == len(rows) == 40
    for name, prediction in zip(names, found, strict=True):
        row, (box,) = rows[name], prediction.boxes
        assert row["predicted"].split(";")[0] == prediction.classes[0].wnid == box.wnid
        assert [float(row[f"strict_{side}"]) for side in ("x0", "y0", "x1", "y1")] == [*box[2:6]]


def test_predictions_do_not_depend_on_the_neighbours_in_a_batch(predictor: Predictor, photos: Path) -> None:
    paths = sorted((photos / "more").iterdir())
    together = predictor.predict(paths)
    alone = [predictor.predict([path])[0] for path in paths]
    for one, other in zip(together, alone, strict=True):
        assert (one.name, one.width, one.height) == (other.name, other.width, other.height)
        np.testing.assert_allclose(one.maps, other.maps, atol=1e-4)


def test_paths_bytes_pillow_images_and_arrays_are_the_same_to_it(run: Path, photos: Path) -> None:
    path = photos / "more" / "1.jpg"
    image = Image.open(path)
    encoded, pixels = path.read_bytes(), np.asarray(image)
    several = [path, str(path), encoded, image, pixels, bytearray(encoded), memoryview(encoded), io.BytesIO(encoded)]
    predictor = fastwsol.load(str(run), torch.device("cpu"))
    found = predictor.predict([*several, pixels.astype(np.uint16) * 257])
    assert len({each.boxes for each in found}) == len({each.classes for each in found}) == 1
    assert [each.name for each in found] == [str(path), str(path), *map(str, range(2, 9))]
    for alone in (io.BytesIO(encoded), bytearray(encoded), np.array([path], object), np.array([str(path)])):
        assert predictor.predict(alone)[0].boxes == predictor.predict(path)[0].boxes


def test_a_pillow_image_that_cannot_be_read_any_more_is_bad_as_a_file_is(predictor: Predictor, photos: Path) -> None:
    with Image.open(photos / "more" / "1.jpg") as closed:
        pass
    cut_short = Image.open(io.BytesIO((photos / "more" / "1.jpg").read_bytes()[:-2000]))
    found = [*predictor.stream([closed, photos / "more" / "0.jpg", cut_short])]
    assert [isinstance(each, Skipped) for each in found] == [True, False, True]
    with pytest.raises(ValueError, match="0: damaged, or its file is closed: image file is truncated"):
        predictor.predict(Image.open(io.BytesIO((photos / "more" / "1.jpg").read_bytes()[:-2000])))


def test_what_cannot_be_opened_or_read_is_skipped(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    good = photos / "more" / "0.jpg"
    closed = good.open("rb")
    closed.close()
    with (photos / "more" / "1.jpg").open(encoding="latin-1") as text:
        found = [*predictor.stream(["x" * 5000, closed, text, tmp_path, good])]
    assert [isinstance(each, Skipped) for each in found] == [True, True, True, True, False]
    reasons = [each.reason for each in found if isinstance(each, Skipped)]
    assert "File name too long" in reasons[0]
    assert reasons[1] == "cannot be read (read of closed file); give a file that is open in binary mode"
    assert reasons[2] == "is open in text mode; open it in binary mode"
    swapped = np.asarray(Image.open(good)).astype(">u2") * 257
    assert isinstance(next(iter(predictor.stream([swapped]))), Prediction)


def test_a_path_is_missing_where_the_working_directory_was_removed(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    (each,) = predictor.stream(["cat.jpg"])
    assert isinstance(each, Skipped)
    assert each.reason == "missing; give the path of an image that is there"


def test_numbers_of_numpy_are_numbers(predictor: Predictor, run: Path, photos: Path) -> None:
    image = photos / "more" / "1.jpg"
    (ours,) = predictor.predict(image, top=2, threshold=0.5, least_score=0.25)
    (theirs,) = predictor.predict(image, top=np.int64(2), threshold=np.float32(0.5), least_score=np.float16(0.25))
    assert ours.boxes == theirs.boxes
    for wrong in ({"threshold": True}, {"threshold": "half"}, {"top": "2"}, {"top": 2.0}, {"top": True}):
        with pytest.raises(UserError):
            predictor.predict(image, **wrong)
    with pytest.raises(UserError, match="--precision float32: choose from auto, bf16"):
        Predictor.of_run(run, "cpu", precision="float32")  # type: ignore[arg-type]


def test_names_that_look_alike_are_one(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    info = replace(predictor.info, class_names=("Größe", *predictor.info.class_names[1:]))
    for form in ("NFC", "NFD"):
        assert ClassesByName(info).label_of(unicodedata.normalize(form, "größe")) == 0
        assert ClassesByName(info).labelled_as(unicodedata.normalize(form, "Größe")) == 0


def test_predict_raises_for_an_image_that_is_none(predictor: Predictor, photos: Path) -> None:
    with pytest.raises(ValueError, match=r"missing\.jpg: missing in /.*; give the path of an image that is there"):
        predictor.predict([photos / "more" / "0.jpg", "missing.jpg"])
    with pytest.raises(ValueError, match="1: no image of a format that is read"):
        predictor.predict([noise_jpeg(0), b"hello, world"])
    with pytest.raises(ValueError, match=r"is a folder; give its images"):
        predictor.predict(photos)
    with pytest.raises(ValueError, match=r"an array with 30 channels, .*; give several grey images as a list"):
        predictor.predict(np.zeros((9, 9, 30), np.uint8))
    with pytest.raises(TypeError, match="image 0 is of type int"):
        predictor.predict([3])  # type: ignore[list-item]
    assert predictor.predict([]) == []


def test_top_gives_the_likeliest_classes_first_and_their_boxes_by_score(predictor: Predictor, photos: Path) -> None:
    (found,) = predictor.predict([photos / "more" / "3.jpg"], top=4, boxes="all")
    probabilities = [each.probability for each in found.classes]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1)
    assert {box.wnid for box in found.boxes} == {each.wnid for each in found.classes}
    scores = [box.score for box in found.boxes]
    assert scores == sorted(scores, reverse=True)
    for one in found.classes:
        best = next(box for box in found.boxes if box.wnid == one.wnid)
        assert best.score == pytest.approx(one.probability)  # it holds the map's maximum


def test_a_class_that_is_named_is_boxed_whatever_is_predicted(predictor: Predictor, photos: Path) -> None:
    for wnid, name in zip(predictor.info.classes, predictor.info.class_names, strict=True):
        (by_wnid,) = predictor.predict([photos / "more" / "2.jpg"], of_class=wnid)
        (by_name,) = predictor.predict([photos / "more" / "2.jpg"], of_class=name.upper())
        assert by_wnid.boxes == by_name.boxes
        assert [each.wnid for each in by_wnid.classes] == [wnid]


def test_class_names_are_found_by_their_parts_and_misspelt_ones_get_a_hint(predictor: Predictor) -> None:
    info = predictor.info
    named = type(info)(**{**vars(info), "class_names": ("goldfish, Carassius auratus", "crane", "crane", "bear")})
    assert ClassesByName(named).label_of("Carassius auratus") == 0
    assert ClassesByName(named).label_of(named.classes[2]) == 2
    with pytest.raises(UserError, match=r"may be .*name one of them"):
        ClassesByName(named).label_of("crane")
    for asked, near in {"beer": "bear", "Goldfsh": "goldfish", "carassius": "Carassius auratus"}.items():
        with pytest.raises(UserError, match=f"perhaps you meant {near}$"):
            ClassesByName(named).label_of(asked)


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.35, 0.5, 0.77, 1.0])
def test_the_largest_boxes_are_those_of_the_strict_protocol(threshold: float) -> None:
    cams = np.random.default_rng(0).normal(size=(50, 8, 8)).astype(np.float32)
    cams[7] = 3
    owners, boxes, peaks, _ = boxes_of_maps(cams, 64, threshold, "largest", "min-max")
    expected = localize(cams, "strict", 64, 64, 64, threshold, "min-max")
    assert owners.tolist() == [n for n in range(50) if n != 7]
    np.testing.assert_array_equal(boxes, expected[owners])
    assert (peaks == 1).any()
    assert ((threshold <= peaks) & (peaks <= 1)).all()


def test_all_boxes_hold_the_largest_and_one_with_the_maximum() -> None:
    cams = np.random.default_rng(1).normal(size=(50, 8, 8)).astype(np.float32)
    owners, boxes, peaks, _ = boxes_of_maps(cams, 64, 0.6, "all", "min-max")
    one_owners, one_boxes, *_ = boxes_of_maps(cams, 64, 0.6, "largest", "min-max")
    every = {(n, *box) for n, box in zip(owners.tolist(), boxes.tolist(), strict=True)}
    assert {(n, *box) for n, box in zip(one_owners.tolist(), one_boxes.tolist(), strict=True)} < every
    assert all(peaks[owners == n].max() == 1 for n in range(50))


def test_maps_that_are_not_finite_fail_by_the_images_name(run: Path, photos: Path) -> None:
    predictor = fastwsol.load(run, "cpu")
    with torch.no_grad():
        predictor.model.network.fc.weight.fill_(torch.nan)
    with pytest.raises(RunFailure, match=r"0\.jpg: its map is not finite"):
        predictor.predict([photos / "more" / "0.jpg"])


def test_boxes_are_in_the_pixels_of_the_upright_image(predictor: Predictor, tmp_path: Path) -> None:
    upright = Image.open(io.BytesIO(noise_jpeg(5, size=(120, 48))))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, to be turned by 90 degrees clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "lying.png", exif=exif)
    upright.save(tmp_path / "upright.png")
    one, other = predictor.predict([tmp_path / "lying.png", tmp_path / "upright.png"])
    assert (one.width, one.height) == (other.width, other.height) == (120, 48)
    assert one.boxes == other.boxes


def test_a_forked_process_is_told_to_be_spawned(
    predictor: Predictor, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would wait for threads that are not there."""

    def told(use: Callable[[], object]) -> bool:
        child = os.fork()
        if not child:
            try:
                use()
            except UserError as error:
                os._exit(0 if "spawn" in str(error) else 1)
            os._exit(2)
        return os.waitpid(child, 0)[1] == 0

    predictor.predict(Image.new("RGB", (64, 64)))
    assert told(lambda: predictor.predict(Image.new("RGB", (64, 64))))
    assert told(lambda: fastwsol.load(run, "cpu", threads=1))
    monkeypatch.setattr(threads, "_processes", [])
    with pytest.raises(UserError, match="no run here"):
        fastwsol.load(run.parent)
    assert not threads._processes, "nothing has been loaded"
    with pytest.raises(UserError, match="--localizer mask: the run has"):
        fastwsol.load(run, "cpu", localizer="mask")
    assert told(lambda: fastwsol.load(run, "cpu", threads=1)), "its network was"
    assert len(predictor.predict(Image.new("RGB", (64, 64)))) == 1, "the process itself goes on"


def test_one_image_is_one_image(run: Path, photos: Path) -> None:
    predictor = fastwsol.load(run)
    path = sorted(photos.rglob("*.jpg"))[0]
    image = Image.open(path).convert("RGB")
    array = np.asarray(image)
    for one in (path, str(path), path.read_bytes(), image, array):
        (alone,) = predictor.predict(one)
        (in_a_list,) = predictor.predict([one])
        assert (alone.boxes, alone.width, alone.height) == (in_a_list.boxes, in_a_list.width, in_a_list.height)
    assert len(predictor.predict(np.stack([array, array]))) == 2
    assert len(predictor.predict(array[..., 0])) == 1


def test_what_a_notebook_shows_of_a_network_and_its_answer_is_short(predictor: Predictor) -> None:
    (prediction,) = predictor.predict(np.zeros((8, 8, 3), np.uint8))
    assert re.fullmatch(r"Predictor\(cam at step \d+, 4 classes, 64 pixels, fp32 on cpu\)", repr(predictor))
    assert len(repr(prediction)) < 700
    assert "array(" not in repr(prediction)


def test_what_a_program_cannot_write_is_told(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    paths = sorted((photos / "more").iterdir())[:1]
    with pytest.raises(UserError, match="its ending tells no format"):
        predictor.write(tmp_path / "boxes.xml", predictor.stream(paths))
    with pytest.raises(UserError, match="form 'yolo': choose from coco, coco-polygons, csv"):
        predictor.write(tmp_path / "yolo", predictor.stream(paths), form="yolo")
    with pytest.raises(UserError, match="is there twice"):
        predictor.write(tmp_path / "twice.json", predictor.stream(paths * 2))
    with pytest.raises(UserError, match="does not lie in"):
        predictor.write(tmp_path / "below.json", predictor.stream(paths), relative_to=tmp_path)
    frame = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(UserError, match=r"0: is there twice; .* where one call of stream or predict takes them all"):
        predictor.write(tmp_path / "frames.json", [*predictor.predict(frame), *predictor.predict(frame)])
    assert not [*tmp_path.iterdir()]
    of_frames = [replace(each, name=f"frame {k}") for k in range(2) for each in predictor.predict(frame)]
    predictor.write(tmp_path / "frames.json", of_frames)


def test_the_images_of_a_folder_whatever_their_endings(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for name in ("a.JPEG", "b.JPG", "more/c.png"):
        Image.new("RGB", (9, 8)).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    for place in (tmp_path / "photos", str(tmp_path / "photos"), [str(tmp_path / "photos")]):
        found = fastwsol.find_images(place)
        assert [each.name for each in predictor.predict(found.images)] == ["a.JPEG", "b.JPG", "more/c.png"]
        assert "1 other file in the folders ignored" in found.notes[0]
    assert [each.name for each in predictor.predict(found.images[1])] == ["b.JPG"]
    with pytest.raises(ValueError, match=r"is a folder; give its images, fastwsol\.find_images\('.*photos'\)\.images"):
        predictor.predict(tmp_path / "photos")


def test_a_request_is_for_one_class(predictor: Predictor) -> None:
    with pytest.raises(UserError, match="of several images' classes `predict` takes a list"):
        next(predictor.stream([], fastwsol.Request(of_class=["alpha"])))  # type: ignore[arg-type]


@pytest.mark.parametrize(("rule", "value"), [("fixed", 7.0), ("fixed", None), ("otsu", 0.3), ("asked", float("nan"))])
def test_a_cut_that_cannot_be_is_refused(rule: Any, value: float | None) -> None:
    with pytest.raises(ValueError, match="otsu has None, others a number in"):
        fastwsol.Cut(rule, value, "nothing")


def test_streams_at_once_leave_torch_its_threads(predictor: Predictor) -> None:
    """Whichever of them ends last."""

    def of_a_new_thread() -> int:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(torch.get_num_threads).result()

    images = [np.full((40, 30, 3), 9 * k, np.uint8) for k in range(8)] * 10
    before = of_a_new_thread()
    first, second = predictor.stream(images), predictor.stream(images)
    for stream in (first, second):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(next, stream).result()
    first.close()
    assert len([*second]) == len(images) - 1
    assert of_a_new_thread() == before


def test_a_thread_that_was_born_beside_a_stream_leaves_torch_its_threads(predictor: Predictor) -> None:
    """It has one thread for itself, and opens a stream later on."""

    def of_a_new_thread() -> int:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(torch.get_num_threads).result()

    images = [np.full((40, 30, 3), 9 * k, np.uint8) for k in range(4)]
    before = of_a_new_thread()
    with ThreadPoolExecutor(1) as pool:
        stream = predictor.stream(images * 10)
        next(stream)
        pool.submit(lambda: torch.ones(3).sum()).result()
        stream.close()
        pool.submit(predictor.predict, images).result()
    assert of_a_new_thread() == before


def test_a_prediction_that_is_kept_keeps_no_batch_alive(predictor: Predictor) -> None:
    one, *_ = predictor.predict([np.full((40, 30, 3), 9 * k, np.uint8) for k in range(4)])
    assert one.maps.base is None
    assert one.probabilities is not None
    assert one.probabilities.base is None


@pytest.mark.parametrize("threads", [2.5, True, "2"])
def test_threads_are_a_whole_number(threads: Any, run: Path) -> None:
    with pytest.raises(UserError, match="must be at least 0, a whole number"):
        fastwsol.load(run, "cpu", threads=threads)


def test_a_predictors_identity_holds_the_directions_of_its_maps(run: Path) -> None:
    loaded = fastwsol.load(run, "cpu", threads=1)
    directions = DdtDirections(torch.zeros(10, 8), torch.ones(10, 8))
    loaded.model.directions = directions
    predictor = Predictor(loaded.info, loaded.model, loaded.step, loaded._autocast, 1, "ddt")
    before = predictor.identity()
    predictor.model.directions = directions._replace(directions=-directions.directions)
    assert predictor.identity() != before


def test_torchs_default_number_format_is_none_of_its_business(predictor: Predictor, photos: Path) -> None:
    paths = sorted(photos.rglob("*.jpg"))[:3]
    expected = [each.boxes for each in predictor.predict(paths)]
    torch.set_default_dtype(torch.float64)
    try:
        assert [each.boxes for each in predictor.predict(paths)] == expected
    finally:
        torch.set_default_dtype(torch.float32)
