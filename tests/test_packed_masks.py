"""Masks beside images: packed with them, refused where they are none, and what a run's report says of them."""

import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import noise_jpeg
from layouts import HEIGHT, WIDTH, draw_benchmark_with_masks, png, put, region
from numpy.typing import NDArray

from fastwsol import compare, evaluate, pack, predict, report, train
from fastwsol.config import Config
from fastwsol.dataset.first_classes import with_first_classes
from fastwsol.dataset.shards import Shards, open_shards
from fastwsol.evaluation.fixed_masks import best_shape, fixed_masks, region_of
from fastwsol.evaluation.masks import PIXEL_SIDE, SplitMasks
from fastwsol.evaluation.per_image import ImageRows
from fastwsol.experiments.over_seeds import SettingRuns, pixel_rows
from fastwsol.host.command_line import run_command
from fastwsol.sources.encode import as_png
from fastwsol.sources.mask_folder import BenchmarkMasks, Regions
from fastwsol.sources.mask_images import at_benchmark_side, at_size, mask_paths, read_mask, read_region

CLASSES = ("bird", "cat", "dog")
OBJECT = (8, 30, 6, 32)
"""Rows and columns of every object."""


def mask_of(width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    mask = np.zeros((height, width), np.uint8)
    mask[OBJECT[0] : OBJECT[1], OBJECT[2] : OBJECT[3]] = 255
    mask[:, :2] = 128
    return mask


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three classes, four images of train and two of val each; the object is bright. Masks lie beside."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for label, name in enumerate(CLASSES):
            for k in range(count):
                pixels = rng.integers(0, 90, (HEIGHT, WIDTH, 3), np.uint8)
                pixels[OBJECT[0] : OBJECT[1], OBJECT[2] : OBJECT[3], label] = 250
                put(tmp_path / "photos" / split / name / f"{k}.png", png(pixels))
                put(tmp_path / "masks" / split / name / f"{k}.png", png(mask_of()))
    return tmp_path / "photos"


def packed(photos: Path, *more: str, masks: str = "masks", out: str = "shards") -> int:
    flags = ["--layout", "imagefolder", "--source", str(photos), "--masks", str(photos.parent / masks)]
    return run_command(pack.main, [*flags, "--out", str(photos.parent / out), *more])


def masks_in(shards: Shards, split: str = "val") -> list[NDArray[np.uint8] | None]:
    rows = shards.splits[split]
    return [None if (found := rows.mask(k)) is None else read_mask(found) for k in range(len(rows))]


# Packing


def test_masks_are_packed_beside_their_images(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos.parent / "masks" / "train" / "cat" / "0.png").unlink()
    put(photos.parent / "masks" / "train" / "cat" / "nobody.png", png(mask_of()))
    put(photos.parent / "masks" / "notes.txt", b"hello")
    assert packed(photos) == 0
    said = capsys.readouterr().out
    assert "images with a mask: 17 of 18" in said
    assert f"{photos.parent / 'masks'}: 18 masks, 17 used, 1 of no image; 1 image without one" in said
    assert "1 file beside the masks ignored" in said
    shards = open_shards(photos.parent / "shards")
    assert shards.manifest.schema_version == 2
    train = shards.splits["train"]
    without = train.names(np.flatnonzero(~train.has_mask))
    assert without == ["train/cat/0.png"]
    assert train.mask(train.names(range(len(train))).index("train/cat/0.png")) is None
    for mask in masks_in(shards):
        np.testing.assert_array_equal(mask, mask_of())


def test_the_ending_of_a_mask_may_be_in_any_case(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in [*(photos.parent / "masks").rglob("*.png")]:
        path.rename(path.with_suffix(".PNG"))
    assert packed(photos) == 0
    assert "18 masks, 18 used" in capsys.readouterr().out


def test_a_set_without_masks_is_packed_as_before(photos: Path) -> None:
    flags = ["--layout", "imagefolder", "--source", str(photos), "--out", str(photos.parent / "plain")]
    assert run_command(pack.main, flags) == 0
    manifest = json.loads((photos.parent / "plain" / "manifest.json").read_bytes())
    assert next(iter(manifest.items())) == ("schema_version", 1)
    shards = open_shards(photos.parent / "plain")
    assert not shards.splits["val"].has_mask.any()
    assert shards.splits["val"].mask(0) is None


def test_images_and_masks_come_out_of_zips(photos: Path) -> None:
    for name in ("photos", "masks"):
        with zipfile.ZipFile(photos.parent / f"{name}.zip", "w") as archive:
            for path in sorted((photos.parent / name).rglob("*.png")):
                archive.write(path, f"{'outer/' if name == 'photos' else ''}{path.relative_to(photos.parent / name)}")
    assert packed(photos) == 0
    assert packed(photos.with_suffix(".zip"), masks="masks.zip", out="zipped") == 0
    ours, theirs = (open_shards(photos.parent / name) for name in ("shards", "zipped"))
    for one, other in zip(masks_in(ours), masks_in(theirs), strict=True):
        np.testing.assert_array_equal(one, other)


def test_of_fewer_classes_the_masks_of_others_are_counted(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert packed(photos, "--classes", "2") == 0
    assert "18 masks, 12 used, 6 of classes beyond --classes" in capsys.readouterr().out
    assert packed(photos, out="all") == 0
    some = open_shards(with_first_classes(photos.parent / "all", 2))
    assert some.manifest.schema_version == 2
    assert [mask.tolist() for mask in masks_in(some)] == [mask_of().tolist()] * 4


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (png(mask_of(40, 48)), "has 40x48 pixels, its image 48x40; a mask has its image's size"),
        (png(np.full((HEIGHT, WIDTH), 7, np.uint8)), "has a pixel of 7"),
        (png(np.zeros((HEIGHT, WIDTH, 3), np.uint8)), "is a PNG of mode RGB"),
        (noise_jpeg(0, size=(WIDTH, HEIGHT)), "cannot be read as a mask (it is no PNG)"),
        (png(mask_of())[:-20], "cannot be read as a mask"),
    ],
    ids=["another size", "classes", "colours", "a JPEG", "cut off"],
)
def test_what_is_no_mask_of_its_image_is_a_fault_of_that_image(
    photos: Path, capsys: pytest.CaptureFixture[str], content: bytes, words: str
) -> None:
    put(photos.parent / "masks" / "val" / "dog" / "1.png", content)
    assert packed(photos) == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith(f"error: val/dog/1.png: its mask {photos.parent / 'masks/val/dog/1.png'} ")
    assert words in line
    shutil.rmtree(photos.parent / "shards")
    assert packed(photos, "--quarantine") == 3
    assert "17 packed and 1 quarantined, 18 in all" in capsys.readouterr().out


def test_what_does_not_fit_together_is_refused(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def complaint(*more: str, masks: str = "masks") -> str:
        assert packed(photos, *more, masks=masks) == 2
        assert not (photos.parent / "shards" / "manifest.json").exists()
        return capsys.readouterr().err

    assert "no such folder or zip" in complaint(masks="nowhere")
    (photos.parent / "empty").mkdir()
    assert "none of the 0 masks there is of an image; the mask of train/bird/0.png is" in complaint(masks="empty")
    put(photos / "train" / "cat" / "0.jpg", noise_jpeg(1, size=(WIDTH, HEIGHT)))
    assert "is the mask of both 'train/cat/0.jpg' and 'train/cat/0.png'" in complaint()
    flags = ["--synthetic", "--masks", str(photos.parent / "masks"), "--out", str(photos.parent / "shards")]
    assert run_command(pack.main, flags) == 2
    assert "--masks: goes with --layout imagefolder or wsoleval" in capsys.readouterr().err


@pytest.mark.parametrize("shape", [(40, 48), (375, 500), (224, 224), (1000, 301), (1, 7)])
def test_masks_are_brought_to_the_square_as_opencvs_nearest_neighbour_does(shape: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    theirs = cv2.resize(mask, (PIXEL_SIDE, PIXEL_SIDE), interpolation=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(at_benchmark_side(mask), theirs)


def test_of_every_side_the_same_pixels_are_taken() -> None:
    for side in range(1, 2000):
        pixels = np.arange(side, dtype=np.float32)[:, np.newaxis]
        theirs = cv2.resize(pixels, (1, PIXEL_SIDE), interpolation=cv2.INTER_NEAREST)[:, 0]
        ours = at_size(np.arange(side, dtype=np.uint16)[:, np.newaxis], (1, PIXEL_SIDE))[:, 0]  # type: ignore[arg-type]
        np.testing.assert_array_equal(ours, theirs, str(side))


def test_names_of_masks() -> None:
    assert mask_paths("a/b.jpg") == ("a/b.jpg.png", "a/b.png")
    assert mask_paths("b") == ("b.png",)
    assert mask_paths("a.b/c") == ("a.b/c.png",)
    assert mask_paths("a/.jpg") == ("a/.jpg.png",)


# The benchmark's masks


@pytest.fixture
def benchmark_set(tmp_path: Path) -> Path:
    root = tmp_path / "OpenImages"
    draw_benchmark_with_masks(root, tmp_path / "masks")
    return root


def packed_benchmark(root: Path, *more: str) -> int:
    flags = ["--layout", "wsoleval", "--source", str(root), "--out", str(root.parent / "shards")]
    return run_command(pack.main, [*flags, *more])


def test_the_benchmarks_masks_are_joined_and_what_is_left_out_does_not_hide_an_object(benchmark_set: Path) -> None:
    assert packed_benchmark(benchmark_set, "--masks", str(benchmark_set.parent / "masks")) == 0
    shards = open_shards(benchmark_set.parent / "shards")
    first, second = masks_in(shards)
    expected = region((5, 5, 25, 25)) // 255 * 128
    expected[region((0, 0, 10, 10), (20, 20, 30, 30)) > 0] = 255
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_array_equal(second, region((0, 0, 50, 60), size=(100, 120)))
    assert not shards.splits["train"].has_mask.any()
    read = SplitMasks(shards.splits["val"]).read(np.array([1]))
    np.testing.assert_array_equal(read[0], at_benchmark_side(region((0, 0, 50, 60), size=(100, 120))))


def test_masks_of_one_image_that_differ_in_size_are_joined_at_the_benchmarks_square(benchmark_set: Path) -> None:
    put(benchmark_set.parent / "masks" / "a" / "two.png", png(region((40, 40, 60, 60), size=(96, 80))))
    assert packed_benchmark(benchmark_set, "--masks", str(benchmark_set.parent / "masks")) == 0
    first, _ = masks_in(open_shards(benchmark_set.parent / "shards"))
    assert first is not None
    assert first.shape == (PIXEL_SIDE, PIXEL_SIDE)
    objects = (at_benchmark_side(region((0, 0, 10, 10))) > 0) | (
        at_benchmark_side(region((40, 40, 60, 60), size=(96, 80))) > 0
    )
    np.testing.assert_array_equal(first == 255, objects)


@pytest.mark.parametrize(
    ("spoil", "with_masks", "words"),
    [
        (lambda root: None, False, "test/localization.txt: names masks, not boxes; say where they lie, with --masks"),
        (lambda root: (root.parent / "masks/b/one.png").unlink(), True, "b/one.png: no such file, and it is a mask of"),
        (
            lambda root: put(root / "metadata/test/localization.txt", b"test/a/0.jpg,1,2,3,4\n"),
            True,
            "has no lines <path> <mask> <ignored>; leave --masks out",
        ),
        (
            lambda root: put(root / "metadata/test/localization.txt", b"test/c/0.jpg,a/one.png,\n"),
            True,
            "localization.txt line 1: 'test/c/0.jpg' is not in image_ids.txt",
        ),
        (
            lambda root: put(root / "metadata/test/localization.txt", b"test/a/0.jpg,,a/one.png\n"),
            True,
            "localization.txt line 1: found",
        ),
        (
            lambda root: put(root.parent / "masks/b/one.png", b"no image"),
            True,
            "test/b/0.jpg: its mask",
        ),
    ],
)
def test_what_is_wrong_with_the_benchmarks_masks_is_told(
    benchmark_set: Path, capsys: pytest.CaptureFixture[str], spoil: Any, with_masks: bool, words: str
) -> None:
    spoil(benchmark_set)
    masks = ["--masks", str(benchmark_set.parent / "masks")] if with_masks else []
    assert packed_benchmark(benchmark_set, *masks) == 2
    assert words in capsys.readouterr().err


# Masks that look at no image


@pytest.mark.parametrize("shape", ["box", "ellipse"])
def test_the_best_fixed_shape_is_found_again(shape: Any) -> None:
    place = (0.25, 0.3, 0.65, 0.9)
    objects = region_of(place, shape, 56).reshape(1, -1).astype(np.float32)
    found = region_of(best_shape(objects, np.ones_like(objects), shape), shape, 56).ravel()
    both = (found & (objects[0] > 0)).sum()
    assert both / (found | (objects[0] > 0)).sum() > 0.93


def test_what_is_left_out_does_not_draw_a_fixed_shape(photos: Path) -> None:
    assert packed(photos) == 0
    fixed = fixed_masks(SplitMasks(open_shards(photos.parent / "shards").splits["train"]))
    assert [each.kind for each in fixed] == ["whole-image", "best-ellipse", "best-box"]
    mask = at_benchmark_side(mask_of())
    ious = [(each.region & (mask == 255)).sum() / (each.region & (mask != 128) | (mask == 255)).sum() for each in fixed]
    assert ious[2] > 0.9
    assert ious[2] > ious[1] > ious[0]


# A run's report


def test_a_run_is_measured_by_pixels_and_its_exported_maps_measure_alike(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = photos.parent
    assert packed(photos) == 0
    flags = ["--stem", "C", "--batch-size", "4", "--epochs", "2", "--step", "eager", "--threads", "1", "--image-size"]
    flags += ["32", "--localizer", "mask", "--head-steps", "4", "--head-batch-size", "4"]
    assert run_command(train.main, [*flags, "--shards", str(root / "shards"), "--run-dir", str(root / "run")]) == 0
    assert "pixels of 6 masks" in capsys.readouterr().out
    written = json.loads((root / "run" / "report.json").read_bytes())
    of_localizers = {each["name"]: each["pixels"] for each in written["localizers"]}
    assert {*of_localizers} == {"cam", "cam-positive", "ddt", "mask", "mask-cam"}
    assert [each["kind"] for each in written["masks"]["baselines"]] == ["whole-image", "best-ellipse", "best-box"]
    for name, pixels in of_localizers.items():
        rows = ImageRows.read(root / "run" / ("report.csv" if name == "cam" else f"report-{name}.csv"))
        assert rows.mask_ious is not None
        assert pixels["iou"]["mean"] == pytest.approx(100 * rows.mask_ious.mean())
        assert sum(each["images"] for each in pixels["classes"]) == sum(each["images"] for each in pixels["sizes"]) == 6
        out = root / f"maps-{name}"
        assert run_command(evaluate.main, [str(root / "run"), "--export-maps", str(out), "--localizer", name]) == 0
        cut = re.search(r"--threshold (\S+)", capsys.readouterr().out)
        again = ["--maps", str(out / "maps.npy"), "--boxes", str(out / "boxes.csv"), "--masks", str(root / "masks")]
        again += ["--out", str(root / f"out-{name}"), *(["--threshold", cut[1]] if cut else [])]
        assert run_command(evaluate.main, again) == 0
        of_maps = json.loads((root / f"out-{name}" / "report.json").read_bytes())
        for key in ("pxap", "pxap_on_own_scale", "iou", "intervals", "sizes", "images"):
            assert of_maps["localizers"][0]["pixels"][key] == pixels[key], key
        assert of_maps["masks"]["digest"] == written["masks"]["digest"]
        capsys.readouterr()
    assert run_command(compare.main, [str(root / "run"), str(root / "run"), "--localizers", "cam", "mask"]) == 0
    cut = of_localizers["mask"]["iou"]["threshold"]
    assert f"masks, A cut at 0.2, B at {cut:.2g}: B against A" in " ".join(capsys.readouterr().out.split())
    to_files = [str(root / "run"), str(photos / "val" / "cat"), "--out", str(root / "boxes.json"), "--boxes", "all"]
    assert run_command(predict.main, [*to_files, "--masks", str(root / "found")]) == 0
    assert "masks of 2 images in" in capsys.readouterr().out
    written_masks = sorted((root / "found").rglob("*.png"))
    assert [path.name for path in written_masks] == ["0.png.png", "1.png.png"]
    assert all(read_mask(path.read_bytes(), (WIDTH, HEIGHT)).shape == (HEIGHT, WIDTH) for path in written_masks)
    for form, files in (("yolo", "labels/*.txt"), ("voc", "Annotations/*.xml")):
        flags = [*to_files[:2], "--out", str(root / form), "--format", form]
        assert run_command(predict.main, flags) == 0
        assert len([*(root / form).glob(files)]) == 2
        assert run_command(predict.main, flags) == 2
        assert f"--out {root / form}: exists" in capsys.readouterr().err
    to_files[3] = str(root / "others.json")
    assert run_command(predict.main, [*to_files, "--masks", str(root / "found")]) == 2
    assert f"--masks {root / 'found'}: exists" in capsys.readouterr().err
    page = root / "page.html"
    assert run_command(report.main, [str(root / "run"), "--gallery", "0", "--out", str(page)]) == 0
    assert "pixels of masks, percent" in page.read_text()
    assert run_command(evaluate.main, [str(root / "run"), "--all-tables", "--threshold", "otsu"]) == 0
    said = capsys.readouterr().out
    assert "mean IoU of masks, by class" in said
    assert "mask, otsu" in said
    at_fixed, at_cut = (ImageRows.read(root / "run" / f"report-threshold-otsu{end}.csv") for end in ("", "-cam"))
    assert at_fixed.mask_ious is None
    assert at_cut.mask_ious is not None


def test_a_crop_is_not_measured_by_pixels_and_that_is_said(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = photos.parent
    assert packed(photos) == 0
    flags = ["--stem", "C", "--batch-size", "4", "--epochs", "1", "--step", "eager", "--threads", "1", "--image-size"]
    flags += ["32", "--localizer", "cam", "--fit", "crop"]
    assert run_command(train.main, [*flags, "--shards", str(root / "shards"), "--run-dir", str(root / "run")]) == 0
    assert "pixels are not measured" in " ".join(capsys.readouterr().out.split())
    assert "masks" not in json.loads((root / "run" / "report.json").read_bytes())


def test_a_mask_survives_its_encoding() -> None:
    np.testing.assert_array_equal(read_mask(as_png(mask_of()), (WIDTH, HEIGHT)), mask_of())


def test_val_masks_without_an_object_cost_no_report(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = photos.parent
    for path in (root / "masks" / "val").rglob("*.png"):
        path.write_bytes(png(np.zeros((HEIGHT, WIDTH), np.uint8)))
    assert packed(photos) == 0
    flags = ["--stem", "C", "--batch-size", "4", "--epochs", "1", "--step", "eager", "--threads", "1", "--image-size"]
    flags += ["32", "--localizer", "cam", "--shards", str(root / "shards"), "--run-dir", str(root / "run")]
    assert run_command(train.main, flags) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "pixels are not measured: no mask has a pixel of an object (255)" in said
    assert "masks" not in json.loads((root / "run" / "report.json").read_bytes())


def test_masks_among_the_classes_are_no_class(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.move(photos.parent / "masks" / "train", photos / "train" / "masks")
    flags = ["--layout", "imagefolder", "--source", str(photos / "train"), "--masks", str(photos / "train" / "masks")]
    assert run_command(pack.main, [*flags, "--out", str(photos.parent / "shards")]) == 2
    assert "lies among the class folders, and 'masks' would be a class" in capsys.readouterr().err


def test_a_setting_without_pixels_takes_no_table_from_the_others() -> None:
    def report_with(pixels: bool) -> dict[str, Any]:
        numbers, cut = {"pxap": 50.0, "iou": {"mean": 40.0}}, {"rule": "fixed", "value": 0.2}
        of_all = {"masks": {"baselines": [{"name": "whole image", "pxap": 30.0, "iou": 20.0}]}}
        return {"localizers": [{"name": "cam", "pixels": numbers, "cut": cut}]} | (of_all if pixels else {})

    setting = Config().setting
    settings = [
        SettingRuns("cut off", setting, [report_with(False)]),
        SettingRuns("whole", setting, [report_with(True)]),
    ]
    rows = [(row.name, row.texts) for row in pixel_rows(settings)]
    expected = [("cut off", ["–", "–"]), ("whole", ["50.00", "40.00"]), ("whole image", ["30.00", "20.00"])]
    assert rows == expected
    assert pixel_rows(settings[:1]) == []


def test_another_role_of_a_benchmarks_file_is_another_stamp(benchmark_set: Path) -> None:
    names = ("a/one.png", "a/two.png")
    as_objects, as_ignored = (
        BenchmarkMasks(benchmark_set.parent / "masks", {"image": regions}).stamp("image")
        for regions in (Regions(names, ()), Regions(names[:1], names[1:]))
    )
    assert as_objects != as_ignored


def test_a_benchmarks_file_of_ones_marks_what_is_not_0() -> None:
    ones = region((3, 4, 9, 9)) // 255
    np.testing.assert_array_equal(read_region(png(ones)), ones == 1)


def test_masks_are_measured_at_the_cut_that_is_asked_and_those_of_no_image_are_counted(tmp_path, capsys):
    """A map on its own scale that is .6 where the object is, and .3 elsewhere."""
    mask = mask_of()
    height, width = mask.shape
    np.save(tmp_path / "maps.npy", np.where(mask == 255, 0.6, 0.3).astype(np.float32)[np.newaxis])
    (tmp_path / "boxes.csv").write_text(f"name,width,height,x0,y0,x1,y1\nval/a.jpg,{width},{height},,,,\n")
    for name in ("val/a.PNG", "val/of_none.png"):
        put(tmp_path / "elsewhere" / name, png(mask))
    put(tmp_path / "masks/of_none.png", png(mask))
    (tmp_path / "masks/val").symlink_to(tmp_path / "elsewhere/val")  # as folders of masks may be linked
    flags = ["--maps", tmp_path / "maps.npy", "--boxes", tmp_path / "boxes.csv", "--masks", tmp_path / "masks"]
    found = {}
    for threshold in ("0.1", "0.45"):
        out = tmp_path / threshold
        asked = [*flags, "--scale", "own", "--threshold", threshold, "--out", out]
        assert run_command(evaluate.main, [*map(str, asked)]) == 0
        (row,) = json.loads((out / "report.json").read_text())["localizers"]
        found[threshold] = row["pixels"]["iou"]["mean"]
        assert f"2 masks in {tmp_path / 'masks'}, left out" in " ".join(capsys.readouterr().out.split())
    assert found["0.45"] > 85
    assert found["0.1"] < 50


def test_a_setting_of_which_one_run_was_not_measured_by_masks_has_dashes() -> None:
    numbers, cut = {"pxap": 50.0, "iou": {"mean": 40.0}}, {"rule": "fixed", "value": 0.2}
    without: dict[str, Any] = {"localizers": [{"name": "cam", "cut": cut}]}
    whole = {
        "localizers": [{"name": "cam", "cut": cut, "pixels": numbers}],
        "masks": {"baselines": [{"name": "whole image", "pxap": 30.0, "iou": 20.0}]},
    }
    setting = Config().setting
    rows = pixel_rows([SettingRuns("some", setting, [without, whole]), SettingRuns("all", setting, [whole, whole])])
    assert [(row.name, row.texts) for row in rows] == [
        ("some", ["–", "–"]),
        ("all", ["50.00 ± 0.00", "40.00 ± 0.00"]),
        ("whole image", ["30.00", "20.00"]),
    ]


def test_of_the_benchmarks_masks_of_an_image_the_first_bad_one_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, masks = tmp_path / "OpenImages", tmp_path / "masks"
    draw_benchmark_with_masks(root, masks)
    for name in ("one", "two"):
        put(masks / "a" / f"{name}.png", b"no image")
    assert packed_benchmark(root, "--masks", str(masks)) == 2
    assert f"test/a/0.jpg: its mask {masks / 'a/one.png'} " in capsys.readouterr().err
