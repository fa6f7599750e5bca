"""Images of train that are never trained on: settings are tuned on them, and val is looked at once."""

import dataclasses

import numpy as np

from fastwsol.dataset.shards import Shards
from fastwsol.draws import ids_of_each_class
from fastwsol.host.errors import UserError


def hold_out(shards: Shards, per_class: int) -> Shards:
    """The same data set with `per_class` images of each class moved from train to a split `holdout`.

    With 0 it is `shards` itself. The pixel statistics stay those of all of train. Raises UserError where a class would
    have nothing left to train on.
    """
    if per_class == 0:
        return shards
    train = shards.splits["train"]
    labels, counts = np.unique(train.labels, return_counts=True)
    if (smallest := counts.min()) <= per_class:
        wnid = shards.manifest.classes[labels[counts.argmin()]].wnid
        raise UserError(
            f"--holdout {per_class}: class {wnid} has {smallest} training images in {shards.folder}; hold out fewer"
        )
    held_out = ids_of_each_class(train.labels, per_class)
    trained_on = np.setdiff1d(np.arange(len(train)), held_out)
    splits = {
        **shards.splits,
        "train": train.subset("train", trained_on),
        "holdout": train.subset("holdout", held_out),
    }
    return dataclasses.replace(shards, splits=splits)
