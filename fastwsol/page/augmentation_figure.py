"""The paper's Figure 1, from the pipeline itself: what the network sees of the same images under each aug."""

import html
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastwsol.batches.feed import Feed
from fastwsol.batches.stream import Stream
from fastwsol.config import AugName
from fastwsol.dataset.shards import Shards
from fastwsol.page.gallery import data_address
from fastwsol.runs.info import RunInfo
from fastwsol.sources.encode import as_png

_TITLES: dict[AugName, str] = {
    "none": "none (CAM)",
    "hns": "hns (HnS)",
    "gr": "gr (GR)",
    "gr-hns": "gr-hns (HnS after GR)",
    "hns-gr": "hns-gr (GR after HnS)",
}
_IMAGES = 4
_EPOCHS = 3


def augmentation_figure(shards: Shards, info: RunInfo, feed: Feed) -> str:
    """The figure as HTML, of images that lie evenly spread over the training split of `shards`.

    Everything but the augmentation is as the run `info` has it; images that it brings to a square first are not.
    """
    train = shards.splits["train"]
    ids = np.repeat(np.linspace(0, len(train) - 1, _IMAGES).astype(np.int64), _EPOCHS)
    epochs = np.tile(np.arange(_EPOCHS), _IMAGES)
    config, mean, std = info.config, *info.statistics
    rows = []
    for aug, title in _TITLES.items():
        augmentation = replace(config.views, aug=aug, store_size=0)
        stream = Stream(train, lambda step: (ids, epochs), len(ids), augmentation, config.seed, info.statistics)
        images = next(feed.batches(stream)).images.float().cpu().permute(0, 2, 3, 1).numpy()
        pixels = np.rint(images * np.asarray(std) + np.asarray(mean)).clip(0, 255).astype(np.uint8)
        tags = "".join(f'<img alt="a training image under {aug}" src="{_png(each)}">' for each in pixels)
        rows.append(f"<b>{html.escape(title)}</b>{tags}")
    note = (
        f"{_IMAGES} training images in {_EPOCHS} epochs each, as they come out of the pipeline, from their own pixels."
    )
    return f'<p class="note">{note}</p><div class="augmentations">{"".join(rows)}</div>'


def _png(pixels: NDArray[np.uint8]) -> str:
    """Pixels uint8 [S, S, 3] as a data address."""
    return data_address("image/png", as_png(pixels))
