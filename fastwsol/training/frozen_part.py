"""The part of a network that is not trained: its features are computed once and kept, where they can be."""

from dataclasses import replace

from fastwsol.batches.numbered_views import view_count
from fastwsol.batches.stream import Stream, decoded_at_once, training_plan
from fastwsol.config import Augmentation, NetworkConfig, TrainPart
from fastwsol.features.feature_batches import FrozenPart
from fastwsol.features.frozen_network import AT_ONCE, FrozenNetwork
from fastwsol.features.kept_features import open_features
from fastwsol.host.device import Autocast
from fastwsol.host.kept_arrays import KeptArray
from fastwsol.network.classifier import Classifier
from fastwsol.network.networks import network_name, network_versions
from fastwsol.training.job import Job
from fastwsol.training.resume import check_environment
from fastwsol.training.step import ClassifierState

_AT_ONCE = {device: max(32, count) for device, count in AT_ONCE.items()}
"""Images that are shown at a time while features are computed, by device: whole passes through the trunk."""


def before_classifiers_part(job: Job, state: ClassifierState) -> FrozenPart | None:
    """What stands before the part of the classifier that is trained; None where all of it is. Raises as
    `open_frozen_part` does.
    """
    config, part = job.config, job.config.network.train_part
    if part == "all":
        return None
    before_tail = None
    if part == "classifier" and config.localizer.trains_mask and mask_views(config.views) == config.views:
        # The mask head will see the same views, before the tail: images pass through the trunk once.
        before_tail = open_frozen_part(job, state.model, "tail", config.views, 0, _head_shows_enough(job))
    # Features of growing images would be others at each size.
    keep = not config.schedule.has_own_sizes
    if not keep:
        _tell_none_kept(job, f"the {part} that is trained", "they would be others at each size of the images")
    return open_frozen_part(job, state.model, part, config.views, state.step, keep, before_tail)


def before_head(job: Job, network: Classifier, step: int) -> FrozenPart:
    """What stands before a mask head, which is trained from step `step` of the run on. Raises as `open_frozen_part`
    does.
    """
    resumed_at, keep = step if step > job.timetable.classifier_steps else 0, _head_shows_enough(job)
    if not keep:
        _tell_none_kept(job, "the mask head", "its steps show fewer views than there are")
    return open_frozen_part(job, network, "tail", mask_views(job.config.views), resumed_at, keep)


def _tell_none_kept(job: Job, part: str, why: str) -> None:
    if job.launch.features is not None and job.world.leads:
        print(f"--features {job.launch.features}: none is kept before {part}, as {why}", flush=True)


def _head_shows_enough(job: Job) -> bool:
    """Whether the steps of the mask head show more views than there are, which are then worth keeping."""
    settings = job.config.localizer
    return settings.head_steps * settings.head_batch_size > len(job.split) * view_count(mask_views(job.config.views))


def mask_views(views: Augmentation) -> Augmentation:
    """What a mask head is trained on: whole images and their mirror images."""
    return replace(views, aug="none", color=False, flip=True, crops_per_image=0, mix="none")


def frozen_network(
    network: Classifier,
    part: TrainPart,
    config: NetworkConfig,
    autocast: Autocast,
    before_tail: FrozenPart | None = None,
) -> FrozenNetwork:
    """What stands before `part` of a network of this configuration, under the name that its features are kept by.
    before_tail: see `open_frozen_part`.
    """
    written_in = [f"{package} {version}" for package, version in network_versions(config).items()]
    name = ", ".join([network_name(replace(config, train_part=part)), f"stride {network.map_stride}", *written_in])
    return FrozenNetwork(
        network, part, autocast, name, before_tail is not None, None if before_tail is None else before_tail.kept
    )


def open_frozen_part(
    job: Job,
    network: Classifier,
    part: TrainPart,
    views: Augmentation,
    resumed_at: int,
    keep: bool,
    before_tail: FrozenPart | None = None,
) -> FrozenPart:
    """What stands before `part` of a network.

    resumed_at: the step at which the run goes on with its features, 0 if it starts with them; keep: whether they are
    kept, if they can be; before_tail: what stands before the tail, if the features are computed from that. Raises
    UserError where the run went on with other features so far and is to stay exact, RunFailure where an image does not
    decode, Interrupted where the job gives up.
    """
    frozen = frozen_network(network, part, job.config.network, job.process.autocast, before_tail)
    if not keep:
        return FrozenPart(frozen, None)
    world = job.world
    kept = world.machine_lead_first(lambda verify: _kept_features(job, frozen, views, verify))
    kept_by_each = world.values_of_all(None if kept is None else kept.sha256)
    if None in kept_by_each:
        if world.leads and kept is not None:
            where = f"process {kept_by_each.index(None)} cannot keep them"
            print(f"features of the frozen part: computed in every epoch ({where})", flush=True)
        return FrozenPart(frozen, None)
    different = sorted({each for each in kept_by_each if each is not None})
    of_features = {"features": different[0] if len(different) == 1 else different}
    world.lead_does(lambda: check_environment(job.run, resumed_at, of_features, job.launch.inexact))
    return FrozenPart(frozen, kept, of_features)


def _kept_features(job: Job, frozen: FrozenNetwork, views: Augmentation, verify: bool) -> KeptArray | None:
    """The features as this process has them; None where it cannot keep them, which is said."""
    config, split = job.config, job.split
    at_once = min(_AT_ONCE[job.process.autocast.device.type], decoded_at_once(split), len(split))
    plan = training_plan(config.seed, len(split), at_once)
    stream = Stream(split, plan, at_once, views, config.seed, job.setup.statistics)
    return open_features(job.packed, stream, job.setup.feed, frozen, job.launch.features, verify, job.process.gives_up)
