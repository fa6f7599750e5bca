"""Settings that follow from the images of a set, where none are named: batches, and the square of a store."""

from pathlib import Path

from fastwsol.batches.decoded_store import Store, default_square
from fastwsol.batches.numbered_views import view_count
from fastwsol.batches.stores import folder_of, why_no_room
from fastwsol.batches.stream import of_one_size
from fastwsol.config import Config
from fastwsol.dataset.shards import Shards
from fastwsol.host.device import take_device
from fastwsol.host.errors import UserError
from fastwsol.host.kept_files import can_be_written
from fastwsol.host.world import World
from fastwsol.runs.folder import RunDir
from fastwsol.training.launch import OneRun
from fastwsol.training.presets import PRESETS


def with_batches_of_photos(config: Config, train_images: int, world: World) -> Config:
    """The configuration, where batches are as large as the preset photos has them and there are fewer images to train
    on, with batches of all images; of an even number where views are mixed in pairs.
    """
    preset = PRESETS["photos"]().config
    of_pairs = 2 * world.size if config.views.mix != "none" else world.size
    most, most_of_head = (train_images // each * each for each in (of_pairs, world.size))
    fitting, sizes = config, []
    if config.optimizer.batch_size == preset.optimizer.batch_size > most > 0:
        fitting, sizes = fitting.changed(batch_size=most), [most]
    if config.localizer.head_batch_size == preset.localizer.head_batch_size > most_of_head > 0:
        fitting, sizes = fitting.changed(head_batch_size=most_of_head), [*sizes, most_of_head]
    if sizes:
        shown = " and ".join(map(str, dict.fromkeys(sizes)))
        print(f"batches of {shown}: there are {train_images:,} images to train on, and the preset has larger ones")
    return fitting


def with_store_size(config: Config, launch: OneRun, shards: Shards, folder: Path) -> Config:
    """The configuration with the side of the square that training images are brought to, where that is not named: the
    one of the run in `folder`, or else the default where images of many sizes are shown in many epochs, and a store of
    them has room. Raises UserError where a side is named that nothing can be brought to.
    """
    named, split, run = config.views.store_size, shards.splits["train"], RunDir(folder)
    if named and of_one_size(split):
        raise UserError(f"--store-size {named}: the images of {shards.folder} have one size already; leave it out")
    if named and launch.data == "dali":
        raise UserError(f"--store-size {named}: --data dali decodes images in every epoch; leave one of the two out")
    if named or of_one_size(split):
        return config
    if run.has_info():
        stored = run.read_info().config
        is_same_run = stored.flat() | {"store_size": 0} == config.flat()
        return stored if is_same_run else config  # what else differs is said when the run is opened
    kept = config.network.train_part != "all" and view_count(config.views) and not config.schedule.has_own_sizes
    worth_it = launch.data == "resident" or not (kept or config.schedule.epochs < _EPOCHS_WORTH_A_STORE)
    if launch.data == "dali" or not worth_it:
        return config
    square = default_square(config.views.image_size)
    store = Store(shards, "train", folder_of(launch, shards), square, config.views.fit)
    why = why_no_room(store, take_device(launch.device))
    if why is None and not (can_be_written(store.folder) or store.is_built()):
        why = f"{store.folder} cannot be written"
    if why is not None and launch.data == "resident":
        raise UserError(f"--data resident: train: {why}; use --data dali, or another folder with --store")
    if why is not None:
        print(f"train: not brought to a square ({why})", flush=True)
    return config if why is not None else config.changed(store_size=square)


_EPOCHS_WORTH_A_STORE = 3
