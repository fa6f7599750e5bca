"""python -m fastwsol.sweep table1: train a table's settings over seeds, and print it beside the paper's numbers.

Each run is a training of its own, `python -m fastwsol.train`, in a folder of its own. Finished runs are not trained
again, interrupted ones go on, and a run that fails does not stop the others. The same command goes on with the rest.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from fastwsol.host.starting import run

    run("sweep")

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from fastwsol.config import DEPTH_OF, Config, NetworkConfig, Setting, flag, option_field
from fastwsol.dataset.first_classes import folder_of_first_classes, with_first_classes
from fastwsol.dataset.shards import MANIFEST_NAME, read_manifest
from fastwsol.experiments.local_runs import Children, Stoppable
from fastwsol.experiments.over_seeds import SettingRuns
from fastwsol.experiments.ray_runs import RayChildren, RayFlags
from fastwsol.experiments.settings import SweepPlan, only_useful, plan_sweep
from fastwsol.experiments.sweep_results import finished_runs, results_json
from fastwsol.experiments.table_files import check_table, write_table
from fastwsol.experiments.tables import print_over_seeds
from fastwsol.experiments.trainings import Run, Trainings
from fastwsol.experiments.workload import Workload
from fastwsol.host.command_line import parse_flags, parse_some_flags
from fastwsol.host.errors import Interrupted, RunFailure, UserError
from fastwsol.host.files import write_json
from fastwsol.host.flags import OptionalPath, shown_as
from fastwsol.host.limits import usable_cores
from fastwsol.host.places import require_apart, require_file
from fastwsol.host.words import number_of
from fastwsol.network.backbone_weights import read_weights
from fastwsol.runs.folder import RunDir
from fastwsol.runs.info import folder_of_run
from fastwsol.training.feasibility import refuse_no_split
from fastwsol.training.launch import Launch
from fastwsol.training.launch_flags import flags_named, note_on_photographs
from fastwsol.training.presets import PRESETS, preset_at
from fastwsol.useless_options import why_no_features

PROG = "python -m fastwsol.sweep"


@dataclass(frozen=True)
class Flags:
    """The command line."""

    what: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="TABLE|FILE.toml", help_behavior_hint="(required)"),
    ]
    """table1, table2, or a TOML file of settings; several are one sweep"""
    seeds: int = 3
    """runs of each setting, of seeds --seed, --seed + 1, ..."""
    runs: Path = Path("data/runs")
    """folder of the runs' folders"""
    classes: Annotated[int | None, shown_as("N")] = None
    """only the first N classes, packed into a folder next to the shards' (default: all)"""
    jobs: int = 1
    """trainings at a time on this machine, which share its cores; small batches leave room on a large GPU"""
    out: OptionalPath = None
    """also write the results to this JSON file; one that is there is replaced"""
    table: OptionalPath = None
    """also write the tables to this file, in the form of its ending: .csv, .md or .tex; one that is there is
    replaced"""
    list: bool = False
    """say what would be trained and how far it is, and stop"""
    config: Config = field(default_factory=Config)
    launch: Launch = field(default_factory=Launch)
    ray: RayFlags = field(default_factory=RayFlags)


@dataclass(frozen=True)
class _Network:
    """The flag that names the network."""

    backbone: str = ""


def main(arguments: Sequence[str]) -> int:
    """Train what is left, then print the tables; exit status 1 where a run failed, 75 where it was stopped."""
    flags = read_flags(arguments)
    check(flags)
    if note := note_on_photographs(flags_named(arguments, PROG)):
        print(note)
    flags = replace(flags, launch=replace(flags.launch, threads=threads_a_run(flags)))
    flags = replace(flags, launch=replace(flags.launch, shards=shards_of(flags)))
    plan = plan_sweep(flags.what, flags.config.setting, lambda name: is_given(name, arguments))
    plan = with_weights(plan, flags.launch.weights)
    default = preset_at(flags.launch.preset, flags.config.views.image_size).config.setting
    plan = only_useful(plan, default, lambda setting: is_begun(setting, flags))
    manifest, _ = read_manifest(flags.launch.shards)
    refuse_no_split(plan.settings[0], manifest.splits, flags.launch.shards)
    runs = runs_of(plan, flags)
    workload = Workload(manifest.splits["train"].images, len(manifest.classes))
    of_each = f"{number_of(len(plan.settings), 'setting')}, {number_of(flags.seeds, 'seed')}"
    print(f"{of_each}: {number_of(len(runs), 'run')} in {flags.runs}")
    at_work = None if flags.ray.ray else flags.jobs  # Ray decides itself which of those handed over begin
    trainings = Trainings(runs, workload, lambda run: command_of(run, flags.launch), at_work, bool(flags.ray.ray))
    if flags.list:
        for run in runs:
            print(f"  {trainings.state_of(run):12}{run.folder.name}  {plan.name(run.config)}")
        return 0
    read_finished(plan, runs)  # a report that cannot be read is refused now, and not after the trainings
    flags.runs.mkdir(parents=True, exist_ok=True)
    children = children_of(flags)
    failures = trainings.carry_out(children)
    if children.stopped:
        raise Interrupted(f"{flags.runs}: the runs stopped at what they have saved; the same command goes on")
    tell(flags, plan, runs, failures)
    if failures:
        raise RunFailure(
            f"{len(failures)} of {len(runs)} runs: {failures[0]}; mend that and run the same command again"
        )
    return 0


def tell(flags: Flags, plan: SweepPlan, runs: Sequence[Run], failures: Sequence[str]) -> None:
    """Print the tables, and write what is asked for."""
    settings = read_finished(plan, runs)
    if flags.out is not None:
        write_json(flags.out, {**results_json(settings), "seeds": seeds_of(flags), "failures": failures})
    if flags.table is not None:
        write_table(flags.table, settings)
    print_over_seeds(settings)
    if written := [str(path) for path in (flags.out, flags.table) if path is not None]:
        print(f"written to {' and '.join(written)}")


def shards_of(flags: Flags) -> Path:
    """The shards that are trained on: with --classes those of the first classes, which are packed where they are not
    there. --list packs nothing, and counts all classes then.
    """
    folder, count = flags.launch.shards, flags.classes
    if count is None or (flags.list and not (folder_of_first_classes(folder, count) / MANIFEST_NAME).is_file()):
        return folder
    return with_first_classes(folder, count)


def with_weights(plan: SweepPlan, weights: str) -> SweepPlan:
    """The plan, each setting with the digest of the weights that its backbone starts from, as its run will have it."""
    digests: dict[NetworkConfig, str] = {}
    for network in (setting.network for setting in plan.settings):
        if network not in digests:
            published = read_weights(weights, network)
            digests[network] = published.sha256 if published is not None else ""
    settings = (each.changed(weights_sha256=digests[each.network]) for each in plan.settings)
    return replace(plan, settings=tuple(settings))


def read_finished(plan: SweepPlan, runs: Sequence[Run]) -> list[SettingRuns]:
    """The settings with the reports of those runs that are finished. Raises UserError for one of another version."""
    return finished_runs(plan, [(run.config.setting, run.folder) for run in runs if run.finished()])


def read_flags(arguments: Sequence[str]) -> Flags:
    """Flags from the command line over the defaults of the preset that it names."""
    named = flags_named(arguments, PROG)
    preset = preset_at(named.preset_name, named.image_size)
    launch = Launch(preset=named.preset_name, log=preset.log, weights=preset.weights)
    default = Flags(("",), config=preset.config, launch=launch)
    description = (
        "Train the settings of the paper's tables, or of a TOML file, over seeds; print them beside the paper's "
        "numbers, the fixed boxes and the verdicts on its claims. What is finished is not trained again."
    )
    return parse_flags(Flags, arguments, PROG, description, default)


def is_given(option: str, arguments: Sequence[str]) -> bool:
    """Whether a command line says an option of the configuration; a depth perhaps in the network's name."""
    if option == "depth" and parse_some_flags(_Network, arguments, PROG)[0].backbone in DEPTH_OF:
        return True
    alone = make_dataclass("OneOption", [option_field(option)], frozen=True)
    _, others = parse_some_flags(alone, arguments, PROG)
    return len(others) < len(arguments)


def check(flags: Flags) -> None:
    """Raise UserError for flags that no sweep can have."""
    if flags.ray.ray and flags.jobs > 1:
        raise UserError(f"--jobs {flags.jobs}: with --ray, what a run claims decides; use --cpus-per-run")
    for name in ("cpus_per_run", "gpus_per_run"):
        if not 0 <= getattr(flags.ray, name) < float("inf"):
            raise UserError(f"{flag(name)} {getattr(flags.ray, name)}: must be at least 0")
    if not flags.ray.cpus_per_run + flags.ray.gpus_per_run:
        raise UserError("--cpus-per-run 0: a run has to claim something; give it --gpus-per-run")
    if flags.what == ("",):
        raise UserError(f"nothing is named to train; name table1, table2 or a TOML file (flags: {PROG} --help)")
    for name in ("seeds", "jobs"):
        if getattr(flags, name) < 1:
            raise UserError(f"{flag(name)} {getattr(flags, name)}: must be at least 1")
    if flags.out is not None:
        require_file("--out", flags.out)
    check_table(flags.table)
    require_apart({"--out": flags.out, "--table": flags.table})


def threads_a_run(flags: Flags) -> int:
    """--threads, or else as many as a run's share of the cores; 0, all of them, where it has them to itself."""
    if flags.launch.threads:
        return flags.launch.threads
    if flags.ray.ray:
        return max(1, int(flags.ray.cpus_per_run))
    return max(1, usable_cores() // flags.jobs) if flags.jobs > 1 else 0


def runs_of(plan: SweepPlan, flags: Flags) -> list[Run]:
    """Every run, the first seed of all settings before the second. Raises UserError where one is of other shards."""
    _, digest = read_manifest(flags.launch.shards)
    configs = [Config.of_setting(each, seed) for seed in seeds_of(flags) for each in plan.settings]
    runs = [Run(each, folder_of_run(flags.runs, each, flags.launch.log)) for each in configs]
    for run in runs:
        if (run.folder / "config.json").is_file() and RunDir(run.folder).read_info().shards_digest != digest:
            raise UserError(f"{run.folder}: was trained on other shards than {flags.launch.shards}; name other --runs")
    return runs


def seeds_of(flags: Flags) -> list[int]:
    """The seeds of a sweep."""
    return [flags.config.seed + k for k in range(flags.seeds)]


def is_begun(setting: Setting, flags: Flags) -> bool:
    """Whether there is a run of a setting."""
    configs = [Config.of_setting(setting, seed) for seed in seeds_of(flags)]
    return any(RunDir(folder_of_run(flags.runs, each, flags.launch.log)).has_info() for each in configs)


def command_of(run: Run, launch: Launch) -> list[str]:
    """The training of one run, as it can be given by hand too: only what differs from the preset's is named."""
    preset = preset_at(launch.preset, run.config.views.image_size)
    own_size = PRESETS[launch.preset]().config.views.image_size
    words = ["--preset", launch.preset]
    features = None if why_no_features(run.config) else launch.features
    launch = replace(launch, shards=launch.shards.absolute(), features=features)
    pairs = (
        (run.config.flat(), preset.config.flat() | {"image_size": own_size}),
        (vars(launch.log), vars(preset.log)),
        (vars(launch), vars(Launch(weights=preset.weights))),
    )
    for values, defaults in pairs:
        for name, value in values.items():
            if value != defaults[name] and name not in ("preset", "log", "init_sha256", "weights_sha256"):
                words += _flag_words(name, value)
    return [sys.executable, "-m", "fastwsol.train", *words, "--run-dir", str(run.folder.absolute())]


def _flag_words(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [flag(name) if value else flag(f"no_{name}")]
    if name == "weights" and Path(value).is_file():  # a worker of Ray has another working directory
        value = Path(value)
    return [flag(name), str(value.absolute() if isinstance(value, Path) else value)]


def children_of(flags: Flags) -> Stoppable:
    """What carries the runs out."""
    return RayChildren(flags.ray) if flags.ray.ray else Children(flags.jobs)
