"""A trained run from its folder: what it is, its newest checkpoint, its network. Evaluation and prediction share it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor

from fastwsol.dataset.shards import Shards, open_shards, read_manifest
from fastwsol.host.errors import UserError, first_line
from fastwsol.host.world import World
from fastwsol.localizer.localizing import LocalizingModel, trunk_channels
from fastwsol.localizer.mask_head import build_mask_head
from fastwsol.network.classifier import Classifier
from fastwsol.network.networks import build_network, empty_network
from fastwsol.runs.checkpoint import Checkpoint, newest_valid
from fastwsol.runs.folder import RunDir
from fastwsol.runs.info import RunInfo


def read_run(run: RunDir) -> tuple[RunInfo, Checkpoint]:
    """What the run is, and its newest checkpoint; raises UserError where there is none."""
    info = run.read_info()
    saved = newest_valid(run.checkpoints)
    if saved is None:
        raise UserError(f"{run.folder}: has no checkpoint yet; let it train, then try again")
    info.check_checkpoint(saved)
    return info, saved


def shards_of_run(
    folder: Path, info: RunInfo, asked: Path | None, verify: bool = True, with_other_boxes: bool = False
) -> Shards:
    """The shards that the run in `folder` was trained on: those in `asked`, or, where that is None, where the run had
    them (`place_of_shards`). with_other_boxes: the same images packed anew with other boxes or masks serve too, where
    the run's own shards are there to be compared with. Raises UserError for others, and where there are none.
    """
    shards = open_shards(asked or place_of_shards(folder, info), verify)
    if shards.digest == info.shards_digest:
        return shards
    why = "their manifest differs"
    if with_other_boxes and asked is not None:
        why = other_than_its_own(shards, folder, info, verify)
        if not why:
            return shards
    others = ", or measure on other images by predict and then evaluate --predictions --reviewed"
    raise UserError(
        f"{shards.folder}: not the shards that {folder} was trained on ({why}); name those with --shards"
        + (others if with_other_boxes else "")
    )


def other_than_its_own(shards: Shards, folder: Path, info: RunInfo, verify: bool) -> str:
    """How shards differ from those of the run in `folder`, apart from boxes and masks; empty where they do not."""
    if not verify:  # the process of this machine that verifies has compared them
        return ""
    try:
        own = open_shards(place_of_shards(folder, info))
    except UserError as error:
        why = str(error).partition(";")[0]  # its remedy is another one
        return f"their manifest differs, and the images cannot be compared with its own: {why}"
    if own.digest != info.shards_digest:
        return "their manifest differs, and the run's own shards are not there to compare the images with"
    why = other_images(shards, own)
    if not why:
        print(f"{shards.folder}: has the images of {own.folder}, which the run was trained on, and boxes of its own")
    return why


def other_images(shards: Shards, own: Shards) -> str:
    """How two packed sets differ, apart from boxes and masks, in a few words; empty where they do not."""
    if shards.manifest.classes != own.manifest.classes:
        return "their classes differ"
    if [*shards.splits] != [*own.splits]:
        return f"they have {', '.join(shards.splits)}, and not {', '.join(own.splits)}"
    for name, split in shards.splits.items():
        ours = own.splits[name]
        if len(split) != len(ours):
            return f"{name} has {len(split):,} images, and not {len(ours):,}"
        rows = range(len(split))
        for row, theirs, mine in zip(rows, split.names(rows), ours.names(rows), strict=True):
            if theirs != mine or split.labels[row] != ours.labels[row] or split.image(row) != ours.image(row):
                return f"image {row + 1} of {name} differs, {theirs}"
    return ""


def place_of_shards(folder: Path, info: RunInfo) -> Path:
    """Where the shards are that the run in `folder` was trained on. A relative path is looked for from the current
    folder, and then from each folder above the run's, so that it is found from anywhere. Where no place has the run's
    own shards, other shards that are there are returned, so that they are refused by name. Raises UserError where there
    is nothing.
    """
    above = [] if info.shards.is_absolute() else [each / info.shards for each in folder.resolve().parents]
    found = {place: digest for place in (info.shards, *above) if (digest := _digest_in(place)) is not None}
    instead = next(iter(found), info.shards if info.shards.is_dir() else None)
    place = next((each for each, digest in found.items() if digest == info.shards_digest), instead)
    if place is None:
        nor = ", neither from this folder nor from one above the run's" if above else ""
        raise UserError(
            f"{folder}: was trained on the shards in {info.shards}, which is not there{nor}; name them with --shards"
        )
    return place


def _digest_in(place: Path) -> str | None:
    """Of the packed set in a folder; None where there is none that can be read."""
    try:
        return read_manifest(place)[1]
    except UserError:
        return None


class TrainedRun(NamedTuple):
    """What a run is, its newest checkpoint, and its network on the CPU with that one's weights, the mask head behind it
    and the directions that were found, where it has them.
    """

    info: RunInfo
    saved: Checkpoint
    model: LocalizingModel


def read_trained(run: RunDir) -> TrainedRun:
    """The run as its folder has it. Raises UserError where it is no run, or has no checkpoint yet."""
    info, saved = read_run(run)
    try:
        model = _localizing_model(info, saved.tensors, any(name.startswith("head.") for name in saved.tensors))
    except (KeyError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "state_dict" not in str(error):  # as where memory is short
            raise
        reason = first_line(error)
        raise UserError(
            f"{saved.path}: its tensors are not those of the run's network ({reason}); restore it from a copy"
        ) from None
    model.directions = run.read_directions(saved.scalars["sha256"])
    return TrainedRun(info, saved, model)


def read_together(run: RunDir, world: World) -> TrainedRun:
    """`read_trained` in all processes of `world`. The leading process alone reads the folder, since a run in training
    may have a newer checkpoint a moment later. The checkpoint that is returned has no tensors.
    """
    read = world.lead_does(lambda: read_trained(run))
    small = None if read is None else (read.info, replace(read.saved, tensors={}), read.model.head is not None)
    info, saved, has_head = cast(tuple[RunInfo, Checkpoint, bool], world.value_of_lead(small))
    model = _localizing_model(info, None, has_head) if read is None else read.model
    world.share_from_lead(model.state_dict().values())
    model.directions = world.value_of_lead(model.directions)
    return TrainedRun(info, saved, model)


def _localizing_model(info: RunInfo, tensors: Mapping[str, Tensor] | None, has_head: bool) -> LocalizingModel:
    """The run's network, and the mask head behind it where there is one; arguments as of `trained_model`."""
    network = trained_model(info, tensors)
    if not has_head:
        return LocalizingModel(network)
    head = build_mask_head(trunk_channels(network, info.config.views.image_size, torch.device("cpu")), 0)
    if tensors is not None:
        head.load_state_dict({name: tensors[f"head.{name}"] for name in head.state_dict()})
    return LocalizingModel(network, head)


def trained_model(info: RunInfo, tensors: Mapping[str, Tensor] | None) -> Classifier:
    """The run's network on the CPU with a checkpoint's weights: their average, where the run keeps one.

    tensors: by the names of a checkpoint; None: the initial weights, for a process that gets others from another one.
    """
    config, classes = info.config, len(info.classes)
    if tensors is None:
        return build_network(config, classes)
    model, weights = empty_network(config, classes), config.optimizer.evaluated
    model.load_state_dict({name: tensors[f"{weights}.{name}"] for name in model.state_dict()}, assign=True)
    return model.float().to(memory_format=torch.channels_last)  # weights may be kept in fewer bits
