"""A source of a user's own: what is wrong with it is told by its place, and nothing of it is packed."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastwsol.dataset.packer import pack
from fastwsol.dataset.shards import MANIFEST_NAME, open_shards
from fastwsol.host.errors import UserError
from fastwsol.sources import Record
from fastwsol.sources.synthetic import Synthetic


class Odd(Synthetic):
    """The synthetic set, of whose training images the fourth is another."""

    def __init__(self, change: Callable[[Record], Any] = lambda record: record) -> None:
        super().__init__(class_count=2, train_count=3, val_count=1)
        self._change = change

    def records(self, split: str, start: int = 0) -> Iterator[Any]:
        for index, record in enumerate(super().records(split, start), start):
            yield self._change(record) if (split, index) == ("train", 3) else record


def test_a_source_as_it_must_be_is_packed_and_its_folder_may_be_text(tmp_path: Path) -> None:
    pack(Odd(), str(tmp_path / "shards"))
    assert len(open_shards(tmp_path / "shards").splits["train"]) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": 0}, "its label is 0, and labels() has 1"),
        ({"label": 7}, "its label is 7"),
        ({"name": "train/synthetic-0/00001.jpg"}, "an image before it has this name too"),
        ({"image": np.zeros((8, 8, 3), np.uint8)}, "its image is a ndarray, not the bytes of an encoded file"),
        ({"boxes": [[0, 0, 5, 5]]}, "its boxes are list, not float32 [k, 4]"),
        ({"boxes": None}, "its boxes are NoneType"),
        ({"boxes": np.zeros((1, 4))}, "its boxes are float64 [1, 4]"),
        ({"boxes": np.zeros(4, np.float32)}, "its boxes are float32 [4]"),
        ({"box_labels": np.zeros(3, np.int64)}, "its box_labels have shape (3,), and there are 1 boxes"),
        ({"difficult": np.zeros(0, np.bool_)}, "its difficult have shape (0,)"),
        ({"box_labels": np.array([2])}, "its box_labels are not from 0 to 1, the labels of the classes"),
        ({"box_labels": np.array([0.5])}, "its box_labels are not from 0 to 1"),
        ({"name": 7}, "its name is no text"),
        ({"mask": np.zeros((64, 64), np.uint8)}, "its mask is a ndarray, not the bytes of a PNG"),
    ],
)
@pytest.mark.parametrize("quarantine", [False, True])
def test_a_record_that_is_none_is_told_by_its_place(
    changes: dict[str, Any], message: str, quarantine: bool, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as refused:
        pack(Odd(lambda record: replace(record, **changes)), tmp_path / "shards", quarantine=quarantine)
    assert message in str(refused.value)
    assert "draw_scene(0, 'train', 1, 0)" in str(refused.value)
    assert not (tmp_path / "shards" / MANIFEST_NAME).exists()


def test_what_is_no_record_is_told_by_its_number(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="image 3 of 'train' is a bytes; give a Record or a Fault"):
        pack(Odd(lambda record: record.image), tmp_path / "shards")


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"splits": ("val",)}, "has no split 'train'"),
        ({"labels": lambda _: np.full(6, 2)}, "labels of 'train' go from 2 to 2, and those of its classes from 0"),
        (
            {"labels": lambda _: np.arange(2)},
            "labels of 'train' are no NumPy array of whole numbers, one for each of 6",
        ),
        ({"labels": lambda _: [0, 0, 0, 1, 1, 1]}, "labels of 'train' are no NumPy array"),
        ({"labels": lambda _: np.empty(0, np.int64)}, "labels of 'train' are no NumPy array"),
        ({"labels": lambda split: np.zeros(6 if split == "train" else 2, int)}, "class synthetic-1 has no images"),
        ({"count": lambda split: 6 * (split == "train")}, "split 'val' has no images"),
    ],
)
def test_a_source_that_cannot_be_packed_is_refused_first(
    attributes: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Odd()
    for name, value in attributes.items():
        monkeypatch.setattr(source, name, value, raising=True)
    with pytest.raises(UserError) as refused:
        pack(source, tmp_path / "shards")
    assert message in str(refused.value)
    assert not (tmp_path / "shards").exists()


@pytest.mark.parametrize(("counted", "said"), [(5, "gives more records of 'train' than the 5"), (7, "gives 6 records")])
def test_as_many_records_must_come_as_are_counted(counted: int, said: str, tmp_path: Path) -> None:
    source = Odd()
    records = {split: [*source.records(split)] for split in source.splits}
    labels = np.array([0, 0, 0, 1, 1, 1, 1][:counted])
    source.records = lambda split, start=0: iter(records[split][start:])  # type: ignore[method-assign]
    source.count = lambda split: counted if split == "train" else 2  # type: ignore[method-assign]
    source.labels = lambda split: labels if split == "train" else np.arange(2)  # type: ignore[method-assign]
    with pytest.raises(UserError, match=said):
        pack(source, tmp_path / "shards")


def test_two_classes_of_one_wnid_are_refused(tmp_path: Path) -> None:
    source = Odd()
    source.classes = (source.classes[0], replace(source.classes[1], wnid="synthetic-0"))
    with pytest.raises(UserError, match="two classes have the wnid 'synthetic-0'"):
        pack(source, tmp_path / "shards")
