"""The part of a network that a run does not train: its features are computed once and kept, where they can be."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fastwsol.batches.stream import Stream, training_plan
from fastwsol.dataset.shards import Shards
from fastwsol.features.kept_features import FrozenPart, Trunk, open_features
from fastwsol.network.networks import network_name
from fastwsol.training.job import Job
from fastwsol.training.resume import check_environment
from fastwsol.training.step import State

_AT_ONCE = 32
"""Images that are shown at a time while features are computed."""


def with_features(job: Job, state: State, shards: Shards, folder: Path | None, gives_up: Callable[[], bool]) -> Job:
    """The job with the features of the network's frozen part, where it has one. shards: as they were packed, no image
    held out; folder: where features are kept.

    Raises UserError where the run went on with other features so far and is to stay exact, RunFailure where an image
    does not decode, Interrupted where `gives_up` returns true.
    """
    config, world = job.config, job.world
    if config.network.train_part == "all":
        return job
    network = config.network
    name = f"{network_name(network)}, stride {state.model.map_stride}"
    trunk = Trunk(state.model, network.train_part, job.setup.autocast, name)
    plan = training_plan(config.seed, len(job.split), min(_AT_ONCE, len(job.split)))
    stream = Stream(job.split, plan, min(_AT_ONCE, len(job.split)), config.views, config.seed, *job.setup.statistics)
    kept = None
    if not config.schedule.start_size:  # features of growing images would be others at each size
        kept = world.machine_lead_first(
            lambda verify: open_features(shards, stream, job.setup.feed, trunk, folder, gives_up)
        )
    job = replace(job, frozen=FrozenPart(trunk, kept))
    if kept is None:
        return job
    of_features = {"features": kept.sha256}
    world.lead_does(lambda: check_environment(job.run, state.step, of_features, job.inexact))
    return replace(job, environment=job.environment | of_features)
