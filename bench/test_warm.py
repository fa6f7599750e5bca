"""From pixels decoded once to normalised channels-last batches: the warm path beside those that decode each time.

    pytest bench/test_warm.py --benchmark-only --shards data/shards

All sides of `bench/test_pipeline.py` and its rules: the same ids, windows, flips and cells, the same resampler, the
same cores, float32 out, batches compared before anything is timed.

- warm: `--data resident`, `fastwsol.batches.store_batches.StoreBatches`.
- cold: `--data dali`, DALI's decoder and our kernel.
- dali operators: DALI's JPEG pipeline, all of it in DALI's own operators.
- pillow dataloader; simplejpeg threads: as there.
- warm bf16: the warm path in the number format of a bf16 training, whose batches have half the bytes.
"""

import pytest
import torch
from test_pipeline import (
    BATCH,
    BATCHES_A_TURN,
    KINDS_OF_VIEWS,
    MEAN_LEVELS_APART,
    ROUNDS,
    SIZE,
    PillowDataLoader,
    dali_operators,
    data_of,
    ours,
    simplejpeg_threads,
    stream,
    stream_of,
)

from fastwsol.batches.decoded_store import Store
from fastwsol.batches.store_batches import StoreBatches
from fastwsol.batches.stream import of_one_size
from fastwsol.config import Augmentation


@pytest.fixture(scope="session")
def store(shards, cores, tmp_path_factory):
    """The decoded train split."""
    if not of_one_size(shards.splits["train"]):
        pytest.skip(f"images of {shards.folder} have several sizes")
    return Store(shards, "train", tmp_path_factory.mktemp("decoded")).open(cores)


def warm(shards, store, augmentation, cores, dtype=torch.float32):
    return (batch.images for batch in StoreBatches(stream_of(shards, augmentation), store, dtype, cores))


@pytest.mark.parametrize(("aug", "resampler"), KINDS_OF_VIEWS)
def test_warm(paired_rounds, shards, store, cores, aug, resampler):
    augmentation = Augmentation(aug, flip=True, color=False, resampler=resampler, image_size=SIZE)
    streams = {
        "warm": warm(shards, store, augmentation, cores),
        "cold": ours(shards, augmentation, cores),
        "dali operators": dali_operators(shards, augmentation, cores),
        "warm bf16": warm(shards, store, augmentation, cores, torch.bfloat16),
    }
    if resampler == "bilinear":
        streams["simplejpeg threads"] = simplejpeg_threads(shards, augmentation, cores)
    loader = PillowDataLoader(shards, augmentation, cores)
    firsts = {name: next(batches) for name, batches in streams.items()} | {"pillow dataloader": loader.first()}
    assert torch.equal(firsts["warm"], firsts["cold"])
    assert torch.equal(firsts["warm bf16"], firsts["warm"].bfloat16())
    std = torch.tensor(shards.manifest.statistics.std)[:, None, None]
    for name, images in firsts.items():
        assert images.is_contiguous(memory_format=torch.channels_last), name
        levels_apart = (images.float() - firsts["warm"]).abs() * std
        assert levels_apart.mean() < MEAN_LEVELS_APART[resampler] + (name == "warm bf16"), name
    paired_rounds(
        {name: stream(batches) for name, batches in streams.items()} | {"pillow dataloader": loader.side(cores)},
        images=BATCH * BATCHES_A_TURN,
        rounds=ROUNDS,
        data=data_of(shards, "train"),
        **vars(augmentation),
        batch_size=BATCH,
    )
