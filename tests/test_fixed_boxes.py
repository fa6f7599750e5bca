"""Boxes that look at no image, and oracles, under each protocol."""

import numpy as np
import pytest
from rich.console import Console

from fastwsol.evaluation.boxes import PROTOCOLS, hits_of, score_boxes
from fastwsol.evaluation.console_tables import _print_oracles
from fastwsol.evaluation.fixed_boxes import FixedBox, fixed_box_hits, fixed_boxes
from fastwsol.evaluation.reading import fixed_box_oracles
from fastwsol.evaluation.truths import Truths


def test_a_fixed_box_is_measured_by_each_protocols_own_rules():
    """On images twice as wide as high: half of one is IoU .5, a hit in strict alone; and in paper2018 boxes that lie
    apart on both axes may have an intersection.
    """
    boxes = np.array([[0, 0, 10, 10], [0, 0, 9, 10], [0, 0, 20, 3], [3, 2, 12, 8], [14, 7, 20, 10]], np.float32)
    truths = Truths(np.full(5, 20, np.int32), np.full(5, 10, np.int32), boxes, np.arange(6))
    (whole,) = fixed_boxes(None, 40)
    in_each = np.tile(np.float32([0, 0, 20, 10]), (5, 1))
    found = {name: fixed_box_hits(whole, truths, 40, name) for name in PROTOCOLS}
    for name in PROTOCOLS:
        expected = hits_of(score_boxes(in_each, boxes, truths.offsets, name), name)
        np.testing.assert_array_equal(found[name], expected)
    assert found["strict"][1].tolist() == [True, False, False, False, False]
    assert found["paper2018"].tolist() != found["strict"].tolist()
    corner, far = (
        FixedBox("best-box", np.array([0, 0, 12, 12], np.int32), "boxes of train", 0.5),
        truths.of_rows(np.array([4])),
    )
    assert [fixed_box_hits(corner, far, 40, name).all() for name in PROTOCOLS] == [False, True]
    upper = FixedBox("best-box", np.array([0, 0, 40, 12], np.int32), "boxes of train", 0.5)
    assert fixed_box_hits(upper, truths, 40, "strict")[2].tolist() == [False, False, True, False, False]


def baselines(loc):
    """The whole image, and the best boxes of train, each rate told apart from all others."""
    rows = []
    for k, at in enumerate((None, 0.3, 0.5, 0.7)):
        rates = {
            name: {
                f"{loc}@{t}": 20.0 * k + 6 * n**2 + 100 * (name == "wsoleval") for n, t in enumerate((0.3, 0.5, 0.7))
            }
            for name in ("strict", "wsoleval")
        }
        name = "whole image" if at is None else f"best box at IoU {at}"
        rows.append({"kind": "best-box" if at else "whole-image", "name": name, "iou_threshold": at, "rates": rates})
    return rows


@pytest.mark.parametrize(("cam_class", "loc"), [("truth", "gt_known_loc"), ("predicted", "predicted_loc")])
@pytest.mark.parametrize(("protocol", "more"), [("strict", 0), ("wsoleval", 100)])
def test_beside_oracles_stand_the_whole_image_and_the_best_box_for_each_iou(cam_class, loc, protocol, more):
    report = {"cam_class": cam_class, "baselines": baselines(loc)}
    whole, best = fixed_box_oracles(report, protocol)
    names = ("max_box_acc", "max_box_acc_v2", "max_box_acc_v2_single")
    parts = [f"max_box_acc_v2@{t}" for t in (0.3, 0.5, 0.7)]
    assert whole[0] == "whole image"
    assert [whole[1][name] for name in names] == [6 + more, 10 + more, 10 + more]
    assert [whole[1][name] for name in parts] == [more, 6 + more, 24 + more]
    assert [best[1][name] for name in names] == [46 + more] + [(20 + 46 + 84) / 3 + more] * 2
    assert [best[1][name] for name in parts] == [20 + more, 46 + more, 84 + more]
    assert fixed_box_oracles(report | {"baselines": report["baselines"][:1]}, protocol) == [whole]


def test_each_table_of_oracles_has_the_fixed_boxes_of_its_protocol(capsys):
    nothing = dict.fromkeys(("max_box_acc", "max_box_acc_v2", "max_box_acc_v2_single"))
    of_each = {name: {"rates": nothing, "intervals": nothing} for name in ("strict", "wsoleval")}
    report = {
        "cam_class": "truth",
        "baselines": baselines("gt_known_loc"),
        "wsoleval_side": 64,
        "localizers": [{"name": "cam", "max_box_acc": of_each}],
    }
    _print_oracles(report, Console(width=100))
    strict, older = capsys.readouterr().out.split("wsoleval: ")
    assert "6.00" in strict
    assert "106.00" not in strict
    assert "106.00" in older
