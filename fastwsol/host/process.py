"""What a process computes with, which others share its work, and whether it is asked to stop."""

from collections.abc import Callable
from dataclasses import dataclass

from fastwsol.host.device import Autocast
from fastwsol.host.stop_signals import never
from fastwsol.host.world import ALONE, World


@dataclass(frozen=True)
class Process:
    """This process at its work."""

    autocast: Autocast
    """Device and number format."""
    threads: int
    """Of the CPU's part of the work."""
    world: World = ALONE
    """The processes that do this work together."""
    gives_up: Callable[[], bool] = never
    """Whether the work is to be left, asked now and then where it can be."""
