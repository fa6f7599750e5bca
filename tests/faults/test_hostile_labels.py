"""Promise 7: annotations are read right, or refused in a line that says in which file and where."""

import json
import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastwsol.host.errors import UserError
from fastwsol.sources.boxes_file import read_boxes
from fastwsol.sources.tiny_imagenet import TinyImageNet

from .tally import Tally

PROMISE = "7 hostile labels"
PATHS = ("cat/a.jpg", "cat/b.jpg", "dog/a.jpg")
CLASS_OF = {path: path.partition("/")[0] for path in PATHS}

numbers = st.one_of(
    st.integers(-5, 100).map(str),
    st.floats().map(repr),
    st.sampled_from(["", " ", "1e400", "-0", "0x10", "١٢", "1_0", "NaN", "1,5", '"3"', "9" * 400]),
)
names = st.one_of(st.sampled_from([*PATHS, "a.jpg", "b.jpg", "../x", "\0", "cat/a.jpg "]), st.text(max_size=8))


def fits(full: bool) -> settings:
    return settings(
        max_examples=5000 if full else 150,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def read(text: str, name: str) -> dict[str, list[tuple[float, ...]]] | str:
    """The boxes by path, or the complaint."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            found = read_boxes(file, PATHS, CLASS_OF, ("cat", "dog"))
        except UserError as error:
            return str(error)
        return {path: [tuple(map(float, one.box)) for one in each.boxes] for path, each in found.of_image.items()}


def is_box(values: tuple[str, ...]) -> bool:
    try:
        return all(math.isfinite(float(value)) for value in values)
    except ValueError:
        return False


def is_share(values: tuple[str, ...]) -> bool:
    """Whether a box lies between 0 and 1."""
    return all(0 <= float(value) <= 1 for value in values)


def is_crossed(values: tuple[str, ...]) -> bool:
    """Whether a box ends before it begins."""
    x0, y0, x1, y1 = map(float, values)
    return x1 < x0 or y1 < y0


def test_csv(tally: Tally, full: bool) -> None:
    """Lines of a name and four words; the first that is no box stops the reading, in its line."""
    count = tally.of(PROMISE, "CSV files of boxes")

    @fits(full)
    @given(st.lists(st.tuples(st.sampled_from([*PATHS, "b.jpg"]), st.tuples(*[numbers] * 4)), max_size=6))
    def check(rows: list[tuple[str, tuple[str, ...]]]) -> None:
        rows = [(name, tuple(value.replace(",", ".").replace('"', "").strip() for value in box)) for name, box in rows]
        text = "name,x0,y0,x1,y1\n" + "".join(f"{name},{','.join(box)}\n" for name, box in rows)
        found = read(text, "boxes.csv")
        rows = [(name, box) for name, box in rows if any(box)]
        lines = text.split("\n")
        bad = next((box for _, box in rows if not is_box(box) or is_share(box) or is_crossed(box)), None)
        if bad is not None:
            line = next(k for k, each in enumerate(lines, 1) if each.endswith("," + ",".join(bad)))
            count(text, isinstance(found, str) and f"line {line}" in found)
            return
        wanted: dict[str, list[tuple[float, ...]]] = {}
        for name, box in rows:
            wanted.setdefault(name if "/" in name else f"cat/{name}", []).append(tuple(map(float, box)))
        count(text, found == wanted)

    check()
    assert count.lost == []


@pytest.mark.parametrize("name", ["boxes.csv", "boxes.json"])
def test_any_text(name: str, tally: Tally, full: bool) -> None:
    count = tally.of(PROMISE, "any text as a file of boxes")

    @fits(full)
    @given(st.one_of(st.text(), st.text().map(lambda text: f"name,x0,y0,x1,y1\n{text}"), st.text('{}[]":,0123e-. nul')))
    def check(text: str) -> None:
        found = read(text, name)
        count(text, isinstance(found, dict) or (name in found and "\n" not in found))

    check()
    assert count.lost == []


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from([*PATHS, "", "x", 1, 2])),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)


def test_coco(tally: Tally, full: bool) -> None:
    """COCO's form with anything in its places."""
    count = tally.of(PROMISE, "COCO files with anything in their places")
    images = st.lists(st.fixed_dictionaries({}, optional={"id": json_values, "file_name": json_values}), max_size=3)
    boxes = st.one_of(st.lists(st.integers(0, 50), min_size=4, max_size=4), json_values)
    fields = {"id": json_values, "image_id": st.one_of(st.integers(1, 2), json_values), "bbox": boxes}
    annotations = st.lists(
        st.fixed_dictionaries({}, optional=fields | {"category_id": json_values, "iscrowd": json_values}), max_size=3
    )
    good = st.just([{"id": 1, "file_name": PATHS[0]}, {"id": 2, "file_name": PATHS[1]}])
    content = st.fixed_dictionaries(
        {"images": st.one_of(good, images, json_values), "annotations": st.one_of(annotations, json_values)},
        optional={"categories": st.one_of(st.just([{"id": 1, "name": "cat"}]), json_values)},
    )

    @fits(full)
    @given(content)
    def check(content: object) -> None:
        text = json.dumps(content)
        found = read(text, "boxes.json")
        count(text, isinstance(found, dict) or ("boxes.json" in found and "\n" not in found))

    check()
    assert count.lost == []


def test_tiny_imagenet(layout: Path, tally: Tally, full: bool) -> None:
    """A line of an annotation file in place of a good one."""
    count = tally.of(PROMISE, "lines of Tiny ImageNet's annotations")
    file = layout / "train" / "n01" / "n01_boxes.txt"
    good = file.read_text().splitlines()
    values = st.one_of(st.integers(-5, 70).map(str), numbers)
    lines = st.tuples(st.one_of(st.just("n01_2.JPEG"), names), values, values, values, values)

    @fits(full)
    @given(st.one_of(lines.map("\t".join), st.text()))
    def check(line: str) -> None:
        line = line.replace("\n", " ").replace("\r", " ")
        content = "\n".join([good[0], line, good[2]]) + "\n"
        file.write_bytes(content.encode("utf-8", "surrogatepass"))
        try:
            source = TinyImageNet(layout)
        except UserError as error:
            count(line, "n01" in str(error) and "\n" not in str(error))
            return
        record = next(each for each in source.records("train", 0) if each.name.endswith("n01_2.JPEG"))
        words = line.split("\t")
        if hasattr(record, "boxes"):
            x0, y0, x1, y1 = map(int, words[1:])
            count(line, record.boxes.tolist() == [[x0, y0, x1 + 1, y1 + 1]])
        else:
            count(line, bool(record.reason))

    check()
    assert count.lost == []
