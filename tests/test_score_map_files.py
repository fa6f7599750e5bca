"""Score maps of any network from files: read, measured and written again."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from fastwsol import compare, convert, evaluate
from fastwsol.dataset.shards import open_shards
from fastwsol.evaluation import score_map_files
from fastwsol.evaluation.annotations_file import read_annotations
from fastwsol.evaluation.boxes import curve_hits, localize, score_boxes
from fastwsol.evaluation.maps import localize_maps
from fastwsol.evaluation.score_map_files import ScoreMaps
from fastwsol.evaluation.truths import Truths
from fastwsol.host.command_line import run_command

BOXES = Path("boxes.csv")  # as errors name it
SIZES = [(40, 30), (64, 64), (30, 40), (40, 30), (2048, 16)]  # width, height
SHAPES = [(8, 8), (8, 8), (5, 7), (30, 40), (8, 8)]


@pytest.fixture
def files(tmp_path):
    """Maps of five images of several sizes and shapes, in a folder, and their boxes file."""
    rng = np.random.default_rng(0)
    lines = ["name,width,height,x0,y0,x1,y1,label,predicted"]
    for n, ((width, height), shape) in enumerate(zip(SIZES, SHAPES, strict=True)):
        path = tmp_path / "maps" / "val" / f"image_{n}.jpg.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, rng.standard_normal(shape))
        for box in range(n % 3):
            x0, y0 = rng.integers(0, width // 2), rng.integers(0, height // 2)
            x1, y1 = rng.integers(width // 2, width) + 1, rng.integers(height // 2, height) + 1
            lines.append(f"val/image_{n}.jpg,{width},{height},{x0}.5,{y0},{x1},{y1},class {n},class {box * 0};other")
        if n % 3 == 0:
            lines.append(f"val/image_{n}.jpg,{width},{height},,,,,class {n},class 0;other")
    (tmp_path / "boxes.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def run_evaluate(*arguments):
    return run_command(evaluate.main, [str(argument) for argument in arguments])


def test_a_boxes_file_says_what_its_images_show(files):
    images = read_annotations(files / "boxes.csv")
    assert images.names == [f"val/image_{n}.jpg" for n in range(5)]
    assert list(zip(images.truths.widths.tolist(), images.truths.heights.tolist(), strict=True)) == SIZES
    assert np.diff(images.truths.offsets).tolist() == [0, 1, 2, 0, 1]
    assert images.truths.boxes[:, 0].tolist() == [x for x in images.truths.boxes[:, 0].tolist() if x % 1 == 0.5]
    assert images.classes == ["class 0", "class 1", "class 2", "class 3", "class 4", "other"]
    assert images.labels.tolist() == [0, 1, 2, 3, 4]
    assert images.predicted.tolist() == [[0, 5]] * 5


def test_csv_that_convert_wrote_is_read(synthetic_shards, tmp_path, capsys):
    boxes, val = tmp_path / "set" / "val.csv", open_shards(synthetic_shards).splits["val"]
    flags = [synthetic_shards, "--split", "val", "--format", "csv", "--out", tmp_path / "set"]
    assert run_command(convert.main, [str(each) for each in flags]) == 0
    np.save(tmp_path / "maps.npy", np.random.default_rng(0).random((len(val), 8, 8), np.float32))
    capsys.readouterr()
    assert run_evaluate("--maps", tmp_path / "maps.npy", "--boxes", boxes, "--out", tmp_path / "out") == 0
    assert f"{boxes}: columns ignored: score, probability, verdict\n" in capsys.readouterr().out
    images, expected = read_annotations(boxes), Truths.of_split(val)
    assert images.names == val.names(range(len(val)))
    assert images.truths.digest() == expected.digest()


def test_a_box_that_reaches_a_little_outside_is_cut_at_the_edge(tmp_path, capsys):
    """As packing has it."""
    lines = ("name,width,height,x0,y0,x1,y1", "a.jpg,40,30,-1.5,3,41,20", "b.jpg,40,30,1,2,3,4")
    (tmp_path / "boxes.csv").write_text("\n".join(lines) + "\n")
    images = read_annotations(tmp_path / "boxes.csv")
    assert images.truths.boxes.tolist() == [[0, 3, 40, 20], [1, 2, 3, 4]]
    assert "1 box reached up to 2 pixels outside the image: cut at the edge" in capsys.readouterr().out


def test_maps_in_one_file_are_pointed_at(files, capsys):
    np.save(files / "maps" / "maps.npy", np.zeros((5, 8, 8), np.float32))
    (files / "maps" / "val" / "image_0.jpg.npy").unlink()
    assert run_evaluate("--maps", files / "maps", "--boxes", files / "boxes.csv") == 2
    assert f"are all maps in {files / 'maps' / 'maps.npy'}? Then name that file" in capsys.readouterr().err


@pytest.mark.parametrize("side", [0, -3, 4097])
def test_a_square_that_no_map_fills_is_refused(files, capsys, side):
    assert run_evaluate("--maps", files / "maps", "--boxes", files / "boxes.csv", "--square", side) == 2
    assert f"--square {side}: must be from 1 to 4,096 pixels" in capsys.readouterr().err


def test_a_report_is_written_before_its_tables_are_printed(files, monkeypatch):
    """So that a pipe that closes, as of `| head`, loses nothing."""

    def closed(*arguments):
        raise BrokenPipeError

    monkeypatch.setattr(evaluate, "print_summary", closed)
    out = files / "out"
    run_evaluate("--maps", files / "maps", "--boxes", files / "boxes.csv", "--out", out)
    assert json.loads((out / "report.json").read_text())["images"] == 5


def test_a_failure_is_told_though_nobody_reads_the_tables(files, monkeypatch, capsys):
    def full(*arguments):
        raise OSError(28, "No space left on device", "report.json")

    def closed(*arguments):
        raise BrokenPipeError

    monkeypatch.setattr(evaluate, "keep", full)
    monkeypatch.setattr(evaluate, "print_summary", closed)
    assert run_evaluate("--maps", files / "maps", "--boxes", files / "boxes.csv", "--out", files / "out") == 1
    assert "No space left on device" in capsys.readouterr().err


def test_tables_are_printed_where_the_report_cannot_be_written(files, monkeypatch, capsys):
    def full(*arguments):
        raise OSError(28, "No space left on device", "report.json")

    monkeypatch.setattr(evaluate, "keep", full)
    assert run_evaluate("--maps", files / "maps", "--boxes", files / "boxes.csv", "--out", files / "out") == 1
    found = capsys.readouterr()
    assert "GT-known" in found.out
    assert "holds the rest" not in found.out
    assert "No space left on device" in found.err


def test_difficult_boxes_are_no_ground_truth_and_scores_are_told(files, capsys):
    lines = ["name,width,height,x0,y0,x1,y1,difficult,score", "a,32,32,0,0,9,9,1,", "a,32,32,8,8,24,24,0,.5"]
    (files / "boxes.csv").write_text("\n".join([*lines, "b,32,32,1,1,9,9,1,.25"]))
    images = read_annotations(files / "boxes.csv")
    assert images.truths.boxes.tolist() == [[8, 8, 24, 24]]
    assert images.truths.offsets.tolist() == [0, 1, 1]
    said = capsys.readouterr().out
    assert "2 difficult boxes are no ground truth" in said
    assert "1 box has a score, as predictions have; every box is taken for ground truth" in said


def test_images_of_any_size_are_boxed_as_one_by_one(files):
    images = read_annotations(files / "boxes.csv")
    maps = ScoreMaps(files / "maps", images, BOXES)
    found = localize_maps(maps, images.truths)
    for n, (width, height) in enumerate(SIZES):
        size = (height, width) if width < 2000 else (8, 1024)
        own = images.truths.of_rows(np.array([n]))
        cam = maps.read(n)[np.newaxis]
        curve = curve_hits(cam, size, own.widths, own.heights, own.boxes, own.offsets, "min-max")
        np.testing.assert_array_equal(found.curve.single[n], curve.single[0])
        np.testing.assert_array_equal(found.curve.multiple[n], curve.multiple[0])
        for protocol in ("strict", "paper2018"):
            box = localize(cam, protocol, size, width, height, 0.2, "min-max")
            np.testing.assert_array_equal(found.boxes[protocol].boxes[n], box[0])
            iou = score_boxes(box, own.boxes, own.offsets, protocol)
            np.testing.assert_array_equal(found.boxes[protocol].ious[n], iou[0])


def test_groups_are_let_go_before_the_memory_is_full(files, monkeypatch):
    images = read_annotations(files / "boxes.csv")
    maps = ScoreMaps(files / "maps", images, BOXES)
    done = []
    whole = localize_maps(maps, images.truths, 0.3, tick=done.append)
    assert done[-1] == 5
    monkeypatch.setattr(score_map_files, "_PIXELS_AT_ONCE", 1)
    single = localize_maps(maps, images.truths, 0.3, tick=done.append)
    assert done[-5:] == [1, 2, 3, 4, 5]
    np.testing.assert_array_equal(single.curve.multiple, whole.curve.multiple)
    np.testing.assert_array_equal(single.at_cut.boxes, whole.at_cut.boxes)
    assert single.statistics == whole.statistics


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8"])
def test_one_array_of_any_number_format_equals_a_folder(files, dtype):
    lines = ["name,width,height,x0,y0,x1,y1", *(f"{name},16,16,2,2,12,12" for name in "abc")]
    (files / "boxes.csv").write_text("\n".join(lines))
    cams = np.random.default_rng(1).integers(0, 200, (3, 4, 4)).astype(dtype)
    np.save(files / "all.npy", cams)
    for name, cam in zip("abc", cams, strict=True):
        np.save(files / "maps" / f"{name}.npy", cam)
    images = read_annotations(files / "boxes.csv")
    together = localize_maps(ScoreMaps(files / "all.npy", images, BOXES), images.truths)
    apart = localize_maps(ScoreMaps(files / "maps", images, BOXES), images.truths)
    np.testing.assert_array_equal(together.boxes["strict"].boxes, apart.boxes["strict"].boxes)
    np.testing.assert_array_equal(together.curve.multiple, apart.curve.multiple)


def test_a_map_may_be_named_without_the_images_ending(files):
    (files / "maps" / "val" / "image_2.jpg.npy").rename(files / "maps" / "val" / "image_2.npy")
    images = read_annotations(files / "boxes.csv")
    assert ScoreMaps(files / "maps", images, BOXES).files[2].name == "image_2.npy"


def test_a_name_with_a_point_is_no_name_with_an_ending(tmp_path):
    """Of images `a` and `a.b` each has its own map."""
    for name, value in (("a", 0.25), ("a.b", 0.75)):
        np.save(tmp_path / f"{name}.npy", np.full((2, 2), value))
    (tmp_path / "boxes.csv").write_text("name,width,height,x0,y0,x1,y1\na,8,8,0,0,4,4\na.b,8,8,0,0,4,4\n")
    images = read_annotations(tmp_path / "boxes.csv")
    maps = ScoreMaps(tmp_path, images, BOXES)
    assert [maps.read(row)[0, 0] for row in (0, 1)] == [0.25, 0.75]


def test_the_command_prints_tables_and_writes_them(files, capsys):
    arguments = ["--maps", files / "maps", "--boxes", files / "boxes.csv", "--train-boxes", files / "boxes.csv"]
    assert run_evaluate(*arguments, "--out", files / "out", "--threshold", "0.4", "--per-class", "--wsoleval") == 0
    printed = " ".join(capsys.readouterr().out.split())
    for wanted in (
        "strict",
        "paper2018",
        "wsoleval",
        "whole image",
        "best box at IoU 0.5",
        "MaxBoxAcc",
        "these maps, at .2",
        "these maps (min-max,",
        "at .4 (asked)",
    ):
        assert wanted in printed
    assert "2 images have no ground-truth box" in printed
    report = json.loads((files / "out" / "report.json").read_text())
    assert report["images"] == 5
    assert report["images_with_boxes"] == 3
    assert report["rates"]["strict"]["top1_clas"] == 20
    assert set(report["rates"]) == {"strict", "paper2018", "wsoleval"}
    rows = list(csv.DictReader((files / "out" / "report.csv").open()))
    assert [row["name"] for row in rows] == [f"val/image_{n}.jpg" for n in range(5)]
    assert [row["strict_iou"] == "" for row in rows] == [True, False, False, True, False]


@pytest.mark.parametrize(("predicted", "told"), [("a;b;c;d;e", True), ("a;b;c;d", False), ("a", False)])
def test_top_5_is_told_where_five_classes_are_given_of_every_image(files, capsys, predicted, told):
    lines = ["name,width,height,x0,y0,x1,y1,label,predicted"]
    lines += ["val/image_1.jpg,64,64,3,3,40,50,f,a;b;c;d;f", f"val/image_2.jpg,30,40,3,3,20,30,e,{predicted}"]
    (files / "boxes.csv").write_text("\n".join(lines))
    assert run_evaluate("--maps", files / "maps", "--boxes", files / "boxes.csv", "--out", files / "out") == 0
    capsys.readouterr()
    rates = json.loads((files / "out" / "report.json").read_text())["rates"]["strict"]
    assert rates["top1_clas"] == 0
    assert rates.get("top5_clas") == (100 if told else None)
    assert run_command(compare.main, [*[str(files / "out")] * 2, "--localizers", "cam"]) == 0, "as beside a run's cam"
    assert ("Top-5" in capsys.readouterr().out) == told


@pytest.mark.parametrize("predicted", ["1", "class 1|class 2"])
def test_names_that_never_meet_are_warned_of(files, capsys, predicted):
    lines = ["name,width,height,x0,y0,x1,y1,label,predicted", f"val/image_1.jpg,64,64,3,3,40,50,class 1,{predicted}"]
    (files / "boxes.csv").write_text("\n".join(lines))
    assert run_evaluate("--maps", files / "maps", "--boxes", files / "boxes.csv") == 0
    said = capsys.readouterr()
    assert "boxes.csv: no label is ever predicted; use the same names" in said.err
    assert "nothing is written; --out NEW_FOLDER keeps the report" in said.out


def test_names_and_labels_are_printed_as_they_are(files, capsys):
    lines = [" name, width,height,x0,y0,x1,y1,label", "val/image_1.jpg,64,64,3,3,40,50,[/INST]"]
    (files / "boxes.csv").write_text("\n".join(lines))
    (files / "maps").rename(files / "maps[gr]")
    assert run_evaluate("--maps", files / "maps[gr]", "--boxes", files / "boxes.csv", "--per-class") == 0
    printed = capsys.readouterr().out
    assert "[/INST]" in printed
    assert "maps[gr]" in printed.replace("\n", "")


def test_without_labels_localization_alone_is_told(files, capsys):
    lines = ["name,width,height,x0,y0,x1,y1", "val/image_1.jpg,64,64,3,3,40,50"]
    (files / "boxes.csv").write_text("\n".join(lines))
    assert run_evaluate("--maps", files / "maps", "--boxes", files / "boxes.csv") == 0
    printed = capsys.readouterr().out
    assert "GT-known" in printed
    assert "Top-1" not in printed


def test_maps_of_no_named_image_are_counted(files, capsys):
    np.save(files / "maps" / "val" / "another.npy", np.zeros((4, 4)))
    assert run_evaluate("--maps", files / "maps", "--boxes", files / "boxes.csv") == 0
    assert "1 map in" in (said := " ".join(capsys.readouterr().out.split()))
    assert "left out: of no image in" in said
    (files / "maps" / "val" / "another.npy").unlink()
    assert run_evaluate("--maps", files / "maps", "--boxes", files / "boxes.csv") == 0
    assert "left out" not in capsys.readouterr().out


def test_maps_on_a_scale_of_their_own_are_cut_as_they_are(files, capsys):
    """A square of .6 in a map that is .3 elsewhere is all of it at .2 of its own, and the square at .5."""
    lines = ["name,width,height,x0,y0,x1,y1", *(f"{name},32,32,8,8,24,24" for name in "ab")]
    (files / "boxes.csv").write_text("\n".join(lines))
    maps = np.full((2, 32, 32), 0.3, np.float32)
    maps[:, 8:24, 8:24] = 0.6
    np.save(files / "all.npy", maps)
    arguments = ["--maps", files / "all.npy", "--boxes", files / "boxes.csv"]
    found = {}
    for threshold in ("0.2", "0.5"):
        for scale in ("own", "min-max"):
            out = files / f"{scale}-{threshold}"
            assert run_evaluate(*arguments, "--scale", scale, "--threshold", threshold, "--out", out) == 0
            (row,) = json.loads((out / "report.json").read_text())["localizers"]
            assert row["scale"] == scale
            found[scale, threshold] = row["rates"]["gt_known_loc@0.7"]
    assert found == {("own", "0.2"): 0, ("own", "0.5"): 100, ("min-max", "0.2"): 100, ("min-max", "0.5"): 100}
    capsys.readouterr()
    assert run_evaluate(*arguments, "--scale", "own") == 2
    assert f"--maps {files / 'all.npy'}: the values of these maps are shares of 1; name a" in capsys.readouterr().err
    np.save(files / "all.npy", 4 * maps)
    assert run_evaluate(*arguments, "--scale", "own", "--threshold", "0.5") == 2
    assert "map 0: has values from 1.2 to 2.4" in capsys.readouterr().err


def test_what_says_how_maps_are_to_be_read_is_read_or_refused(files, capsys):
    arguments = ["--maps", files / "maps", "--boxes", files / "boxes.csv"]
    (files / "maps" / "about.json").write_text("{")
    assert run_evaluate(*arguments) == 2
    assert "about.json: does not say which square the maps cover; export the maps anew" in capsys.readouterr().err
    about = {"made_by": score_map_files.ABOUT_MAKER, "square": 64, "localizer": "x"}
    (files / "maps" / "about.json").write_text(json.dumps(about))
    assert ScoreMaps(files / "maps", read_annotations(files / "boxes.csv"), BOXES).localizer is None


def test_maps_below_0_are_on_no_scale_of_their_own(files, capsys):
    (files / "boxes.csv").write_text("name,width,height,x0,y0,x1,y1\na,32,32,8,8,24,24\n")
    np.save(files / "all.npy", np.linspace(-0.1, 0.5, 64, dtype=np.float32).reshape(1, 8, 8))
    arguments = ["--maps", files / "all.npy", "--boxes", files / "boxes.csv", "--scale", "own", "--threshold", "0.5"]
    assert run_evaluate(*arguments) == 2
    assert "has values from -0.1 to 0.5, and on a scale of its own they are shares of 1" in capsys.readouterr().err


def test_maps_of_which_nothing_is_known_are_of_the_class(files):
    assert run_evaluate("--maps", files / "maps", "--boxes", files / "boxes.csv", "--out", files / "out") == 0
    report = json.loads((files / "out" / "report.json").read_text())
    assert report["localizers"][0]["class_specific"]
    assert (report["maps"], report["boxes"], report["threads"] >= 1) == ("maps", "boxes.csv", True)


@pytest.mark.parametrize("columns", ["label", "predicted"])
def test_without_boxes_there_is_nothing_to_measure_by_labels_or_predictions_alone(files, capsys, columns):
    (files / "boxes.csv").write_text(f"name,width,height,x0,y0,x1,y1,{columns}\nval/image_1.jpg,64,64,,,,,cat\n")
    assert run_evaluate("--maps", files / "maps", "--boxes", files / "boxes.csv") == 2
    assert "has neither a box nor both labels and predictions" in capsys.readouterr().err


def maps_of(folder: Path, sizes: list[tuple[int, int]], shapes: list[tuple[int, int]] | None = None) -> ScoreMaps:
    """Maps of images of these widths and heights, of 4 x 4 by default."""
    (folder / "maps").mkdir()
    lines = ["name,width,height,x0,y0,x1,y1"]
    for n, ((width, height), shape) in enumerate(zip(sizes, shapes or [(4, 4)] * len(sizes), strict=True)):
        np.save(folder / "maps" / f"{n}.npy", np.eye(*shape, dtype=np.float32))
        lines.append(f"{n},{width},{height},0,0,1,1")
    (folder / "boxes.csv").write_text("\n".join(lines))
    return ScoreMaps(folder / "maps", read_annotations(folder / "boxes.csv"), BOXES)


@pytest.mark.parametrize(
    ("sizes", "square"),
    [
        ([(64, 64), (64, 64)], 64),
        ([(64, 48), (64, 48)], score_map_files.SQUARE_SIDE),
        ([(64, 64), (48, 64)], score_map_files.SQUARE_SIDE),
        ([(64, 64), (48, 48)], score_map_files.SQUARE_SIDE),
    ],
)
def test_the_square_is_the_images_own_where_all_are_one_square(tmp_path, sizes, square):
    assert maps_of(tmp_path, sizes).square == square


def test_the_square_that_maps_cover_goes_before_the_images_own(tmp_path):
    maps_of(tmp_path, [(64, 64)])
    about = {"made_by": score_map_files.ABOUT_MAKER, "square": 32}
    (tmp_path / "maps" / "about.json").write_text(json.dumps(about))
    images = read_annotations(tmp_path / "boxes.csv")
    maps = ScoreMaps(tmp_path / "maps", images, BOXES)
    assert maps.square == 32
    assert [group.size for group in maps.groups(images.truths)] == [(32, 32)]


@pytest.mark.parametrize(
    ("size", "upsampled"),
    [((1024, 700), (700, 1024)), ((2048, 1003), (502, 1024)), ((1003, 2048), (1024, 502)), ((4096, 1), (1, 1024))],
)
def test_a_side_of_a_large_image_is_rounded_and_stays_a_pixel(tmp_path, size, upsampled):
    maps = maps_of(tmp_path, [size])
    assert [group.size for group in maps.groups(read_annotations(tmp_path / "boxes.csv").truths)] == [upsampled]


def test_maps_that_wait_count_for_the_memory_after_a_group_is_let_go(tmp_path, monkeypatch):
    maps = maps_of(tmp_path, [(8, 8)] * 6, [(2, 4), *[(4, 2)] * 5])
    monkeypatch.setattr(score_map_files, "_PIXELS_AT_ONCE", 3 * (8 + 64))
    groups = maps.groups(read_annotations(tmp_path / "boxes.csv").truths)
    assert [group.rows.tolist() for group in groups] == [[1, 2], [3, 4], [0], [5]]
