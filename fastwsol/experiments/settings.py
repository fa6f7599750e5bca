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

from fastwsol.config import FLAT_NAMES, Setting, differing_options, flag
from fastwsol.experiments.paper_numbers import AUGS, BATCH_SIZES, DEPTHS
from fastwsol.host.errors import UserError
from fastwsol.useless_options import without_use

Changes = dict[str, Any]
"""Values by the names of their flags."""

TABLES: dict[str, dict[str, Sequence[Any]]] = {
    "table1": {"depth": DEPTHS, "aug": AUGS},
    "table2": {"depth": DEPTHS, "batch_size": BATCH_SIZES, "aug": AUGS[:3]},
}
"""What each of the paper's tables varies; table 1 is at the batch size of the preset, 256."""

_OF_RUNS = ("seed", "init_sha256", "weights_sha256", "behind_sha256")
"""Options that no file can vary: seeds come from --seeds, and weights from --weights."""


@dataclass(frozen=True)
class SweepPlan:
    """The settings of a sweep."""

    settings: tuple[Setting, ...]
    """All different."""
    varied: tuple[str, ...]
    """The options in which they differ, which name them."""

    def name(self, setting: Setting) -> str:
        """What tells a setting apart from the others."""
        values, idle = setting.flat(), without_use(setting)
        named = ("aug", "depth") if setting.network.is_ours else ("backbone", "aug")
        shown = [name for name in self.varied if name not in idle]
        return " ".join(f"{flag(name)} {values[name]}" for name in shown or named)


def plan_sweep(names: Sequence[str], base: Setting, is_given: Callable[[str], bool]) -> SweepPlan:
    """The settings of `names`, tables or files, over `base`. A setting that two of them share counts once. A table does
    not vary the depth of a network that has none.

    is_given: whether the command line says an option; a table then has only that value, a file may not name it.
    Raises UserError for a name that is neither, or a file with what no setting can be.
    """
    changes: list[tuple[str, Changes]] = []
    for name in names:
        if name in TABLES:
            table, values = TABLES[name], base.flat()
            if not base.network.is_ours:
                table = {option: of_option for option, of_option in table.items() if option != "depth"}
            values_of = {option: [values[option]] for option in table if is_given(option)}
            changes += [(name, each) for each in product(table | values_of)]
        else:
            changes += [(name, each) for each in read_settings(Path(name), is_given)]
    return plan_of([_changed(base, each, name) for name, each in changes])


def only_useful(plan: SweepPlan, default: Setting, is_begun: Callable[[Setting], bool]) -> SweepPlan:
    """The plan with options that change nothing in a setting, as --mix-share beside --mix none, at their value by
    default there; settings that then are equal count once.

    is_begun: whether there are runs of a setting, which stays as it is then. Raises UserError for an option that
    changes nothing in any setting, none of which is begun.
    """
    begun = {setting for setting in plan.settings if is_begun(setting)}
    of_default = default.flat()
    for name, why in without_use(plan.settings[0]).items():
        values = {each.flat()[name] for each in plan.settings} - {of_default[name]}
        if values and not begun and all(name in without_use(each) for each in plan.settings):
            raise UserError(f"{flag(name)} {min(values)}: {why}, or leave it out")
    return plan_of(
        [
            each if each in begun else each.changed(**{name: of_default[name] for name in without_use(each)})
            for each in plan.settings
        ]
    )


def plan_of(settings: Sequence[Setting]) -> SweepPlan:
    """A plan of these settings. Equal ones count once, and they are named by the options in which they differ. Raises
    UserError where they are measured on different images.
    """
    for name in ("holdout", "eval_on"):
        if len(values := sorted({vars(setting.data)[name] for setting in settings})) > 1:
            raise UserError(
                f"{flag(name)} {values[0]} and {values[1]}: such runs are measured on different images, and no table "
                f"can compare them; take them apart"
            )
    different = tuple(dict.fromkeys(settings))
    return SweepPlan(different, differing_options([setting.flat() for setting in different]))


def product(grid: Mapping[str, Sequence[Any]]) -> list[Changes]:
    """Every combination of the values, the last option's changing fastest."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def read_settings(path: Path, is_given: Callable[[str], bool]) -> list[Changes]:
    """The settings of a TOML file. Raises UserError naming the file and the key."""
    grid, own = _read_blocks(path)
    grid = _by_name(path, "[grid]", grid, is_given)
    own = [_by_name(path, "[[settings]]", each, is_given) for each in own]
    for each in own:
        if both := each.keys() & grid.keys():
            raise UserError(f"{path}: {min(both)}: stands in [grid] and in a [[settings]]; leave one of the two out")
    return [a | b for a, b in itertools.product(own, product(grid))]


def _read_blocks(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What stands below [grid], and below each [[settings]]."""
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
        if twice := [value for value in values if values.count(value) > 1]:
            raise UserError(f"{path}: [grid] {key}: {twice[0]} stands there twice; leave one out")
    return grid, own


def _by_name(path: Path, block: str, values: Mapping[str, Any], is_given: Callable[[str], bool]) -> dict[str, Any]:
    """The values of a block by the names of options. Raises UserError for a key that is none, or stands there twice."""
    of_name: dict[str, Any] = {}
    for key, value in values.items():
        _check_key(path, key, is_given)
        if (name := key.replace("-", "_")) in of_name:
            raise UserError(f"{path}: {block} {key}: stands there twice, with - and with _; leave one of the two out")
        of_name[name] = value
    return of_name


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
