"""What a sweep trains: the settings of the paper's tables, or of a file.

A file is TOML. `[grid]` holds lists of values of train's flags, of which every combination is a setting; each
`[[settings]]` table holds some values of its own, and with both every combination is made of every one:

    [grid]
    aug = ["none", "hns", "gr"]
    [[settings]]
    label-smoothing = 0.1
"""

import itertools
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastwsol.config import FLAT_NAMES, Setting, flag
from fastwsol.experiments.paper_numbers import AUGS, BATCH_SIZES, DEPTHS
from fastwsol.host.errors import UserError

Changes = dict[str, Any]
"""Values by the names of their flags."""

TABLES: dict[str, dict[str, Sequence[Any]]] = {
    "table1": {"depth": DEPTHS, "aug": AUGS},
    "table2": {"depth": DEPTHS, "batch_size": BATCH_SIZES, "aug": AUGS[:3]},
}
"""What each of the paper's tables varies; table 1 is at the batch size of the preset, 256."""

_OF_RUNS = ("seed", "init_sha256", "weights_sha256", "behind_sha256")
"""Options that no file can vary: seeds come from --seeds, and all runs begin with drawn weights."""


@dataclass(frozen=True)
class SweepPlan:
    """The settings of a sweep."""

    settings: tuple[Setting, ...]
    """All different."""
    varied: tuple[str, ...]
    """The options in which they differ, which name them."""

    def name(self, setting: Setting) -> str:
        """What tells a setting apart from the others."""
        values = setting.flat()
        named = ("aug", "depth") if setting.network.is_ours else ("backbone", "aug")
        return " ".join(f"{flag(name)} {values[name]}" for name in self.varied or named)


def plan_sweep(names: Sequence[str], base: Setting, is_given: Callable[[str], bool]) -> SweepPlan:
    """The settings of `names`, tables or files, over `base`. A setting that two of them share counts once.

    is_given: whether the command line says an option; a table then has only that value, a file may not name it.
    Raises UserError for a name that is neither, or a file with what no setting can be.
    """
    changes: list[tuple[str, Changes]] = []
    for name in names:
        if name in TABLES:
            table, values = TABLES[name], base.flat()
            values_of = {option: [values[option]] for option in table if is_given(option)}
            changes += [(name, each) for each in product(table | values_of)]
        else:
            changes += [(name, each) for each in read_settings(Path(name), is_given)]
    return plan_of([_changed(base, each, name) for name, each in changes])


def plan_of(settings: Sequence[Setting]) -> SweepPlan:
    """A plan of these settings. Equal ones count once, and they are named by the options in which they differ."""
    different = tuple(dict.fromkeys(settings))
    values_of = [setting.flat() for setting in different]
    varied = tuple(name for name in values_of[0] if len({values[name] for values in values_of}) > 1)
    return SweepPlan(different, varied)


def product(grid: Mapping[str, Sequence[Any]]) -> list[Changes]:
    """Every combination of the values, the last option's changing fastest."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def read_settings(path: Path, is_given: Callable[[str], bool]) -> list[Changes]:
    """The settings of a TOML file. Raises UserError naming the file and the key."""
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        tables = " and ".join(TABLES)
        raise UserError(f"{path}: cannot be read ({error.strerror}); name a TOML file, or of {tables}") from None
    except ValueError as error:  # UnicodeDecodeError too
        raise UserError(f"{path}: not TOML ({error}); see python -m fastwsol.sweep --help") from None
    if unknown := content.keys() - {"grid", "settings"}:
        raise UserError(f"{path}: {min(unknown)}: belongs below [grid] or [[settings]]")
    grid, own = content.get("grid", {}), content.get("settings", [{}])
    if not isinstance(grid, dict) or not isinstance(own, list) or not all(isinstance(each, dict) for each in own):
        raise UserError(f"{path}: write [grid] once, and [[settings]] as often as there are settings")
    if not grid and own == [{}]:
        raise UserError(f"{path}: has neither a [grid] nor [[settings]]; there is nothing to train")
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise UserError(f"{path}: [grid] {key}: must be a list of values")
    combined = [a | b for a, b in itertools.product(own, product(grid))]
    for key in {key for each in combined for key in each}:
        _check_key(path, key, is_given)
    return [{key.replace("-", "_"): value for key, value in each.items()} for each in combined]


def _check_key(path: Path, key: str, is_given: Callable[[str], bool]) -> None:
    name = key.replace("-", "_")
    if name in _OF_RUNS or name not in FLAT_NAMES:
        remedy = "use --seeds" if name == "seed" else "name a flag of train's that says what a run is"
        raise UserError(f"{path}: {key}: no setting; {remedy}")
    if is_given(name):
        raise UserError(f"{flag(name)}: {path} says it too; leave one of the two out")


def _changed(base: Setting, changes: Changes, where: str) -> Setting:
    if "image_size" in changes and base.schedule.has_own_sizes and not {"start_size", "end_size"} <= changes.keys():
        sizes = base.schedule
        raise UserError(
            f"{where}: image_size: images grow from {sizes.start_size} to {sizes.end_size} pixels here; name "
            f"start_size and end_size beside it"
        )
    try:
        return base.changed(**changes)
    except (UserError, TypeError) as error:
        raise UserError(f"{where}: {error}") from None
