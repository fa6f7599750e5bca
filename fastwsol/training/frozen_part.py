"""The part of a network that is not trained: its features are computed once and kept, where they can be."""

from dataclasses import replace

from fastwsol.batches.stream import Stream, training_plan
from fastwsol.config import Augmentation, NetworkConfig, TrainPart
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


def with_features(job: Job, state: State) -> Job:
    """The job with the features of the network's frozen part, where it has one; raises as `open_frozen_part` does."""
    config, part = job.config, job.config.network.train_part
    if part == "all":
        return job
    before_tail = None
    if part == "classifier" and config.localizer.trains_mask and mask_views(config.views) == config.views:
        # The mask head will see the same views, before the tail: images pass through the trunk once.
        keep = pays_off(config.localizer.head_steps, config.localizer.head_batch_size, config.views, len(job.split))
        _, before_tail = open_frozen_part(job, state.classifier, "tail", config.views, step=0, keep=keep)
    # Features of growing images would be others at each size.
    keep = not config.schedule.has_own_sizes
    job, frozen = open_frozen_part(job, state.classifier, part, config.views, state.step, keep, before_tail)
    return replace(job, frozen=frozen)


def pays_off(steps: int, batch_size: int, views: Augmentation, images: int) -> bool:
    """Whether so many steps show more views than there are of `images` images, which are then worth keeping."""
    return steps * batch_size > images * views_kept(views)


def mask_views(views: Augmentation) -> Augmentation:
    """What a mask head is trained on: whole images and their mirror images."""
    return replace(views, aug="none", color=False, flip=True, crops_per_image=0, mix="none")


def trunk_of(
    network: Classifier,
    part: TrainPart,
    config: NetworkConfig,
    autocast: Autocast,
    before_tail: FrozenPart | None = None,
) -> Trunk:
    """What stands before `part` of a network of this configuration, under the name that its features are kept by.
    before_tail: see `open_frozen_part`.
    """
    written_in = [f"{package} {version}" for package, version in network_versions(config).items()]
    name = ", ".join([network_name(replace(config, train_part=part)), f"stride {network.map_stride}", *written_in])
    return Trunk(
        network, part, autocast, name, before_tail is not None, None if before_tail is None else before_tail.kept
    )


def open_frozen_part(
    job: Job,
    network: Classifier,
    part: TrainPart,
    views: Augmentation,
    step: int,
    keep: bool,
    before_tail: FrozenPart | None = None,
) -> tuple[Job, FrozenPart]:
    """What stands before `part` of a network, and the job with the features that decide its bits from here on.

    step: where the run resumes with these features, 0 if it starts with them; keep: whether they are kept, if they can
    be; before_tail: what stands before the tail, if the features are computed from that. Raises UserError where the run
    went on with other features so far and is to stay exact, RunFailure where an image does not decode, Interrupted
    where the job gives up.
    """
    config, world = job.config, job.world
    trunk = trunk_of(network, part, config.network, job.process.autocast, before_tail)
    at_once = min(_AT_ONCE[job.process.autocast.device.type], len(job.split))
    plan = training_plan(config.seed, len(job.split), at_once)
    stream = Stream(job.split, plan, at_once, views, config.seed, *job.setup.statistics)
    kept = None
    if keep:
        kept = world.machine_lead_first(
            lambda verify: open_features(
                job.packed, stream, job.setup.feed, trunk, job.launch.features, verify, job.process.gives_up
            )
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
    world.lead_does(lambda: check_environment(job.run, step, of_features, job.launch.inexact))
    return replace(job, environment=job.environment | of_features), frozen
