"""Array kernels: NumPy arrays in, NumPy arrays out, nothing else imported but Numba.

The functions named here check their input; the compiled loops behind them do not. `kernels.reference` holds the slow,
obvious twin of each and is imported by tests alone; the twin of `show_views` is `fastwsol.batches.views_reference`.
Those that read pixels of maps are parallel over images (`numba.set_num_threads`). All release the GIL and leave their
input as it is.
"""

from kernels.augment import Jitter, ViewOptions, show_views
from kernels.boxes import Thresholds, cam_boxes, cam_boxes_paper2018, cam_component_boxes, cam_levels
from kernels.masks import mask_in_box, run_lengths
from kernels.overlaps import best_iou, best_iou_paper2018, fixed_box_hits
from kernels.pixels import pixel_counts, pixel_histograms
from kernels.sweep import sweep_ious, threshold_sweep
from kernels.upsampling import Scale

__all__ = [
    "Jitter",
    "Scale",
    "Thresholds",
    "ViewOptions",
    "best_iou",
    "best_iou_paper2018",
    "cam_boxes",
    "cam_boxes_paper2018",
    "cam_component_boxes",
    "cam_levels",
    "fixed_box_hits",
    "mask_in_box",
    "pixel_counts",
    "pixel_histograms",
    "run_lengths",
    "show_views",
    "sweep_ious",
    "threshold_sweep",
]
