"""What can be told of a training before it takes a step: batches that cannot be, maps that can give no box."""

from collections.abc import Container
from pathlib import Path

import torch

from fastwsol.batches.stores import require_dali
from fastwsol.batches.stream import of_one_size
from fastwsol.config import Config, Setting
from fastwsol.dataset.shards import Shards
from fastwsol.host.errors import UserError, first_line
from fastwsol.host.world import World
from fastwsol.network.classifier import Classifier
from fastwsol.network.networks import empty_network, network_name
from fastwsol.timetable import Timetable
from fastwsol.training.mask_phase import refuse_no_mask


def check_batch_sizes(config: Config, train_images: int, world: World) -> None:
    """Raise UserError where there are too few images for a batch, or a batch cannot be divided among the processes."""
    sizes = {"--batch-size": config.optimizer.batch_size}
    if config.localizer.trains_mask:
        sizes["--head-batch-size"] = config.localizer.head_batch_size
    if large := [f"{name} {size}" for name, size in sizes.items() if size > train_images]:
        raise UserError(
            f"{' and '.join(large)}: there are {train_images} images to train on; give {train_images} at most"
        )
    for name, size in sizes.items():
        if size % world.size:
            raise UserError(
                f"{name} {size}: {world.size} processes cannot share it evenly; use a multiple of {world.size}"
            )
    if config.views.mix != "none" and (size := config.optimizer.batch_size) // world.size % 2:
        raise UserError(
            f"--batch-size {size}: --mix {config.views.mix} mixes pairs, and {world.size} processes would have "
            f"{size // world.size} images each; use a multiple of {2 * world.size}"
        )


def refuse_no_split(setting: Setting, splits: Container[str], folder: Path) -> None:
    """Raise UserError where the shards in `folder` lack the split that runs are to be evaluated on."""
    if not setting.data.holdout and setting.eval_split not in splits:
        raise UserError(
            f"--eval-on {setting.eval_split}: {folder} has no such images (or none of these classes); pack the WSOL "
            f"benchmark with --{setting.eval_split}, or leave the flag out"
        )


def check_network(config: Config, classes: int, train_images: int, world: World) -> None:
    """Raise UserError where the network's map is a single cell, which can be in no box but the whole image, where it
    takes no images of a side that training images have, and where its batch normalisation would see one value a
    channel, of which there is no deviation.
    """
    model, size = empty_network(config, classes), config.views.image_size
    if size < 2 * model.map_stride:
        raise UserError(
            f"--image-size {size}: the maps of {network_name(config.network)} have one cell there, which can give no "
            f"box; use {2 * model.map_stride} at least"
        )
    single = config.optimizer.batch_size <= world.size
    if not (single or config.schedule.has_own_sizes):
        return
    model.to("meta").train()
    for _, side in Timetable(config, train_images).phases:
        _refuse_side(model, side, 1 if single else 2, config, world)


def _refuse_side(model: Classifier, side: int, images: int, config: Config, world: World) -> None:
    """Pass so many images of `side` pixels a side through a network that lies on torch's meta device. Raises UserError
    where it cannot be trained on them.
    """
    try:
        with torch.no_grad():
            model(torch.empty(images, 3, side, side, device="meta"))
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"--image-size {config.views.image_size}: {network_name(config.network)} is trained on smaller images "
            f"first, and refuses those of {side} pixels ({first_line(error)}); give --start-size 0 --end-size 0"
        ) from None
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UserError(
            f"--batch-size {config.optimizer.batch_size}: batch normalisation in {network_name(config.network)} has "
            f"one value a channel of a single image of {side} pixels; use {2 * world.size} at least"
        ) from None


def check_training(config: Config, packed: Shards, shards: Shards, world: World) -> None:
    """Raise UserError, in every process, for a configuration that these shards, or this machine, cannot have. shards:
    the same as packed, with the holdout apart.
    """

    def check() -> None:
        refuse_no_split(config, shards.splits, shards.folder)
        train, classes = shards.splits["train"], len(shards.manifest.classes)
        check_batch_sizes(config, len(train), world)
        check_network(config, classes, len(train), world)
        refuse_no_mask(config, classes, train)
        evaluated = shards.splits[config.eval_split]
        if config.views.store_size and not of_one_size(packed.splits[evaluated.packed_name]):
            # Evaluations see the images' own pixels: said now, and not after epochs of training.
            require_dali(evaluated, "its images have many sizes")
        if config.views.store_size:  # so does what is found on the images trained on when the training is done
            require_dali(train, "its images have many sizes")

    world.together(check)
