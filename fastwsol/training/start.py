"""What a training starts from: random weights, those of files, or the classifier of an earlier run."""

import sys
from collections.abc import Callable
from typing import TypeVar

from fastwsol.config import Config
from fastwsol.host.errors import UserError
from fastwsol.host.world import World
from fastwsol.network.backbone_weights import BackboneWeights, read_weights
from fastwsol.network.initial_weights import Initial, read_initial
from fastwsol.runs.checkpoint import newest_valid
from fastwsol.runs.folder import RunDir
from fastwsol.training.behind import Behind, read_behind
from fastwsol.training.launch import OneRun, run_folder
from fastwsol.training.resume import StartWeights

Start = TypeVar("Start", Initial, BackboneWeights)


def start_of(config: Config, launch: OneRun, world: World) -> tuple[Config, StartWeights]:
    """What the run starts from, in the leading process, and the configuration, which names it by its hash. Raises
    UserError where that cannot be had.
    """
    if launch.behind is not None:
        folder = launch.behind
        behind = world.lead_does(lambda: read_behind(folder))
        sha256 = world.from_lead(lambda: classifier_digest(config, launch, behind) if behind is not None else "")
        return config.changed(behind_sha256=sha256), StartWeights(behind=behind)
    missing: list[str] = []

    def read() -> tuple[StartWeights, dict[str, str]]:
        path, asked = launch.init, launch.weights
        initial, init_sha256 = or_known(
            lambda: None if path is None else read_initial(path), "init_sha256", launch, missing
        )
        weights, weights_sha256 = or_known(
            lambda: read_weights(asked, config.network), "weights_sha256", launch, missing
        )
        hashes = {"init_sha256": init_sha256, "weights_sha256": weights_sha256}
        if config.network.train_part != "all" and not any(hashes.values()):
            print(
                f"warning: --train-part {config.network.train_part}: what is not trained has random weights and stays "
                f"so; name --weights or --init",
                file=sys.stderr,
            )
        return StartWeights(initial, weights, missing=tuple(missing)), hashes

    start, hashes = world.lead_does(read) or (StartWeights(), {})
    return config.changed(**world.value_of_lead(hashes)), start


def or_known(
    read: Callable[[], Start | None], name: str, launch: OneRun, missing: list[str]
) -> tuple[Start | None, str]:
    """What `read` gives, and its hash. Where it cannot be had, as on a machine without network, and the run in the
    folder that was named has a checkpoint to go on from: nothing, and the hash `name` that the run was begun with; why
    goes to `missing`.
    """
    try:
        found = read()
    except UserError as error:
        run = RunDir(launch.run_dir) if launch.run_dir is not None else None
        known = run.read_info().config.flat()[name] if run is not None and run.has_info() else ""
        if run is None or not known or newest_valid(run.checkpoints) is None:
            raise
        missing.append(str(error))
        return None, known
    return found, found.sha256 if found is not None else ""


def classifier_digest(config: Config, launch: OneRun, behind: Behind) -> str:
    """The digest that the run stores for --behind: of the classifier's tensors, or of its checkpoint where an older
    version began the run so.
    """
    earlier = config.changed(behind_sha256=behind.checkpoint_sha256)
    run = RunDir(run_folder(earlier, launch))
    was_begun = run.has_info() and run.read_info().config.localizer.behind_sha256 == behind.checkpoint_sha256
    return behind.checkpoint_sha256 if was_begun else behind.sha256
