"""What a training step could take at best on a GPU, on paper: its convolutions and what each way to do the rest moves.

    python bench/step_bound.py --rates bench/results/h200/ed69f57/rates.json --out bench/results/step-bound.json

Nothing is run but the network's shapes. `rates.json` (`scripts/accept_gpu.py rates`) has what was measured: the rates
of a matrix product and of a copy, and the step in its modes. Tensors are bf16, and none is found in a cache. What a way
moves are the passes of BN, ReLU, the blocks' sums and the max pool over the tensors behind the convolutions:

| | forward | backward |
|---|---|---|
| apart | BN: two read, one written; ReLU: one, one | ReLU: two read, one written; BN: four read, one written |
| in one pass | two read, one written | four read, one written: ReLU's part is made again |
| statistics in the convolutions | one read, one written | two read, one written |
| all in the convolutions | none | none |

They are ideal figures, and bound no real step: convolutions of 3 channels are far from the rate of a square product,
and those of 64 are not near it.
"""

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from fastwsol.host.environment import environment
from fastwsol.host.files import write_json
from fastwsol.network.preact_resnet import BatchNormReLU, Block, PreActResNet, SameConv2d, SameMaxPool2d

BF16 = 2
WAYS = {"apart": 13, "in one pass": 8, "statistics in the convolutions": 5, "all in the convolutions": 0}
"""Passes over the tensor of each pair of BN and ReLU, both directions together."""
SUM_PASSES = {"apart": 6, "in one pass": 6, "statistics in the convolutions": 2, "all in the convolutions": 2}
"""Over the tensor of each block's sum, in both directions: two read and one written; in a convolution, which has one of
the two and writes anyway, one read.
"""
OPTIMIZER_PASSES = 5
"""Over float32 numbers: weight, gradient and momentum read, weight and momentum written."""
IMAGE_SIZE, CLASSES = 64, 200


@dataclass
class Work:
    """Of one step."""

    convolutions: list[tuple[int, int]] = field(default_factory=list)
    """Of each its operations and bytes, both directions."""
    normalised: int = 0
    """Numbers in all tensors behind BN and ReLU."""
    summed: int = 0
    pooled_bytes: int = 0
    parameters: int = 0

    def convolution_seconds(self, product_rate: float, copy_rate: float) -> float:
        """Each at the rate of a product, or of a copy where that takes longer."""
        return sum(max(operations / product_rate, moved / copy_rate) for operations, moved in self.convolutions)


def work_of(depth: int, stem: str, batch: int) -> Work:
    """What a step of a pre-activation ResNet does, counted on the meta device."""
    work = Work()

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if not isinstance(output, Tensor):  # the whole network's
            return
        taken, given = inputs[0].numel(), output.numel()
        if isinstance(module, SameConv2d):
            macs = given * module.in_channels * module.kernel_size[0] * module.kernel_size[1]
            passes = 2 if module.in_channels == 3 else 3  # images need no gradient
            work.convolutions.append((passes * 2 * macs, passes * BF16 * (taken + given)))
        elif isinstance(module, BatchNormReLU):
            work.normalised += given
        elif isinstance(module, Block):
            work.summed += given
        elif isinstance(module, SameMaxPool2d):
            work.pooled_bytes += 2 * BF16 * (taken + given)

    with torch.device("meta"):
        model = PreActResNet(depth, stem, CLASSES)  # type: ignore[arg-type]
        for module in model.modules():
            module.register_forward_hook(count)
        model(torch.empty(batch, 3, IMAGE_SIZE, IMAGE_SIZE))
    work.parameters = sum(each.numel() for each in model.parameters())
    return work


def main() -> None:
    """Count, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=Path, required=True, help="file of scripts/accept_gpu.py rates")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    flags = parser.parse_args()
    checks = {each["check"]: each.get("figures", {}) for each in json.loads(flags.rates.read_bytes())["checks"]}
    product_rate = 1e12 * checks["bf16 matrix product"]["TFLOP/s"]
    copy_rate = 1e9 * checks["device copy"]["GB/s"]
    rows = []
    for name, figures in checks.items():
        if not name.startswith("step, 18A") or not figures:
            continue
        batch = int(name.rpartition(" ")[2])
        work = work_of(18, "A", batch)
        row = {
            "batch": batch,
            "measured_ms": {mode: each["ms"] for mode, each in figures["modes"].items()},
            "convolutions_ms": 1000 * work.convolution_seconds(product_rate, copy_rate),
            "convolutions_ms_by_bytes": 1000 * sum(moved for _, moved in work.convolutions) / copy_rate,
            "optimizer_ms": 1000 * OPTIMIZER_PASSES * 4 * work.parameters / copy_rate,
            "rest_ms": {
                way: 1000
                * (BF16 * (passes * work.normalised + SUM_PASSES[way] * work.summed) + (passes > 0) * work.pooled_bytes)
                / copy_rate
                for way, passes in WAYS.items()
            },
        }
        rows.append(row)
        print(json.dumps(row, indent=1))
    about = {"command": f"python bench/step_bound.py --rates {flags.rates} --out FILE", **environment()}
    write_json(flags.out, about | {"network": "ResNet-18, stem A, bf16", "steps": rows})


if __name__ == "__main__":
    main()
