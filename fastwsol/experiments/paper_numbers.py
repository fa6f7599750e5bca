"""The numbers of Choe, Park and Shim 2018 (arXiv 1802.07888), tables 1 and 2: percent of Tiny ImageNet's val images."""

from dataclasses import dataclass

from fastwsol.config import AugName, Setting
from fastwsol.evaluation.report_types import RunReport
from fastwsol.sources import TINY_IMAGENET


@dataclass(frozen=True)
class Published:
    """What the paper reports for one setting. For table 2's batch sizes it gives Top-1 Loc alone."""

    top1_loc: float
    gt_known_loc: float | None = None
    top1_clas: float | None = None


AUGS: tuple[AugName, ...] = ("none", "hns", "gr", "gr-hns", "hns-gr")
"""The columns of table 1: CAM, HnS, GR, HnS after GR, GR after HnS. The first three are table 2's."""

SOURCE, CLASSES, SPLIT = TINY_IMAGENET, 200, "val"
"""What the paper's numbers were measured on. They are shown beside reports on the same images only."""

DEPTHS = (34, 18)
BATCH_SIZES = (32, 128, 256)

# Depth: GT-known Loc, Top-1 Loc, Top-1 Clas under each of AUGS, at batch 256.
_TABLE_1 = {
    34: (
        (53.46, 27.50, 44.54),
        (54.30, 29.72, 46.67),
        (57.82, 36.00, 54.13),
        (57.49, 33.93, 51.28),
        (57.43, 33.45, 50.45),
    ),
    18: (
        (53.42, 27.13, 43.90),
        (52.89, 27.56, 44.12),
        (57.00, 34.43, 52.23),
        (56.99, 33.33, 50.14),
        (56.76, 32.28, 48.87),
    ),
}

# Depth, batch size: Top-1 Loc under each of the first three of AUGS. Its rows at 256 are table 1's.
_TABLE_2 = {
    (34, 32): (31.49, 31.17, 37.84),
    (18, 32): (28.47, 29.45, 35.94),
    (34, 128): (29.62, 30.32, 36.13),
    (18, 128): (27.76, 29.25, 35.83),
}


def stands_beside(report: RunReport) -> bool:
    """Whether a report is of the same images as the paper's numbers."""
    return (report["source"], report["classes"], report["split"]) == (SOURCE, CLASSES, SPLIT)


def published(setting: Setting) -> Published | None:
    """The paper's numbers for a setting's depth, augmentation and batch size, or None where it has none."""
    if not setting.network.is_ours:
        return None
    depth, aug, batch_size = setting.network.depth, setting.views.aug, setting.optimizer.batch_size
    if batch_size == 256:
        gt_known_loc, top1_loc, top1_clas = _TABLE_1[depth][AUGS.index(aug)]
        return Published(top1_loc, gt_known_loc, top1_clas)
    of_augs = dict(zip(AUGS, _TABLE_2.get((depth, batch_size), ()), strict=False))
    return Published(of_augs[aug]) if aug in of_augs else None
