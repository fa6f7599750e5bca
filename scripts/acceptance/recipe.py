"""Phase `recipe`: the paper's comparison under `--preset fast`, training by training, each gone on with from call to
call until it is finished; then their table, with the paper's numbers beside.

The trainings' folders lie beside the run of the phase `training`; their files stand whole in the phase's JSON.
"""

import json
from functools import partial
from pathlib import Path

from acceptance.record import Check, Finding
from acceptance.setting import Setting
from acceptance.training import default_flags, train

AUGS = ("none", "hns", "gr")
DEPTHS = (18, 34)
PAPER = {
    (18, "none"): (53.42, 27.13, 43.90),
    (18, "hns"): (52.89, 27.56, 44.12),
    (18, "gr"): (57.00, 34.43, 52.23),
    (34, "none"): (53.46, 27.50, 44.54),
    (34, "hns"): (54.30, 29.72, 46.67),
    (34, "gr"): (57.82, 36.00, 54.13),
}
"""GT-known Loc, Top-1 Loc, Top-1 Clas at batch 256 (table 1)."""
PAPERS_BEST = 37.84
"""Top-1 Loc of GR at depth 34 and batch 32 (table 2)."""


def checks(setting: Setting, run: Path) -> list[Check]:
    """The trainings in the order of worth, then what they give."""
    combinations = [(depth, aug) for depth in DEPTHS[: setting.sized(2, 1)] for aug in AUGS[: setting.sized(3, 1)]]
    folders = {(depth, aug): run.parent / f"{run.name}-{depth}-{aug}" for depth, aug in combinations}
    of_phase = [
        Check(f"fast, depth {depth}, {aug}", partial(train, setting, folder, flags_of(setting, depth, aug)), 60)
        for (depth, aug), folder in folders.items()
    ]
    return [*of_phase, Check("beside the paper", partial(beside_the_paper, folders), 0)]


def flags_of(setting: Setting, depth: int, aug: str) -> list[str]:
    """The flags of a training."""
    if setting.dry_run:
        return [*default_flags(True), "--aug", aug]
    return ["--preset", "fast", "--stem", "A", "--depth", str(depth), "--aug", aug]


def beside_the_paper(folders: dict[tuple[int, str], Path]) -> Finding:
    """GT-known Loc, Top-1 Loc (both as the authors' code measures them) and Top-1 Clas of the finished trainings."""
    rows = {}
    for key, folder in folders.items():
        if (folder / "report.json").is_file():
            rates = json.loads((folder / "report.json").read_text())["rates"]["paper2018"]
            ours = [rates[name] for name in ("gt_known_loc@0.5", "top1_loc@0.5", "top1_clas")]
            rows[f"{key[0]} {key[1]}"] = {"ours": ours, "paper": PAPER[key]}
    best = max((row["ours"][1] for row in rows.values()), default=0.0)
    return Finding(figures={"trainings": len(rows), "best Top-1 Loc": best, "paper's best": PAPERS_BEST, "rows": rows})
