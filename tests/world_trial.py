"""What each of several processes sees of `fastwsol.host.world`; tests read what it wrote."""

import json
import time
from pathlib import Path

import torch

from fastwsol.host.errors import RunFailure, UserError
from fastwsol.host.world import SharedFlags, joined


def main(folder: Path) -> None:
    with joined() as world:
        seen = {"rank": world.rank, "size": world.size, "leads": world.leads}

        def verified(verify: bool) -> tuple[bool, float, float]:
            start = time.monotonic()
            if verify:
                sum(range(5_000_000))  # takes a while, which the others have to wait for
            return verify, start, time.monotonic()

        seen["verified"] = world.machine_lead_first(verified)
        seen["value"] = world.value_of_lead(f"of {world.rank}")
        seen["sum"] = world.add_up(torch.tensor([1.0 + world.rank, 0.25])).tolist()
        seen["least"] = int(world.least(torch.tensor(5 - world.rank)))
        weight = torch.full((2, 3, 2, 2), float(world.rank)).contiguous(memory_format=torch.channels_last)
        world.share_from_lead([weight])
        seen["shared"] = weight.flatten().tolist()
        seen["kept_layout"] = weight.is_contiguous(memory_format=torch.channels_last)
        seen["done_by"] = world.lead_does(lambda: world.rank)

        def fail_in(rank: int, error: Exception) -> object:
            if world.rank == rank:
                raise error
            return "not reached"

        for name, rank, error in (
            ("lead_fails", 0, UserError("a mistake")),
            ("other_fails", 1, RunFailure("a failure")),
            ("disk_full", 1, OSError(28, "No space left on device", "a file")),
        ):
            try:
                seen[name] = world.together(lambda rank=rank, error=error: fail_in(rank, error))
            except Exception as raised:
                seen[name] = [type(raised).__name__, str(raised)]

        for name, value in (("agreed", 3), ("disagreed", world.rank)):
            try:
                seen[name] = world.agree_on({"--seed": 0, "--lr": value})
            except UserError as raised:
                seen[name] = str(raised)

        seen["hours"] = world.hosts._get_backend(torch.device("cpu")).options._timeout.total_seconds() / 3600
        wishes = SharedFlags(world)
        seen["wishes"] = []
        for step in range(6):
            sum(range(300_000 * world.rank))  # out of step with each other, as processes are
            seen["wishes"].append(wishes.agree(world.rank == 1 and step == 2, world.rank == 0 and step == 4))
    (folder / f"{world.rank}.json").write_text(json.dumps(seen))
