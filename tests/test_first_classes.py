"""The first classes of packed shards are what packing them alone would give."""

import shutil

import numpy as np
import pytest

from fastwsol.dataset.first_classes import folder_of_first_classes, with_first_classes
from fastwsol.dataset.packer import pack
from fastwsol.dataset.shards import open_shards
from fastwsol.host.errors import UserError
from fastwsol.sources.synthetic import Synthetic
from fastwsol.sources.tiny_imagenet import TinyImageNet


@pytest.fixture
def shards(tmp_path, good_layout):
    pack(TinyImageNet(good_layout), tmp_path / "shards")
    return tmp_path / "shards"


def test_they_are_what_packing_them_alone_gives(tmp_path, shards, good_layout):
    pack(TinyImageNet(good_layout, class_count=2), tmp_path / "alone")
    found, alone = open_shards(with_first_classes(shards, 2)), open_shards(tmp_path / "alone")
    assert found.manifest.classes == alone.manifest.classes
    assert found.manifest.statistics == alone.manifest.statistics
    for name, split in alone.splits.items():
        ours, rows = found.splits[name], range(len(split))
        assert ours.names(rows) == split.names(rows)
        assert [ours.image(row) for row in rows] == [split.image(row) for row in rows]
        for part in ("labels", "boxes", "box_offsets", "widths", "heights"):
            np.testing.assert_array_equal(getattr(ours, part), getattr(split, part))


def test_what_is_packed_already_is_taken_as_it_is(shards):
    folder = with_first_classes(shards, 1)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert with_first_classes(shards, 1) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_all_classes_are_the_shards_themselves(shards):
    assert with_first_classes(shards, 3) == shards


@pytest.mark.parametrize("count", [0, 4])
def test_a_number_of_classes_that_there_is_not_is_told(shards, count):
    with pytest.raises(UserError, match="choose 1 to 3"):
        with_first_classes(shards, count)
    assert list(shards.parent.glob("*-first-*")) == []


def test_another_data_set_in_its_place_is_told(shards):
    shutil.copytree(shards, folder_of_first_classes(shards, 2))
    with pytest.raises(UserError, match="holds another data set"):
        with_first_classes(shards, 2)


def test_of_shards_that_were_packed_anew_the_first_classes_are_packed_anew_too(tmp_path):
    """The same name and classes, other images."""
    rows = []
    for seed in (1, 2):
        shutil.rmtree(tmp_path / "shards", ignore_errors=True)
        pack(Synthetic(class_count=3, train_count=4, val_count=2, seed=seed), tmp_path / "shards")
        whole = open_shards(tmp_path / "shards").splits["train"]
        ours = open_shards(with_first_classes(tmp_path / "shards", 2)).splits["train"]
        assert [ours.image(row) for row in range(8)] == [whole.image(row) for row in range(8)]
        rows.append(ours.image(0))
    assert rows[0] != rows[1]
