"""What training counts on the device between two lines of progress, so that no step waits for the host."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fastwsol.host.world import World

Counts = dict[str, Tensor]
"""Sums over a batch by name, on the device; among them `correct`, the images that were classified rightly."""

CORRECT = ("correct",)
"""What the step of a classifier counts."""

NO_STEP = 2**62
"""The value of `bad_step` while every step was good: it is beyond every step."""


@dataclass(frozen=True)
class Totals:
    """Sums over the steps since the last line of progress, and two that go on from line to line; tensors without a
    dimension. Until `gather` each process sums over its own share of every batch.
    """

    loss: Tensor
    """float64, over images."""
    counts: Counts
    """int64, as the rest: what a step counts, over images."""
    steps: Tensor
    """Steps since the last line."""
    skipped: Tensor | None
    """Of those, the ones that the loss scaler skipped; None where nothing is scaled."""
    step: Tensor
    """All steps done."""
    bad_step: Tensor
    """The first step whose loss or gradients were not finite, or `NO_STEP`."""

    @classmethod
    def new(
        cls, device: torch.device, scaled: bool = False, counts: tuple[str, ...] = CORRECT, step: int = 0
    ) -> "Totals":
        """Those after `step` steps, of which nothing was counted. scaled: whether a loss scaler may skip steps; counts:
        the names of what a step counts.
        """

        def number(value: int = 0) -> Tensor:
            return torch.full((), value, dtype=torch.int64, device=device)

        return cls(
            loss=torch.zeros((), dtype=torch.float64, device=device),
            counts={name: number() for name in counts},
            steps=number(),
            skipped=number() if scaled else None,
            step=number(step),
            bad_step=number(NO_STEP),
        )

    def add(self, loss: Tensor, counts: Counts, finite: Tensor) -> None:
        """Count a step: its loss summed over images, its counts, and whether all of it was finite, bool []."""
        self.loss.add_(loss)
        for name, count in counts.items():
            self.counts[name].add_(count)
        self.steps.add_(1)
        # Not `torch.where`, which would send its number to the device, and that no graph captures.
        bad_step = self.step.masked_fill(finite, NO_STEP)
        self.bad_step.copy_(torch.minimum(self.bad_step, bad_step))
        self.step.add_(1)

    def gather(self, world: World) -> None:
        """Add the sums over images up in the leading process, and set the others' to zero. All get the first bad
        step.
        """
        if world.size == 1:
            return
        sums = self._over_images()
        whole = world.add_up(torch.stack([each.double() for each in sums]).cpu())
        for each, total in zip(sums, whole, strict=True):
            each.copy_(total if world.leads else torch.zeros(()))
        self.bad_step.copy_(world.least(self.bad_step.cpu()))

    def leave_to_lead(self, world: World) -> None:
        """Set the sums over images to zero in all processes but the leading one, which has them."""
        if not world.leads:
            for each in self._over_images():
                each.zero_()

    def begin_line(self) -> None:
        """Begin new sums."""
        since_line = (*self._over_images(), self.steps, self.skipped)
        for each in since_line:
            if each is not None:
                each.zero_()

    def tensors(self) -> dict[str, Tensor]:
        """All of them by the names that they have in checkpoints."""
        skipped = {} if self.skipped is None else {"skipped": self.skipped}
        of_steps = {"loss": self.loss, "steps": self.steps, "bad_step": self.bad_step, "step": self.step}
        return {f"totals.{name}": tensor for name, tensor in (skipped | self.counts | of_steps).items()}

    def _over_images(self) -> list[Tensor]:
        return [*self.counts.values(), self.loss]
