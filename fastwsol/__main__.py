"""python -m fastwsol: the list of commands."""

COMMANDS = {
    "python scripts/pack.py": "pack Tiny ImageNet, or the synthetic set, into shards",
    "python -m fastwsol.train": "train a classifier on image labels alone; continues an unfinished run",
    "python -m fastwsol.evaluate RUN": "tables of a run: classification and localization, beside trivial baselines",
    "python -m fastwsol.evaluate --maps M --boxes B": "the same of anyone's score maps, without a network",
    "python -m fastwsol.compare A B": "two networks on the same images: differences, intervals, sign test",
    "python scripts/collect_results.py RUNS": "finished runs as one result file, with mean and spread over seeds",
    "python scripts/compare_bench.py OLD NEW": "which ratios moved between two result files of the benchmarks",
    "python scripts/accept_gpu.py --out DIR": "try the claims on a GPU, phase by phase; --dry-run on a CPU",
    "pytest bench --benchmark-only": "measure the pipeline, the training step and the boxing on this machine",
}


def main() -> None:
    """Print every command with what it is for."""
    print("fastwsol: class labels in, boxes out\n")
    for command, purpose in COMMANDS.items():
        print(f"  {command:48}{purpose}")
    print("\nEach has --help.")


if __name__ == "__main__":
    main()
