"""How many objects are found where there are two, one, or none? Composites of a set's own photographs.

    python bench/several_objects.py --run RUN --split val --out FILE

RUN is a finished run with a mask head, on shards with boxes. Four kinds of images are made of the split's: two
photographs of different classes side by side, two of one class, each photograph alone, and a part of a photograph that
no box reaches, stretched to the photograph's size: nothing is in it. `predict --boxes all` looks at them. A box finds
an object at IoU .5, each object once, boxes of higher scores first; the other boxes are invented. Boxes of the split
make the composites and judge; none of them enters the predictions. --specks tries other shares below which a component
is no object of its own, --gaps joins boxes of one class that are nearer to each other than a share of the image's side.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastwsol.dataset.shards import Split, open_shards
from fastwsol.host.command_line import parse_flags, run_command
from fastwsol.host.environment import environment
from fastwsol.host.files import write_json
from fastwsol.host.places import require_new
from fastwsol.prediction import components
from fastwsol.prediction.predictions import Prediction
from fastwsol.prediction.predictor import Predictor
from fastwsol.sources.decode import decode

HEIGHT = 256
"""Pixels. Of a composite of two."""
LEAST_EMPTY = 0.2
"""The share of a photograph that a part without a box has to have."""
SCORES = (0.0, 0.2, 0.3, 0.4, 0.5, 0.7)
"""Scores below which boxes are left out."""


@dataclass(frozen=True)
class Flags:
    """The command line."""

    run: Path
    """folder of a finished run with a mask head"""
    out: Path
    """JSON file to write; one that is there is not replaced"""
    shards: Path | None = None
    """folder that pack.py wrote; default: the one the run was trained on"""
    split: str = "val"
    """the images that composites are made of"""
    specks: tuple[float, ...] = (components.SPECK,)
    """shares of the largest component's pixels below which another is left out"""
    gaps: tuple[float, ...] = ()
    """shares of the image's longer side; boxes of one class that are no farther apart become one"""
    seed: int = 0
    """of the pairs"""


class Scene(NamedTuple):
    """An image and what is in it: pixels uint8 [H, W, 3], boxes [k, 4] in them, their classes [k]."""

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]


def main(arguments: Sequence[str]) -> int:
    """Make the composites, predict, print a line a kind, and write the file."""
    flags = parse_flags(Flags, arguments, "bench/several_objects.py", "Objects found, missed and invented.")
    require_new("--out", flags.out)
    predictor = Predictor.of_run(flags.run)
    split = open_shards(flags.shards or predictor.info.shards).splits[flags.split]
    kinds, images = scenes_of(split, flags.seed), {}
    found: dict[str, Any] = {}
    default = components.least_score_of_objects(len(predictor.info.classes))
    scores = sorted({*SCORES, default})
    for speck in flags.specks:
        components.SPECK = speck
        for kind, scenes in kinds.items():
            images[kind] = len(scenes)
            every = predictor.predict([scene.pixels for scene in scenes], boxes="all", least_score=0)
            found[f"{kind}, specks {speck:g}"] = {
                f"{least:g}": counted(scenes, every, least, predictor.info.classes) for least in scores
            }
            for gap in flags.gaps:
                joined = [joined_boxes(each, gap, default) for each in every]
                counts = counted(scenes, joined, default, predictor.info.classes)
                found[f"{kind}, specks {speck:g}, joined within {gap:g}"] = {f"{default:g}": counts}
    for kind, scenes in kinds.items():
        largest = predictor.predict([scene.pixels for scene in scenes])
        found[f"{kind}, largest alone"] = {"0": counted(scenes, largest, 0.0, predictor.info.classes)}
    for kind, of_scores in found.items():
        for least, each in of_scores.items():
            said = ", ".join(f"{number} {what}" for what, number in each.items())
            print(f"{kind}, scores from {least}: {said}")
    about = {"run": flags.run.name, "split": flags.split, "seed": flags.seed, "images": images, "least_score": default}
    write_json(flags.out, about | {"kinds": found, **environment()})
    return 0


def scenes_of(split: Split, seed: int) -> dict[str, list[Scene]]:
    """The composites, by kind. Images without a box are in none."""
    rng, singles = np.random.default_rng(seed), []
    for row in range(len(split)):
        boxes = split.boxes[split.box_offsets[row] : split.box_offsets[row + 1]].astype(np.float64)
        if len(boxes):
            labels = np.full(len(boxes), split.labels[row])
            singles.append(Scene(decode(split.image(row)), boxes, labels))
    order = rng.permutation(len(singles)).tolist()
    different: list[Scene] = []
    same: list[Scene] = []
    for k, first in enumerate(order):
        label = singles[first].labels[0]
        for pairs, alike in ((different, False), (same, True)):
            others = order[k + 1 :] + order[:k]  # the next in turn, so that no photograph stands in many pairs
            second = next((each for each in others if (singles[each].labels[0] == label) == alike), None)
            if second is not None:
                pairs.append(side_by_side(singles[first], singles[second]))
    empty = [scene for each in singles if (scene := without_object(each)) is not None]
    return {"two classes": different, "one class twice": same, "one object": singles, "nothing": empty}


def side_by_side(left: Scene, right: Scene) -> Scene:
    """Two photographs at one height, the one beside the other."""
    pictures, boxes, x = [], [], 0
    for scene in (left, right):
        height, width, _ = scene.pixels.shape
        new_width = max(1, round(width * HEIGHT / height))
        pictures.append(np.asarray(Image.fromarray(scene.pixels).resize((new_width, HEIGHT), Image.Resampling.BICUBIC)))
        scale = np.array([new_width / width, HEIGHT / height] * 2)
        boxes.append(scene.boxes * scale + np.array([x, 0, x, 0]))
        x += new_width
    return Scene(np.concatenate(pictures, 1), np.concatenate(boxes), np.concatenate([left.labels, right.labels]))


def without_object(scene: Scene) -> Scene | None:
    """The largest part beside, above or below all boxes, at the photograph's size; None where it is too small."""
    height, width, _ = scene.pixels.shape
    x0, y0 = scene.boxes[:, :2].min(0).clip(0).astype(int)
    x1, y1 = np.ceil(scene.boxes[:, 2:].max(0)).astype(int)
    parts = [scene.pixels[:y0], scene.pixels[y1:], scene.pixels[:, :x0], scene.pixels[:, x1:]]
    part = max(parts, key=lambda each: each.shape[0] * each.shape[1])
    if part.shape[0] * part.shape[1] < LEAST_EMPTY * height * width:
        return None
    pixels = np.asarray(Image.fromarray(part).resize((width, height), Image.Resampling.BICUBIC))
    return Scene(pixels, np.empty((0, 4)), np.empty(0, np.int64))


def joined_boxes(prediction: Prediction, gap: float, least_score: float) -> Prediction:
    """The same with boxes of one class joined, as often as two are near: the smallest box around both, at the higher
    score.
    """
    boxes = [box for box in prediction.boxes if box.score >= least_score]
    most = gap * max(prediction.width, prediction.height)
    k = 0
    while k < len(boxes):
        one = boxes[k]
        near = next(
            (
                other
                for other in boxes[k + 1 :]
                if other.wnid == one.wnid
                and max(one.x0, other.x0) - min(one.x1, other.x1) <= most
                and max(one.y0, other.y0) - min(one.y1, other.y1) <= most
            ),
            None,
        )
        if near is None:
            k += 1
            continue
        boxes.remove(near)
        edges = {side: min(getattr(one, side), getattr(near, side)) for side in ("x0", "y0")}
        edges |= {side: max(getattr(one, side), getattr(near, side)) for side in ("x1", "y1")}
        boxes[k] = one._replace(**edges)
        k = 0
    return replace(prediction, boxes=tuple(boxes))


def counted(
    scenes: Sequence[Scene], predictions: Sequence[Prediction], least_score: float, classes: Sequence[str]
) -> dict[str, int]:
    """Objects, those found, those found and named right, those missed, boxes that were invented; and images that were
    all right: every object found and nothing invented.
    """
    totals = dict.fromkeys(("objects", "found", "named right", "missed", "invented", "images all right"), 0)
    for scene, prediction in zip(scenes, predictions, strict=True):
        left, invented = set(range(len(scene.boxes))), 0
        for box in prediction.boxes:
            if box.score < least_score:
                continue
            overlaps = {k: iou((box.x0, box.y0, box.x1, box.y1), scene.boxes[k]) for k in left}
            best = max(overlaps, key=lambda k: overlaps[k], default=None)
            if best is None or overlaps[best] < 0.5:
                invented += 1
                continue
            left.remove(best)
            totals["named right"] += classes[scene.labels[best]] == box.wnid
        totals["objects"] += len(scene.boxes)
        totals["found"] += len(scene.boxes) - len(left)
        totals["missed"] += len(left)
        totals["invented"] += invented
        totals["images all right"] += not left and not invented
    return totals


def iou(one: Sequence[float], other: NDArray[np.float64]) -> float:
    """Of two boxes, half-open."""
    width, height = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    both = max(0.0, width) * max(0.0, height)
    areas = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return float(both / (areas - both))


if __name__ == "__main__":
    sys.exit(run_command(main))
