"""A few boxes beside the labels: what they say to the mask head, and that they are named wherever its numbers are."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fastwsol import train
from fastwsol.batches.stream import Stream, training_plan
from fastwsol.config import Augmentation, Config
from fastwsol.dataset.shards import open_shards
from fastwsol.host.command_line import run_command
from fastwsol.host.errors import UserError
from fastwsol.localizer.box_supervision import NO_BOX, box_loss, boxes_of_few, boxes_of_views, plan_with_boxes
from fastwsol.localizer.mask_head import build_mask_head


def masks_of(*regions: tuple[int, int, int, int]) -> torch.Tensor:
    """Masks of 8 x 8 cells: .99 in a region x0, y0, x1, y1, and .01 outside."""
    masks = torch.full((len(regions), 8, 8), 0.01)
    for mask, (x0, y0, x1, y1) in zip(masks, regions, strict=True):
        mask[y0:y1, x0:x1] = 0.99
    return masks


BOX = torch.tensor([[0.25, 0.25, 0.75, 0.5]])


def test_a_mask_that_fills_its_box_costs_least() -> None:
    loss = {
        name: float(box_loss(masks_of(region), BOX, 1.0))
        for name, region in {
            "fills": (2, 2, 6, 4),
            "narrow": (3, 2, 5, 4),
            "wide": (1, 2, 7, 4),
            "elsewhere": (0, 5, 4, 8),
            "whole": (0, 0, 8, 8),
        }.items()
    }
    assert min(loss, key=lambda name: loss[name]) == "fills"
    assert loss["fills"] < 0.1
    assert max(loss, key=lambda name: loss[name]) in ("whole", "elsewhere")


def test_a_cross_that_touches_all_rows_and_columns_is_as_good_as_the_filled_box() -> None:
    """A box does not say that all of it is the object."""
    cross = masks_of((2, 2, 6, 3))
    cross[0, 2:4, 3] = 0.99
    assert float(box_loss(cross, BOX, 1.0)) == pytest.approx(
        float(box_loss(masks_of((2, 2, 6, 4)), BOX, 1.0)), abs=1e-6
    )


def test_images_without_a_box_say_nothing() -> None:
    masks = torch.cat([masks_of((2, 2, 6, 4)), torch.rand(3, 8, 8)]).requires_grad_()
    boxes = torch.cat([BOX, torch.full((3, 4), NO_BOX)])
    loss = box_loss(masks, boxes, 0.25)
    assert float(loss) == pytest.approx(float(box_loss(masks[:1], BOX, 1.0)))
    loss.backward()
    assert masks.grad is not None
    assert (masks.grad[1:] == 0).all()
    assert float(box_loss(masks[1:], boxes[1:], 0.25)) == 0


def test_the_mean_of_several_processes_is_the_loss_of_the_whole_batch() -> None:
    masks, boxes = torch.rand(8, 8, 8), torch.full((8, 4), NO_BOX)
    boxes[3], boxes[4] = BOX, BOX
    parts = [float(box_loss(masks[k : k + 2], boxes[k : k + 2], 0.25)) for k in range(0, 8, 2)]
    assert sum(parts) / 4 == pytest.approx(float(box_loss(masks, boxes, 0.25)))


def test_a_mask_that_is_no_number_makes_a_loss_that_is_none() -> None:
    """torch's own cross-entropy would end the process on a GPU, before a training can say what happened."""
    assert torch.isnan(box_loss(torch.full((2, 4, 4), torch.nan), BOX.expand(2, 4), 1.0))


def test_a_box_between_two_cells_middles_is_the_cell_that_it_lies_in() -> None:
    tiny = torch.tensor([[0.26, 0.26, 0.27, 0.27]])
    inside, outside = (float(box_loss(masks_of(region), tiny, 1.0)) for region in ((2, 2, 3, 3), (5, 5, 6, 6)))
    assert inside < 0.1 < outside


def test_so_many_images_of_each_class_have_their_box_and_more_are_the_same_ones(picture_shards: Path) -> None:
    split = open_shards(picture_shards).splits["train"]
    few, more = (boxes_of_few(split, count, "stretch") for count in (3, 5))
    has_few, has_more = few[:, 0] != NO_BOX, more[:, 0] != NO_BOX
    assert np.bincount(split.labels[has_few]).tolist() == [3, 3]
    assert np.bincount(split.labels[has_more]).tolist() == [5, 5]
    assert not (has_few & ~has_more).any()
    np.testing.assert_array_equal(few[has_few], more[has_few])
    k = int(np.flatnonzero(has_few)[0])
    size = [split.widths[k], split.heights[k]] * 2
    np.testing.assert_allclose(few[k] * size, split.boxes[split.box_offsets[k]], atol=1e-3)
    assert ((few[has_few] >= 0) & (few[has_few] <= 1)).all()


def test_a_mirrored_view_has_its_box_mirrored(picture_shards: Path) -> None:
    shards = open_shards(picture_shards)
    split, boxes = shards.splits["train"], boxes_of_few(shards.splits["train"], 3, "stretch")
    manifest = shards.manifest
    whole = Augmentation("none", flip=True)
    stream = Stream(split, training_plan(7, len(split), 4), 4, whole, 7, manifest.statistics)
    ids, epochs = stream.plans(range(20))
    drawn = boxes_of_views(boxes, stream)(ids, epochs)
    assert drawn.dtype == np.float32
    mirrored, seen = stream.views(ids, epochs).flips.astype(bool), 0
    for k, box in enumerate(drawn.tolist()):
        x0, y0, x1, y1 = boxes[ids[k]].tolist()
        if x0 == NO_BOX:
            assert box == [NO_BOX] * 4
        else:
            assert box == pytest.approx([1 - x1, y0, 1 - x0, y1] if mirrored[k] else [x0, y0, x1, y1])
            seen += 1 + 1000 * mirrored[k]
    assert seen > 3000
    assert seen % 1000 > 6


def test_images_whose_box_a_middle_square_leaves_out_are_not_drawn(picture_shards: Path) -> None:
    split = open_shards(picture_shards).splits["train"]
    wide = split.subset("train", np.arange(len(split)))
    wide.widths = 3 * wide.heights  # so that the square begins behind a height of pixels
    first = int(np.flatnonzero(np.diff(wide.box_offsets) > 0)[0])
    wide.boxes = np.tile(np.float32([0, 0, 10, 10]), (len(wide.boxes), 1))
    with pytest.raises(UserError, match="--boxes-per-class 2: no training image of 2 classes has a box"):
        boxes_of_few(wide, 2, "crop")
    for label in (0, 1):  # one of each class is shown
        k = int(np.flatnonzero((wide.labels == label) & (np.diff(wide.box_offsets) > 0))[-1])
        wide.boxes[wide.box_offsets[k]] = [wide.heights[k], 0, wide.heights[k] + 10, 10]
    drawn = boxes_of_few(wide, 2, "crop")
    assert (drawn[:, 0] != NO_BOX).sum() == 2
    assert drawn[first, 0] == NO_BOX


def test_a_set_without_boxes_of_train_is_refused(synthetic_shards: Path) -> None:
    split = open_shards(synthetic_shards).splits["train"]
    bare = split.subset("train", np.arange(len(split)))
    bare.boxes, bare.box_offsets = np.empty((0, 4), np.float32), np.zeros(len(split) + 1, np.int64)
    with pytest.raises(UserError, match=r"--boxes-per-class 2: no training image of 4 classes has a box; pack the set"):
        boxes_of_few(bare, 2, "stretch")


def test_a_run_without_them_is_the_run_that_it_was() -> None:
    assert Config.of(localizer="mask").digest() == Config.of(localizer="mask", boxes_per_class=0).digest()
    assert Config.of(localizer="mask").digest() != Config.of(localizer="mask", boxes_per_class=1).digest()


def test_a_head_learns_from_boxes_what_they_are_around() -> None:
    """Of features that show an object as a cross in a channel of its own, beside noise."""
    random = torch.Generator().manual_seed(0)
    features, boxes = torch.randn(64, 4, 8, 8, generator=random), torch.empty(64, 4)
    for each, box in zip(features, boxes, strict=True):
        x, y = torch.randint(0, 4, (2,), generator=random).tolist()
        each[3, y : y + 4, x + 1], each[3, y + 2, x : x + 4] = 4.0, 4.0
        box[:] = torch.tensor([x, y, x + 4, y + 4]) / 8
    head = build_mask_head(4, seed=0)
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.01)
    for step in range(120):
        of_step = slice(16 * (step % 3), 16 * (step % 3) + 16)
        optimizer.zero_grad()
        box_loss(head(features[of_step]), boxes[of_step], 1.0).backward()
        optimizer.step()
    masks = head.eval()(features[48:]).detach().numpy() > 0.5
    for mask, box in zip(masks, boxes[48:], strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / 8
        assert np.abs(found - box.numpy()).max() <= 0.13, "a cell or less"


def test_a_run_with_boxes_says_so_in_every_row(
    picture_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--shards", str(picture_shards), "--stem", "C", "--batch-size", "8", "--epochs", "2", "--step", "eager"]
    flags += ["--threads", "1", "--image-size", "64", "--localizer", "mask", "--head-steps", "60", "--head-lr", "0.02"]
    flags += ["--aug", "none"]
    for count in (0, 8):
        out = tmp_path / f"run-{count}"
        few = ["--boxes-per-class", str(count)] if count else []
        assert run_command(train.main, [*flags, *few, "--run-dir", str(out)]) == 0
        report = json.loads((out / "report.json").read_text())
        of_mask = next(each for each in report["localizers"] if each["name"] == "mask")
        assert of_mask.get("boxes_per_class", 0) == count
        said = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert ("its mask head had boxes of up to 8 images a class" in said) == bool(count)
        assert ("boxes of up to 8 images" in said) == bool(count)


def test_mistakes_are_named(picture_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--shards", str(picture_shards), "--run-dir", str(tmp_path / "run"), "--stem", "C", "--step", "eager"]
    flags += ["--batch-size", "8"]
    assert run_command(train.main, [*flags, "--localizer", "mask", "--boxes-per-class", "-1"]) == 2
    assert "--boxes-per-class -1: must be at least 0" in capsys.readouterr().err
    assert run_command(train.main, [*flags, "--boxes-per-class", "3"]) == 2
    assert "--boxes-per-class 3: supervises a mask head; add --localizer mask" in capsys.readouterr().err


def test_a_box_that_covers_every_cell_has_a_loss() -> None:
    """Nothing lies outside of it."""
    assert torch.isfinite(box_loss(torch.full((1, 4, 4), 0.5), torch.tensor([[0.0, 0.0, 1.0, 1.0]]), 1.0))


def test_of_few_boxes_each_batch_sees_some_and_all_come_in_turn() -> None:
    boxes = np.full((1000, 4), NO_BOX, np.float32)
    with_boxes = np.arange(7, 1000, 100)
    boxes[with_boxes] = 0.5
    plan, share = plan_with_boxes(3, boxes, 16)
    assert share == pytest.approx((4 + 12 * 0.01) / 16)
    plain = training_plan(3, 1000, 16)
    seen: list[int] = []
    for step in range(20):
        ids, epochs = plan(step)
        np.testing.assert_array_equal(ids[:12], plain(step)[0][:12])
        np.testing.assert_array_equal(epochs[:12], plain(step)[1][:12])
        assert set(ids[12:]) <= set(with_boxes)
        seen += ids[12:].tolist()
    assert {seen.count(each) for each in with_boxes} == {8}, "4 of 20 steps, of 10 images"
    quarters = [plan_with_boxes(3, boxes, 16, rank, 4)[0](5) for rank in range(4)]
    for k in (0, 1):
        np.testing.assert_array_equal(np.stack([quarter[k] for quarter in quarters], 1).ravel(), plan(5)[k])
    assert all(np.isin(ids, with_boxes).any() for ids, _ in quarters), "no process is without"


def test_where_many_images_have_boxes_the_stream_is_that_of_all() -> None:
    boxes = np.full((40, 4), NO_BOX, np.float32)
    boxes[::4] = 0.5
    plan, share = plan_with_boxes(3, boxes, 16)
    assert share == 0.25
    for step in range(6):
        for ours, theirs in zip(plan(step), training_plan(3, 40, 16)(step), strict=True):
            np.testing.assert_array_equal(ours, theirs)
