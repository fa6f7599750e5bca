"""The table of bad inputs: each ends in one line and its status, loses nothing, and once mended the command goes on.

`pytest tests/test_bad_inputs.py --bad-inputs-table=FILE` writes what was seen as markdown.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from equal import contents
from faults import (
    backbone_cases,
    folder_cases,
    map_cases,
    pack_cases,
    predict_cases,
    report_cases,
    run_cases,
    sweep_cases,
)
from faults.case import Case, Outcome, Place, made, snapshot, try_command

from fastwsol import evaluate, predict, report, sweep, train
from fastwsol import pack as pack_command
from fastwsol.dataset.packer import pack
from fastwsol.dataset.shards import MANIFEST_NAME, open_shards
from fastwsol.host.command_line import DONE_WITH_SKIPS, run_command
from fastwsol.sources.tiny_imagenet import TinyImageNet

MAINS: dict[str, Callable] = {
    "pack": pack_command.main,
    "train": train.main,
    "evaluate": evaluate.main,
    "predict": predict.main,
    "sweep": sweep.main,
    "report": report.main,
}
CASES = [
    *pack_cases.CASES,
    *folder_cases.CASES,
    *run_cases.CASES,
    *backbone_cases.CASES,
    *map_cases.CASES,
    *predict_cases.CASES,
]
CASES += [*sweep_cases.CASES, *report_cases.CASES]


@pytest.fixture(scope="session")
def good_packing(good_layout: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the good layout packs to."""
    folder = tmp_path_factory.mktemp("good") / "out"
    pack(TinyImageNet(good_layout), folder)
    return contents(folder)


@pytest.fixture
def place(tmp_path: Path, good_layout: Path) -> Place:
    return Place(tmp_path, good_layout)


@pytest.fixture(scope="session")
def good_shards(synthetic_shards: Path) -> Path:
    return synthetic_shards


@pytest.fixture(scope="session")
def good_run(synthetic_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run at its first step. Shared: read it, never write to it."""
    folder = tmp_path_factory.mktemp("good") / "run"
    run_cases.make_run(folder, synthetic_shards)
    return folder


@pytest.fixture(scope="session")
def good_finished(synthetic_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run at its end. Shared: read it, never write to it."""
    folder = tmp_path_factory.mktemp("good") / "finished"
    assert run_command(train.main, report_cases.training(synthetic_shards, folder)) == 0
    return folder


def test_cases_have_names_of_their_own() -> None:
    assert len({case.id for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_bad_input(
    case: Case,
    place: Place,
    good_packing: dict[str, bytes],
    capsys: pytest.CaptureFixture[str],
    bad_inputs_table: Callable[[Case, Outcome], None],
    request: pytest.FixtureRequest,
) -> None:
    main = MAINS[case.command]
    if case.command != "pack":  # making a run takes its time
        needed = ("shards", "run", *(["finished"] if case.command == "report" else []))
        place.shared |= {name: request.getfixturevalue(f"good_{name}") for name in needed}
    with made(case, place) as arguments:
        finished = contents(place.out) if (place.out / MANIFEST_NAME).is_file() else None
        before = snapshot(place.root, without=place.out)
        outcome = try_command(main, arguments, capsys)
        assert outcome.status == case.status, outcome.line
        for words in case.words:
            assert words in outcome.line, outcome.line
        assert snapshot(place.root, without=place.out) == before
        if finished is not None:
            assert contents(place.out) == finished
        elif case.command == "pack" and place.out.is_dir():
            assert not (place.out / MANIFEST_NAME).exists()
        if case.mend is not None:
            check_quarantine(case, arguments, place.root / "aside", capsys)
    bad_inputs_table(case, outcome)
    if case.mend is not None:
        case.mend(place)
        assert try_command(main, arguments, capsys).status == 0
        assert contents(place.out) == good_packing


def check_quarantine(case: Case, arguments: list, aside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --quarantine the images of the case are left out, or it is refused as without."""
    there = arguments.index("--out") + 1
    outcome = try_command(
        pack_command.main, [*arguments[:there], aside, *arguments[there + 1 :], "--quarantine"], capsys
    )
    if case.quarantined is None:
        assert outcome.status == case.status
        assert not (aside / MANIFEST_NAME).exists()
        return
    assert outcome.status == DONE_WITH_SKIPS
    splits = open_shards(aside).manifest.splits.values()
    assert sum(split.quarantined for split in splits) == case.quarantined
    assert sum(split.images + split.quarantined for split in splits) == 15
