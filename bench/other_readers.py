"""Whether other tools open what is written here, and find the same in it.

In an environment of its own, which holds `supervision datumaro label-studio-sdk pycocotools matplotlib` and not
fastwsol (some of them pin packages that fastwsol has newer), and one with `ultralytics` and the CPU build of torch:

    python -m fastwsol.predict RUN IMAGES --out DIR/coco.json           # boxes and masks
    for form in coco-polygons label-studio yolo yolo-segments voc; do
        python -m fastwsol.convert DIR/coco.json --format $form --out DIR/$form --images IMAGES
    done                                                                # --images for yolo and voc
    python bench/other_readers.py DIR --out readers.json
    python bench/other_readers.py DIR --ultralytics --out ultralytics.json

Each line compares with coco.json, read as plain JSON: images, objects, classes by name, the largest distance of a box's
edge in pixels, and the least IoU of a mask.
"""

import argparse
import importlib.metadata
import json
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Found(NamedTuple):
    """An object as a reader gives it: the name of its class, its box x0, y0, x1, y1 in pixels, its mask [H, W]."""

    name: str
    box: np.ndarray
    mask: np.ndarray | None


Sets = dict[str, list[Found]]
"""Objects by the path of their image."""


def truth(folder: Path) -> Sets:
    from pycocotools import mask

    content = json.loads((folder / "coco.json").read_text())
    names = {each["id"]: each["name"] for each in content["categories"]}
    files = {each["id"]: each["file_name"] for each in content["images"]}
    found: Sets = {name: [] for name in files.values()}
    for each in content["annotations"]:
        x, y, width, height = each["bbox"]
        box = np.array([x, y, x + width, y + height])
        pixels = mask.decode(each["segmentation"]).astype(bool)
        found[files[each["image_id"]]].append(Found(names[each["category_id"]], box, pixels))
    return found


def by_pycocotools(folder: Path, form: str) -> Sets:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot
    from pycocotools.coco import COCO

    coco = COCO(folder / f"{form}.json" if form == "coco" else folder / form)
    names = {each["id"]: each["name"] for each in coco.loadCats(coco.getCatIds())}
    found: Sets = {}
    for image in coco.loadImgs(coco.getImgIds()):
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        found[image["file_name"]] = [
            Found(names[each["category_id"]], _edges(each["bbox"]), coco.annToMask(each).astype(bool))
            for each in annotations
        ]
    pyplot.imshow(np.zeros((500, 500, 3)))
    coco.showAnns(annotations, draw_bbox=True)
    assert pyplot.gca().collections, "showAnns has drawn nothing"
    return found


def _edges(box: Any) -> np.ndarray:
    x, y, width, height = box
    return np.array([x, y, x + width, y + height])


def by_supervision_coco(folder: Path, form: str, images: Path) -> Sets:
    import supervision

    path = folder / "coco.json" if form == "coco" else folder / form
    return _of_supervision(supervision.DetectionDataset.from_coco(str(images), str(path), force_masks=True), images)


def by_supervision_yolo(folder: Path, form: str) -> Sets:
    import supervision

    # It looks for images directly in their folder: the tree is read folder by folder.
    found: Sets = {}
    root = folder / form / "images"
    for inner in sorted({path.parent for path in root.rglob("*") if path.is_file()}):
        labels = folder / form / "labels" / inner.relative_to(root)
        data = supervision.DetectionDataset.from_yolo(
            str(inner), str(labels), str(folder / form / "data.yaml"), force_masks=form == "yolo-segments"
        )
        found |= _of_supervision(data, root)
    return found


def by_supervision_voc(folder: Path, form: str) -> Sets:
    import supervision

    found: Sets = {}
    root = folder / form / "JPEGImages"
    for inner in sorted({path.parent for path in root.rglob("*") if path.is_file()}):
        notes = folder / form / "Annotations" / inner.relative_to(root)
        found |= _of_supervision(supervision.DetectionDataset.from_pascal_voc(str(inner), str(notes)), root)
    return found


def _of_supervision(data: Any, root: Path) -> Sets:
    found: Sets = {}
    for path, _, detections in data:
        masks = detections.mask if detections.mask is not None else [None] * len(detections)
        found[str(Path(path).relative_to(root))] = [
            Found(data.classes[int(label)], np.asarray(box), None if mask is None else np.asarray(mask).astype(bool))
            for label, box, mask in zip(detections.class_id, detections.xyxy, masks, strict=True)
        ]
    return found


def by_datumaro(folder: Path, form: str, images: Path) -> Sets:
    from datumaro.components.annotation import AnnotationType
    from datumaro.components.dataset import Dataset

    if form in ("coco", "coco-polygons"):
        import shutil
        import tempfile

        root = Path(tempfile.mkdtemp())
        (root / "annotations").mkdir()
        shutil.copy(folder / "coco.json" if form == "coco" else folder / form, root / "annotations/instances_val.json")
        (root / "images").mkdir()
        (root / "images" / "val").symlink_to(images.resolve())
        data = Dataset.import_from(str(root), "coco_instances")
    else:
        data = Dataset.import_from(
            str(folder / form.removesuffix("-masks")),
            {"voc": "voc_detection", "yolo": "yolo", "voc-masks": "voc_instance_segmentation"}[form],
        )
    categories = data.categories()[AnnotationType.label]
    found: Sets = {}
    for item in data:
        height, width = item.media.size
        parts: dict[int, list[Any]] = defaultdict(list)  # an object's box and masks are a group
        for each in item.annotations:
            if form != "voc-masks" or each.type is AnnotationType.mask:
                parts[each.group].append(each)
        objects = []
        for group in parts.values():
            masks = [each.image.astype(bool) for each in group if each.type is AnnotationType.mask]
            masks += [_filled(each.points, width, height) for each in group if each.type is AnnotationType.polygon]
            boxes = [_edges(each.get_bbox()) for each in group if each.type is AnnotationType.bbox]
            box = boxes[0] if boxes else _edges(group[0].get_bbox())
            objects.append(Found(categories[group[0].label].name, box, np.logical_or.reduce(masks) if masks else None))
        found[f"{item.subset}/{item.id}" if form == "yolo" else item.id] = objects  # it takes folders for splits
    return found


def _filled(points: Any, width: int, height: int) -> np.ndarray:
    from pycocotools import mask

    return mask.decode(mask.frPyObjects([[*map(float, points)]], height, width))[..., 0].astype(bool)


def by_label_studio(folder: Path, form: str) -> Sets:
    """Checked against the SDK's own model of tasks, and brush strokes decoded by its converter."""
    from label_studio_sdk.converter import brush
    from label_studio_sdk.label_interface import LabelInterface

    tasks = json.loads((folder / form).read_text())
    labels = {each["value"][each["type"]][0] for task in tasks for each in task["predictions"][0]["result"]}

    def choices(tag: str) -> str:
        return "".join(f'<{tag} value="{name}"/>' for name in sorted(labels))

    config = (
        '<View><Image name="image" value="$image"/>'
        f'<RectangleLabels name="label" toName="image">{choices("Label")}</RectangleLabels>'
        f'<PolygonLabels name="polygon" toName="image">{choices("Label")}</PolygonLabels>'
        f'<BrushLabels name="brush" toName="image">{choices("Label")}</BrushLabels></View>'
    )
    interface = LabelInterface(config)
    found: Sets = {}
    for task in tasks:
        for prediction in task["predictions"]:
            assert not interface.validate_prediction(prediction, return_errors=True), "no errors"
        objects = []
        result = task["predictions"][0]["result"]
        for each in result:
            if each["type"] != "rectanglelabels":
                continue
            width, height, value = each["original_width"], each["original_height"], each["value"]
            scale = np.array([width, height, width, height]) / 100
            box = _edges([value[key] for key in ("x", "y", "width", "height")]) * scale
            number = each["id"].removeprefix("box")
            (stroke,) = (other for other in result if other["id"] == f"brush{number}")
            pixels = brush.decode_rle(stroke["value"]["rle"]).reshape(height, width, 4)[..., 3] > 0
            objects.append(Found(value["rectanglelabels"][0], box, pixels))
        found[task["data"]["image"].partition("?d=")[2]] = objects
    return found


def compare(found: Sets, expected: Sets, without_ending: bool = False) -> dict[str, Any]:
    """The line of a reader."""
    if without_ending:
        expected = {str(Path(name).with_suffix("")): objects for name, objects in expected.items()}
    found = {name: objects for name, objects in found.items() if name in expected}
    by_image = [(found[name], expected[name]) for name in expected if name in found]
    pairs = [(one, other) for ours, theirs in by_image for one, other in zip(ours, theirs, strict=False)]
    ious = [
        (one.mask & other.mask).sum() / (one.mask | other.mask).sum()
        for one, other in pairs
        if one.mask is not None and other.mask is not None
    ]
    return {
        "images": f"{len(found)} of {len(expected)}",
        "objects": f"{sum(map(len, found.values()))} of {sum(map(len, expected.values()))}",
        "classes equal": all(one.name == other.name for one, other in pairs),
        "edges at most apart (pixels)": round(max(float(np.abs(one.box - other.box).max()) for one, other in pairs), 4),
        "least IoU of masks": round(float(min(ious)), 4) if ious else None,
    }


def train_with_ultralytics(folder: Path) -> dict[str, Any]:
    """An epoch of each kind of network, from its description, on what was written."""
    from ultralytics import YOLO

    lines: dict[str, Any] = {}
    for form, model in (("yolo", "yolo11n.yaml"), ("yolo-segments", "yolo11n-seg.yaml")):
        data = folder / form / "data.yaml"
        trainer = YOLO(model)
        trainer.train(
            data=str(data.resolve()),
            epochs=1,
            imgsz=64,
            batch=16,
            workers=0,
            amp=False,
            device="cpu",
            plots=False,
            val=False,
            project=str((folder / "ultralytics").resolve()),
            exist_ok=True,
            verbose=False,
        )
        loaded = trainer.trainer.train_loader.dataset
        lines[form] = {
            "images": len(loaded.labels),
            "objects": int(sum(len(each["cls"]) for each in loaded.labels)),
            "segments": int(sum(len(each["segments"]) for each in loaded.labels)),
            "classes": len(trainer.trainer.data["names"]),
            "losses": {name: round(float(value), 3) for name, value in trainer.trainer.tloss.items()},
        }
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--images", type=Path, help="the images that were predicted")
    parser.add_argument("--ultralytics", action="store_true", help="train an epoch with it, and nothing else")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    flags = parser.parse_args()
    if flags.ultralytics:
        lines: dict[str, Any] = train_with_ultralytics(flags.folder)
        packages = ["ultralytics", "torch"]
    else:
        expected, images = truth(flags.folder), flags.images
        readers: dict[str, Callable[[], Sets]] = {
            "pycocotools, coco": lambda: by_pycocotools(flags.folder, "coco"),
            "pycocotools, coco-polygons": lambda: by_pycocotools(flags.folder, "coco-polygons"),
            "supervision, coco": lambda: by_supervision_coco(flags.folder, "coco", images),
            "supervision, coco-polygons": lambda: by_supervision_coco(flags.folder, "coco-polygons", images),
            "supervision, yolo": lambda: by_supervision_yolo(flags.folder, "yolo"),
            "supervision, yolo-segments": lambda: by_supervision_yolo(flags.folder, "yolo-segments"),
            "supervision, voc": lambda: by_supervision_voc(flags.folder, "voc"),
            "datumaro, coco": lambda: by_datumaro(flags.folder, "coco", images),
            "datumaro, coco-polygons": lambda: by_datumaro(flags.folder, "coco-polygons", images),
            "datumaro, voc": lambda: by_datumaro(flags.folder, "voc", images),
            "datumaro, voc (instances)": lambda: by_datumaro(flags.folder, "voc-masks", images),
            "datumaro, yolo": lambda: by_datumaro(flags.folder, "yolo", images),
            "label-studio-sdk": lambda: by_label_studio(flags.folder, "label-studio"),
        }
        lines = defaultdict(dict)
        for name, read in readers.items():
            try:
                lines[name] = compare(read(), expected, name.startswith("datumaro"))
            except Exception as error:
                lines[name] = {"failed": f"{type(error).__name__}: {error}"[:400]}
            print(name, lines[name], file=sys.stderr)
        packages = ["pycocotools", "supervision", "datumaro", "label-studio-sdk"]
    versions = {name: importlib.metadata.version(name) for name in packages}
    command = " ".join(["python bench/other_readers.py DIR", *(["--ultralytics"] if flags.ultralytics else [])])
    flags.out.write_text(json.dumps({"command": command, "versions": versions, "readers": lines}, indent=2) + "\n")
    print(json.dumps(lines, indent=2))


if __name__ == "__main__":
    main()
