"""Batches of the frozen part's features: read where they are kept, and else computed of each batch of images."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch

from fastwsol.batches.feed import Feed
from fastwsol.batches.numbered_views import view_numbers
from fastwsol.batches.stream import Batch, Batches, Inputs, Stream
from fastwsol.features.frozen_network import FrozenNetwork
from fastwsol.host.device import upload
from fastwsol.host.kept_arrays import KeptArray


class FeatureBatches(Batches):
    """The batches of kept features of a stream, without end, from step `start` on."""

    def __init__(self, stream: Stream, kept: KeptArray, device: torch.device, start: int = 0) -> None:
        self._stream, self._values, self._device, self._step = stream, kept.values, device, start

    def take(self) -> Inputs:
        """See `Batches.take`."""
        stream = self._stream
        ids, epochs = stream.plan(self._step)
        self._step += 1
        numbers = view_numbers(stream.augmentation, stream.views(ids, epochs), epochs)
        values = upload(self._values[numbers, stream.split.rows[ids]], self._device).view(torch.bfloat16)
        return {"images": values, "labels": upload(stream.split.labels[ids], self._device)}


@dataclass(frozen=True, eq=False)
class FrozenPart:
    """A frozen network, and the features of it that are kept; None where they are computed in each step."""

    network: FrozenNetwork
    kept: KeptArray | None
    environment: dict[str, Any] = field(default_factory=dict)
    """What they decide of a run's bits: a part of an entry of environment.json."""

    def batches(self, stream: Stream, feed: Feed, start: int, threads: int) -> Batches:
        """The features of a stream's batches, from step `start` on."""
        if self.kept is not None:
            return FeatureBatches(stream, self.kept, self.network.autocast.device, start)
        # Not compiled, as where features are kept: they are the same bits either way.
        return ComputedFeatures(feed.batches(stream, start, threads, may_compile=False), self.network)


class ComputedFeatures(Batches):
    """The features of batches of images, computed when they are asked for."""

    def __init__(self, images: Batches, frozen: FrozenNetwork) -> None:
        self._images, self._frozen = images, frozen

    def take(self) -> Inputs:
        """See `Batches.take`."""
        return self._images.take()

    def show(self, taken: Inputs) -> Batch:
        """See `Batches.show`."""
        batch = self._images.show(taken)
        return replace(batch, images=self._frozen.features(batch.images))
