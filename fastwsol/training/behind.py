"""A mask head behind the classifier of an earlier run: what the new run takes from that run, which stays as it is."""

from dataclasses import dataclass, fields
from pathlib import Path

from fastwsol.config import Config, LocalizerConfig, flag
from fastwsol.dataset.holdout import hold_out
from fastwsol.dataset.shards import Shards
from fastwsol.host.errors import UserError
from fastwsol.network.backbone_weights import digest_of
from fastwsol.runs.checkpoint import Checkpoint
from fastwsol.runs.folder import RunDir
from fastwsol.runs.info import RunInfo
from fastwsol.runs.trained import other_than_its_own, place_of_shards, read_run
from fastwsol.timetable import Timetable

_OWN = {each.name for each in fields(LocalizerConfig)} | {"seed", "eval_on"}
"""The options in which a run behind another may differ from it."""


@dataclass(frozen=True)
class Behind:
    """The run whose classifier is taken."""

    folder: Path
    info: RunInfo
    saved: Checkpoint

    @property
    def sha256(self) -> str:
        """Of the classifier's tensors, which stay the same while a head is trained behind them."""
        prefix = f"{self.info.config.optimizer.evaluated}."
        return digest_of({name: value for name, value in self.saved.tensors.items() if name.startswith(prefix)})

    @property
    def checkpoint_sha256(self) -> str:
        """Of the checkpoint, which runs of an earlier version name."""
        return str(self.saved.scalars["sha256"])


def config_behind(folder: Path) -> tuple[Config, Path]:
    """The configuration that a mask head's run behind the run in `folder` has by default, and the run's shards.

    Raises UserError where it is no run.
    """
    info = RunDir(folder).read_info()
    if info.flat_digest is not None:
        raise UserError(f"--behind {folder}: was begun by an earlier version; train its classifier anew")
    try:
        shards = place_of_shards(folder, info)
    except UserError:  # others may be named
        shards = info.shards
    return info.config.changed(localizer="mask", behind_sha256=""), shards


def refuse_other_classifier(asked: Config, folder: Path) -> None:
    """Raise UserError where the command line asks for another classifier than the run in `folder` has, or for no
    head.
    """
    ours, theirs = asked.flat(), RunDir(folder).read_info().config.flat()
    for name, value in ours.items():
        if name not in _OWN and value != theirs[name]:
            raise UserError(
                f"{flag(name)} {value}: the classifier of {folder} was trained with {theirs[name]}, and what is "
                f"trained behind it cannot change that; leave the flag out"
            )
    if not asked.localizer.trains_mask:
        raise UserError(f"--behind {folder}: nothing is trained behind a classifier without --localizer mask")


def read_behind(folder: Path) -> Behind:
    """The run in `folder`. Raises UserError where it is none or has no checkpoint."""
    return Behind(folder, *read_run(RunDir(folder)))


def refuse_unfinished(behind: Behind, shards: Shards, compare: bool = True) -> None:
    """Raise UserError where the shards have other images than those that the classifier was trained on (they may have
    other boxes), or its training has not come to its end. compare: whether images of other shards are compared.
    """
    is_other = compare and behind.info.shards_digest != shards.digest
    if is_other and (why := other_than_its_own(shards, behind.folder, behind.info, verify=True)):
        raise UserError(
            f"--behind {behind.folder}: was trained on other shards than {shards.folder} ({why}); name its --shards"
        )
    images = len(hold_out(shards, behind.info.config.data.holdout).splits["train"])
    if (done := behind.saved.step) < (steps := Timetable(behind.info.config, images).classifier_steps):
        raise UserError(
            f"--behind {behind.folder}: its classifier has done {done:,} of {steps:,} steps; let it train to its end"
        )
