"""python -m fastwsol: the list of commands; and the commands as scripts, which is what a shell can complete."""

import difflib
import sys
from functools import partial

from fastwsol.host.starting import run

COMMANDS = {
    "from images to numbers": {
        "python scripts/pack.py": "pack Tiny ImageNet, own images or the synthetic set into shards",
        "python -m fastwsol.train": "train a classifier on image labels alone; continues an unfinished run",
        "python -m fastwsol.evaluate RUN": "tables of a run: classification and localization, beside trivial baselines",
        "python -m fastwsol.evaluate --maps M --boxes B": "the same of anyone's score maps, without a network",
        "python -m fastwsol.sweep table1": "the paper's tables, or a file's settings, over seeds; its claims judged",
        "python -m fastwsol.report RUNS --out FILE.html": "one page to look at runs with: numbers, curves, galleries",
        "python -m fastwsol.compare A B": "two networks, or two recipes of several seeds, on the same images",
    },
    "from a network to boxes": {
        "python -m fastwsol.predict RUN IMAGES --out FILE": "boxes and masks for images that nobody has labelled",
        "python -m fastwsol.review FILE --images DIR": "a page to accept, correct and reject predictions with",
        "python -m fastwsol.export RUN --onnx FILE": "the network as a graph for other programs",
        "python -m fastwsol.convert PREDICTIONS --out FILE": "predictions, or a packed set, in another tool's form",
    },
    "measurements of the software": {
        "python scripts/collect_results.py RUNS": "finished runs as one result file, with mean and spread over seeds",
        "pytest bench --benchmark-only": "the pipeline, the training step and the boxing on this machine",
        "python scripts/compare_bench.py OLD NEW": "which ratios moved between two result files of the benchmarks",
        "python scripts/accept_gpu.py --out DIR": "try the claims on a GPU, phase by phase; --dry-run on a CPU",
    },
}


_NAMES = ("pack", "train", "evaluate", "predict", "convert", "export", "review", "compare", "sweep", "report")


def main() -> None:
    """`python -m fastwsol NAME ...` is `python -m fastwsol.NAME ...`; without a name, all commands are listed."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in _NAMES:
        sys.argv = [sys.argv[0], *sys.argv[2:]]
        run(name)
    if name not in ("-h", "--help"):
        near = difflib.get_close_matches(name, _NAMES, n=1)
        hint = f"perhaps you meant {near[0]}" if near else f"choose from {', '.join(_NAMES)}"
        print(f"error: {name}: no such command; {hint}", file=sys.stderr)
        sys.exit(2)
    print_commands()


def print_commands() -> None:
    """Print every command with what it is for."""
    print("fastwsol: class labels in, boxes out")
    for group, commands in COMMANDS.items():
        print(f"\n{group}")
        for command, purpose in commands.items():
            print(f"  {command:50}{purpose}")
    print("\nEach has --help. fastwsol train, fastwsol-train and python -m fastwsol.train are the same, and so on.")
    print("A shell completes the flags of fastwsol-train.")


# The scripts fastwsol-pack and so on (pyproject.toml).
pack, train, evaluate, predict, convert, export, review, compare, sweep, report = (
    partial(run, name) for name in _NAMES
)


if __name__ == "__main__":
    main()
