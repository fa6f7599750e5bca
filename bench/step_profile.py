"""Where a training step's time and bytes go, operation by operation: a page for bench/results.

    python bench/step_profile.py --depth 18 --stem C --batch 32 --out bench/results/step-profile.md

Time is torch.profiler's own time of each operation, the mean of several eager steps; bytes are of the tensors that it
takes and gives, as if none were in a cache. The floor is what would be left if everything else were fused into the
convolutions and the optimizer: their operations at the rate of matrix products, or their bytes at that of a copy.
"""

import argparse
from collections import Counter
from pathlib import Path

import torch
from step_cost import CLASSES, CPU, ceilings, noise
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fastwsol.config import Config
from fastwsol.host.device import pick_autocast, use_threads
from fastwsol.host.environment import environment
from fastwsol.host.files import write_bytes
from fastwsol.network.preact_resnet import GMAC
from fastwsol.training.step import make_loss, new_state, train_step

STEPS = 5
SHOWN = 12
KEPT_AT_THE_FLOOR = ("convolution", "_fused_sgd")


class Bytes(TorchDispatchMode):
    """Adds up what each operation takes and gives. Views move nothing and count nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.moved: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if not function.is_view:
            tensors = [each for each in tree_leaves((args, kwargs or {}, result)) if isinstance(each, torch.Tensor)]
            self.moved[function._schema.name] += sum(tensor.nbytes for tensor in tensors)
        return result


def main() -> None:
    """Profile, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=18)
    parser.add_argument("--stem", default="C")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--out", type=Path, required=True, help="Markdown file")
    flags = parser.parse_args()
    threads, autocast = use_threads(0), pick_autocast("auto", CPU)
    state = new_state(Config.of(depth=flags.depth, stem=flags.stem), CLASSES, autocast)
    loss_of = make_loss(state.model, autocast, compiled=False)
    images, labels = noise(flags.batch)
    for _ in range(2):
        train_step(state, loss_of, images, labels, 0.01)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(STEPS):
            train_step(state, loss_of, images, labels, 0.01)
    with Bytes() as counted:
        train_step(state, loss_of, images, labels, 0.01)
    rows = sorted(profiled.key_averages(), key=lambda row: -row.self_cpu_time_total)
    total = sum(row.self_cpu_time_total for row in rows) / STEPS / 1e6
    found = ceilings()
    page = page_of(flags, autocast.precision, threads, rows, total, counted.moved, found)
    write_bytes(flags.out, page.encode())
    print(page)


def page_of(flags, precision, threads, rows, total, moved, found) -> str:
    """The page as Markdown."""
    about = environment()
    copy, products = found["copy, bytes/s"], found[f"{precision} matrix product, FLOP/s"]
    kept = sum(count for name, count in moved.items() if any(each in name for each in KEPT_AT_THE_FLOOR))
    operations = 6e9 * GMAC[flags.depth, flags.stem] * flags.batch
    lines = [
        f"# One step of ResNet-{flags.depth}, stem {flags.stem}, batch {flags.batch}, {precision}, eager",
        "",
        f"`{about['command']}` at commit {about['git']}, torch {about['versions']['torch']}, {threads} threads of "
        f"{about['machine']['processor']}. A step takes {1000 * total:.0f} ms, {flags.batch / total:.0f} images/s.",
        "",
        "| operation | calls a step | ms | share | MB taken and given | GB/s |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows[:SHOWN]:
        seconds = row.self_cpu_time_total / STEPS / 1e6
        count = moved[row.key.replace("mkldnn_", "")]  # a backend's name, for the operation that called it
        lines.append(
            f"| `{row.key}` | {row.count / STEPS:.0f} | {1000 * seconds:.1f} | {100 * seconds / total:.1f} % | "
            + (f"{count / 1e6:.0f} | {count / 1e9 / seconds:.1f} |" if count >= 1e6 else "| |")
        )
    lines += [
        "",
        f"Together they take and give {sum(moved.values()) / 1e6:,.0f} MB. The convolutions and the optimizer "
        f"alone: {kept / 1e6:,.0f} MB, {1000 * kept / copy:.0f} ms at the {copy / 1e9:.1f} GB/s of a copy. Their "
        f"{operations / 1e9:,.0f} G operations take {1000 * operations / products:.0f} ms at the "
        f"{products / 1e9:,.0f} GFLOP/s of {precision} matrix products. The larger of the two is the floor: "
        f"{100 * max(kept / copy, operations / products) / total:.0f} % of the step.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
