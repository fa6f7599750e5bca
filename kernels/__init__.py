"""Array kernels: NumPy arrays in, NumPy arrays out, nothing else imported but Numba.

The functions named here check their input; the compiled loops behind them do not. `kernels.reference` holds the slow,
obvious twin of each and is imported by tests alone; the twin of `show_views` is `fastwsol.reference`.
"""

from kernels.augment import Look, show_views
from kernels.boxes import cam_boxes, cam_boxes_paper2018, largest_box
from kernels.iou import best_iou, best_iou_paper2018, fixed_box_hits, iou_rows

__all__ = [
    "Look",
    "best_iou",
    "best_iou_paper2018",
    "cam_boxes",
    "cam_boxes_paper2018",
    "fixed_box_hits",
    "iou_rows",
    "largest_box",
    "show_views",
]
