"""The part of a network that is not trained: its features are computed once and kept, where they can be."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fastwsol.batches.stream import Stream, training_plan
from fastwsol.config import Augmentation, NetworkConfig, TrainPart
from fastwsol.dataset.shards import Shards
from fastwsol.features.kept_features import FrozenPart, Trunk, open_features, views_kept
from fastwsol.features.trunk import AT_ONCE
from fastwsol.host.device import Autocast
from fastwsol.network.classifier import Classifier
from fastwsol.network.networks import network_name, network_versions
from fastwsol.training.job import Job
from fastwsol.training.resume import check_environment
from fastwsol.training.step import State

_AT_ONCE = {device: max(32, count) for device, count in AT_ONCE.items()}
"""Images that are shown at a time while features are computed, by device: whole passes through the trunk."""


def with_features(job: Job, state: State, shards: Shards, folder: Path | None, gives_up: Callable[[], bool]) -> Job:
    """The job with the features of the network's frozen part, where it has one; arguments and errors as of
    `frozen_part`.
    """
    config, part = job.config, job.config.network.train_part
    if part == "all":
        return job
    # Features of growing images would be others at each size.
    views_shown = None if not config.schedule.has_own_sizes else 0
    at_cut = None
    if part == "classifier" and config.localizer.trains_mask and mask_views(config.views) == config.views:
        # The mask head will see the same views, before the tail: images pass through the trunk once.
        steps = config.localizer.head_steps * config.localizer.head_batch_size
        _, at_cut = frozen_part(job, state.classifier, "tail", config.views, shards, folder, gives_up, 0, steps)
    job, frozen = frozen_part(
        job, state.classifier, part, config.views, shards, folder, gives_up, state.step, views_shown, at_cut
    )
    return replace(job, frozen=frozen)


def mask_views(views: Augmentation) -> Augmentation:
    """What a mask head is trained on: whole images and their mirror images."""
    return replace(views, aug="none", color=False, flip=True, crops_per_image=0, mix="none")


def trunk_of(
    network: Classifier, part: TrainPart, config: NetworkConfig, autocast: Autocast, at_cut: FrozenPart | None = None
) -> Trunk:
    """What stands before `part` of a network of this configuration, under the name that its features are kept by.
    at_cut: see `frozen_part`.
    """
    written_in = [f"{package} {version}" for package, version in network_versions(config).items()]
    name = ", ".join([network_name(replace(config, train_part=part)), f"stride {network.map_stride}", *written_in])
    return Trunk(network, part, autocast, name, at_cut is not None, None if at_cut is None else at_cut.kept)


def frozen_part(
    job: Job,
    network: Classifier,
    part: TrainPart,
    views: Augmentation,
    shards: Shards,
    folder: Path | None,
    gives_up: Callable[[], bool],
    step: int,
    views_shown: int | None = None,
    at_cut: FrozenPart | None = None,
) -> tuple[Job, FrozenPart]:
    """What stands before `part` of a network, and the job with the features that decide its bits from here on.

    shards: as they were packed, no image held out; folder: where features are kept; step: the one that the run goes on
    at with these features, 0 where it begins with them; views_shown: how many views the steps will show (None: without
    end): features of more views than that are not kept; at_cut: what stands before
    the tail, where the features are made by way of it. Raises UserError where the run went on
    with other features so far and is to stay exact, RunFailure where an image does not decode, Interrupted where
    `gives_up` returns true.
    """
    config, world, images = job.config, job.world, len(job.split)
    trunk = trunk_of(network, part, config.network, job.setup.autocast, at_cut)
    at_once = min(_AT_ONCE[job.setup.autocast.device.type], images)
    plan = training_plan(config.seed, images, at_once)
    stream = Stream(job.split, plan, at_once, views, config.seed, *job.setup.statistics)
    kept = None
    if views_shown is None or views_shown > images * views_kept(views):
        kept = world.machine_lead_first(
            lambda verify: open_features(shards, stream, job.setup.feed, trunk, folder, gives_up)
        )
        kept_by_each = world.values_of_all(None if kept is None else kept.sha256)
        if kept is not None and None in kept_by_each:
            if world.leads:
                where = f"process {kept_by_each.index(None)} cannot keep them"
                print(f"features of the frozen part: computed in every epoch ({where})", flush=True)
            kept = None
    frozen = FrozenPart(trunk, kept)
    if kept is None:
        return job, frozen
    different = sorted({each for each in kept_by_each if each is not None})
    of_features = {"features": different[0] if len(different) == 1 else different}
    world.lead_does(lambda: check_environment(job.run, step, of_features, job.inexact))
    return replace(job, environment=job.environment | of_features), frozen
