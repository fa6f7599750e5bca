"""PxAP and IoU of masks: by the definition in plain loops, from files, and what is told of bad ones."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import kernels
from fastwsol import evaluate
from fastwsol.evaluation.annotations_file import read_annotations
from fastwsol.evaluation.evaluated_images import EvaluatedImages
from fastwsol.evaluation.fixed_masks import FixedCounts, FixedMask, fixed_masks
from fastwsol.evaluation.maps import NetworkMaps
from fastwsol.evaluation.masks import PIXEL_SIDE, find_masks
from fastwsol.evaluation.per_image import ImageRows
from fastwsol.evaluation.pixels import _Counter, digest_of_masks, measure_pixels, pxap
from fastwsol.evaluation.score_map_files import ScoreMaps
from fastwsol.evaluation.truths import Truths
from fastwsol.host.command_line import run_command
from kernels import reference

COUNT = 6


def pxap_slowly(maps: NDArray, masks: NDArray) -> float:
    """Choe et al. 2020: all pixels that are not ignored, in one list, cut at every threshold."""
    values, truth = [], []
    for cam, mask in zip(maps, masks, strict=True):
        x = reference.normalise(reference.upsample(cam, mask.shape))
        x = np.zeros(mask.shape) if x is None else x
        values += x[mask != 128].tolist()
        truth += (mask[mask != 128] == 255).tolist()
    of_pixels, is_object = np.array(values), np.array(truth)
    area = reached = 0.0
    for threshold in [1.0, *(k * 0.001 for k in range(999, -1, -1))]:
        kept = of_pixels >= threshold
        if not kept.any():
            continue
        recall = (kept & is_object).sum() / is_object.sum()
        area += (kept & is_object).sum() / kept.sum() * (recall - reached)
        reached = recall
    return 100 * area


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Maps, masks and boxes of images of two sizes; the last image has no mask, the one before it no object."""
    rng = np.random.default_rng(3)
    lines = ["name,width,height,x0,y0,x1,y1"]
    (tmp_path / "masks" / "a").mkdir(parents=True)
    maps = rng.random((COUNT, 7, 7), np.float32)
    for k in range(COUNT):
        width, height = ((50, 40), (30, 60))[k % 2]
        lines.append(f"a/{k}.jpg,{width},{height},5,5,25,30")
        mask = np.zeros((height, width), np.uint8)
        if k != COUNT - 2:
            mask[5:30, 5:25] = 255
            maps[k, 1:4, 1:4] += 1
        mask[:, :2] = 128
        if k != COUNT - 1:
            Image.fromarray(mask).save(tmp_path / "masks" / "a" / (f"{k}.png" if k else "0.jpg.png"))
    np.save(tmp_path / "maps.npy", maps)
    (tmp_path / "boxes.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def evaluated(folder: Path, *more: str) -> int:
    files = ["--maps", str(folder / "maps.npy"), "--boxes", str(folder / "boxes.csv"), "--masks", str(folder / "masks")]
    return run_command(evaluate.main, [*files, *more])


def resized_slowly(mask: NDArray) -> NDArray:
    height, width = mask.shape
    return np.array(
        [
            [mask[y * height // PIXEL_SIDE, x * width // PIXEL_SIDE] for x in range(PIXEL_SIDE)]
            for y in range(PIXEL_SIDE)
        ]
    )


def pixels_of(out: Path) -> dict:
    """What a report says of the maps pixel by pixel."""
    (maps,) = json.loads((out / "report.json").read_text())["localizers"]
    return maps["pixels"]


def test_masks_without_boxes_are_enough(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluated(folder, "--out", str(folder / "out")) == 0
    whole = pixels_of(folder / "out")
    lines = (folder / "boxes.csv").read_text().splitlines()
    rows = [f"{','.join(line.split(',')[:3])},,,," for line in lines[1:]]
    (folder / "boxes.csv").write_text("\n".join([",".join(lines[0].split(",")[:7]), *dict.fromkeys(rows)]) + "\n")
    assert evaluated(folder, "--out", str(folder / "again")) == 0, capsys.readouterr().err
    found = pixels_of(folder / "again")
    assert (found["pxap"], found["iou"]) == (whole["pxap"], whole["iou"])


def test_of_one_mask_there_is_no_interval(folder: Path) -> None:
    for file in sorted((folder / "masks" / "a").iterdir())[1:]:
        file.unlink()
    assert evaluated(folder, "--out", str(folder / "out")) == 0
    found = pixels_of(folder / "out")
    assert found["images"] == 1
    assert found["intervals"] == {"pxap": None, "iou": None}


def test_maps_from_files_are_measured_as_the_definition_says(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluated(folder, "--out", str(folder / "out"), "--threshold", "0.4") == 0
    found = pixels_of(folder / "out")
    said = " ".join(capsys.readouterr().out.split())
    maps = np.load(folder / "maps.npy")[: COUNT - 1]
    files = [folder / "masks" / "a" / ("0.jpg.png" if not k else f"{k}.png") for k in range(COUNT - 1)]
    masks = np.stack([resized_slowly(np.asarray(Image.open(file))) for file in files])
    assert found["pxap"] == pytest.approx(pxap_slowly(maps, masks), abs=1e-9)
    ious, best = [], np.zeros(1001)
    for cam, mask in zip(maps[:-1], masks[:-1], strict=True):
        x, known, truth = reference.normalise(reference.upsample(cam, mask.shape)), mask != 128, mask == 255
        of_levels = [((x >= k * 0.001) & known) for k in range(1001)]
        curve = np.array([(kept & truth).sum() / (kept | truth).sum() for kept in of_levels])
        ious.append(curve[400])
        best += curve / (COUNT - 2)
    assert found["iou"]["mean"] == pytest.approx(100 * np.mean(ious))
    assert found["iou"]["best"] == pytest.approx(100 * best.max())
    assert found["iou"]["threshold"] == 0.4
    assert (found["images"], found["images_with_object"]) == (COUNT - 1, COUNT - 2)
    share = (masks == 255).sum() / (masks != 128).sum()
    (whole,) = json.loads((folder / "out" / "report.json").read_text())["masks"]["baselines"]
    assert whole["pxap"] == pytest.approx(100 * share)
    assert found["intervals"]["pxap"][0] <= found["pxap"] <= found["intervals"]["pxap"][1]
    assert f"pixels of {COUNT - 1} masks" in said
    assert f"{found['pxap']:.2f} ±" in said
    assert "Left out: 1 image has no mask, 1 mask has no object, so no IoU." in said
    rows = ImageRows.read(folder / "out" / "report-maps.csv")
    assert rows.mask_ious is not None
    np.testing.assert_allclose(rows.mask_ious[: COUNT - 2], ious)
    assert np.isnan(rows.mask_ious[COUNT - 2 :]).all()


def test_a_perfect_map_has_all_of_the_area_and_a_constant_one_the_share_of_the_object(folder: Path) -> None:
    truths = Truths(
        np.array([50], np.int32), np.array([40], np.int32), np.zeros((0, 4), np.float32), np.zeros(2, np.int64)
    )
    images = EvaluatedImages(["a/0.jpg"], truths, None, None, [])
    masks = find_masks(folder / "masks", images.names, truths)
    perfect = (masks.read(np.array([0])) == 255).astype(np.float32)

    def measured(maps: NetworkMaps, threshold: float) -> tuple[dict, dict]:
        found = measure_pixels({"maps": maps}, {"maps": threshold}, images, masks, fixed_masks(None), wsoleval=False)
        return found.of_localizer["maps"].numbers, found.baselines[0]

    numbers, _ = measured(NetworkMaps(perfect, 224), 0.5)
    assert (numbers["pxap"], numbers["iou"]["mean"]) == (100, 100)
    found, whole = measured(NetworkMaps(np.full((1, 7, 7), 0.3, np.float32), 224, "own"), 0.2)
    assert found["pxap"] == pytest.approx(whole["pxap"])
    assert found["iou"]["mean"] == pytest.approx(whole["iou"])


def published_pxap(maps: NDArray, masks: NDArray) -> float:
    """As the benchmark's evaluator has it: maps enlarged by OpenCV, pixels counted in bins of thresholds."""
    edges = np.append(np.arange(0, 1, 0.001), [1.0, 2.0, 3.0])
    true, false = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    for cam, mask in zip(maps, masks, strict=True):
        x = cv2.resize(cam.astype(np.float64), (PIXEL_SIDE, PIXEL_SIDE), interpolation=cv2.INTER_CUBIC)
        x = (x - x.min()) / (x.max() - x.min()) if x.max() > x.min() else np.zeros_like(x)
        true += np.histogram(x[mask == 255], edges)[0]
        false += np.histogram(x[mask == 0], edges)[0]
    kept_true, kept_false = true[::-1].cumsum(), false[::-1].cumsum()
    with np.errstate(invalid="ignore"):
        precision, recall = kept_true / (kept_true + kept_false), kept_true / true.sum()
    return 100 * float(np.nansum(precision[1:] * np.diff(recall)))


def test_with_wsoleval_pxap_is_the_benchmarks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of maps and masks of any size."""
    assert evaluated(folder, "--wsoleval", "--out", str(folder / "published")) == 0
    assert "PxAP, wsoleval" in " ".join(capsys.readouterr().out.split())
    pixels = pixels_of(folder / "published")
    images = read_annotations(folder / "boxes.csv")
    masks = find_masks(folder / "masks", images.names, images.truths)
    maps = ScoreMaps(folder / "maps.npy", images, folder / "boxes.csv")
    own = np.stack([maps.read(row) for row in masks.rows.tolist()])
    expected = published_pxap(own, masks.read(masks.rows))
    assert pixels["pxap_wsoleval"] == pytest.approx(expected, abs=1e-4)
    assert pixels["pxap_wsoleval"] != pytest.approx(pixels["pxap"], abs=1e-3)


def test_no_pixel_of_an_object_has_no_area() -> None:
    assert np.isnan(pxap(np.zeros(1001), np.ones(1001)))
    assert pxap(np.ones((2, 1001)), np.zeros((2, 1001))).tolist() == [100, 100]


def spoil(what: str, folder: Path) -> None:
    file = folder / "masks" / "a" / "1.png"
    match what:
        case "size":
            Image.new("L", (31, 60)).save(file)
        case "mode":
            Image.new("RGB", (30, 60)).save(file)
        case "value":
            Image.new("L", (30, 60), 1).save(file)
        case "no PNG":
            file.write_bytes(b"\xff\xd8\xff")
        case "shared":
            (folder / "boxes.csv").write_text((folder / "boxes.csv").read_text() + "a/1.png,30,60,,,,\n")
            np.save(folder / "maps.npy", np.random.default_rng(0).random((COUNT + 1, 7, 7)))
        case "none":
            (folder / "masks").rename(folder / "others")
            (folder / "masks").mkdir()
        case "nothing":
            for each in (folder / "masks" / "a").iterdir():
                with Image.open(each) as opened:
                    empty = Image.new("L", opened.size)
                empty.save(each)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("size", "a/1.png: has 31x60 pixels, its image 30x60"),
        ("mode", "a/1.png: is a PNG of mode RGB; save it as PNG of 8 bits grey"),
        ("value", "a/1.png: has a pixel of 1; save it"),
        ("no PNG", "a/1.png: cannot be read as a mask"),
        ("shared", "a/1.png: is the mask of both 'a/1.jpg' and 'a/1.png'"),
        ("none", "none of the images has a mask there, 'a/0.jpg' for one"),
        ("nothing", "no mask has a pixel of an object (255)"),
    ],
)
def test_masks_that_cannot_be_measured_are_told_in_a_line(
    folder: Path, capsys: pytest.CaptureFixture[str], what: str, said: str
) -> None:
    spoil(what, folder)
    assert evaluated(folder, "--out", str(folder / "out")) == 2
    err = capsys.readouterr().err
    told = [line for line in err.splitlines() if not line.startswith("compiling kernels")]
    assert len(told) == 1
    assert said in told[0]
    assert not (folder / "out").exists()


def test_masks_go_with_maps(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(evaluate.main, ["run", "--masks", str(folder)]) == 2
    assert "--masks: goes with --maps" in capsys.readouterr().err


def test_a_map_on_its_own_scale_has_the_benchmarks_area_and_its_own_best_iou() -> None:
    """The area is of maps that are scaled each by its extremes, the best IoU of maps as they are cut."""
    random = np.random.default_rng(0)
    maps = random.random((2, 9, 9)).astype(np.float32) * np.array([[[1.0]], [[0.4]]], np.float32)
    masks = np.zeros((2, PIXEL_SIDE, PIXEL_SIDE), np.uint8)
    masks[:, 40:120, 30:150] = 255
    counter = _Counter("own", 0.3, 2, wsoleval=False)
    counter.add(np.arange(2), maps, masks)
    found = counter.measured(None, []).numbers
    for scale, key in (("min-max", "pxap"), ("own", "pxap_on_own_scale")):
        histograms = kernels.pixel_histograms(maps, masks, scale)
        assert found[key] == pytest.approx(float(pxap(*(each.sum(0) for each in histograms))))
    assert found["pxap"] != found["pxap_on_own_scale"]
    means = []
    for k in range(1000):
        counts = kernels.pixel_counts(maps, masks, k * 0.001, "own")
        means.append(100 * (counts[:, 0] / counts.sum(1)).mean())
    assert found["iou"]["best"] == pytest.approx(max(means))
    assert found["iou"]["best_threshold"] == pytest.approx(np.argmax(means) * 0.001)


def test_the_same_masks_of_other_images_have_another_digest() -> None:
    assert digest_of_masks({0: b"one", 1: b"other"}) != digest_of_masks({0: b"one", 2: b"other"})
    assert digest_of_masks({0: b"one", 1: b"other"}) == digest_of_masks({1: b"other", 0: b"one"})


def test_other_masks_of_the_same_images_have_another_digest(folder: Path) -> None:
    truths = Truths(
        np.array([50], np.int32), np.array([40], np.int32), np.zeros((0, 4), np.float32), np.zeros(2, np.int64)
    )
    images = EvaluatedImages(["a/0.jpg"], truths, None, None, [])
    masks = find_masks(folder / "masks", images.names, truths)

    class Turned:
        rows = masks.rows

        def read(self, rows):
            return masks.read(rows)[:, ::-1].copy()

    maps = {"maps": NetworkMaps(np.eye(7, dtype=np.float32)[None], 224)}
    first, second = (
        measure_pixels(maps, {"maps": 0.5}, images, each, fixed_masks(None), wsoleval=False).digest
        for each in (masks, Turned())
    )
    assert first != second


def fixed_numbers(region: NDArray, *masks: NDArray) -> tuple[float, float]:
    counts = FixedCounts([FixedMask("best-box", region, "here")])
    counts.add(np.stack(masks))
    (found,) = counts.numbers()
    return found["pxap"], found["iou"]


def test_a_fixed_mask_is_measured_on_objects_and_on_what_is_not_left_out() -> None:
    whole, half = np.ones((PIXEL_SIDE, PIXEL_SIDE), bool), np.zeros((PIXEL_SIDE, PIXEL_SIDE), bool)
    half[:, : PIXEL_SIDE // 2] = True
    full, empty, ignored = (np.full((PIXEL_SIDE, PIXEL_SIDE), value, np.uint8) for value in (255, 0, 128))
    assert fixed_numbers(whole, full, empty)[1] == 100, "an image without an object has no IoU"
    mask = np.where(half, np.uint8(255), np.uint8(0))
    mask[: PIXEL_SIDE // 2] = 128
    quarter = half & (np.arange(PIXEL_SIDE)[None] < PIXEL_SIDE // 4)
    # All of what is kept is the object's, half of it; half of the known pixels are the object's.
    assert fixed_numbers(quarter, mask) == (pytest.approx(100 * (0.5 + 0.5 * 0.5)), pytest.approx(50))
    mask = np.where(half, np.uint8(128), np.uint8(255))
    assert np.isfinite(fixed_numbers(half, mask)).all(), "nothing of the region is known"
    assert ignored.any()
