"""The published weights: whole, and good for what their card says."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fastwsol
from fastwsol.host.device import autocast_of_run, take_device
from fastwsol.host.errors import UserError
from fastwsol.runs.folder import RunDir
from fastwsol.runs.trained import read_run
from fastwsol.timetable import Timetable
from fastwsol.training.resume import restore
from fastwsol.training.step import new_state

FOLDER = Path(__file__).parents[1] / "weights"
pytestmark = pytest.mark.usefixtures("real_width_in_module")
RUNS = sorted(path.parent for path in FOLDER.glob("*/config.json"))


@pytest.mark.parametrize("folder", RUNS, ids=lambda folder: folder.name)
def test_a_published_run_is_whole_and_has_a_card(folder: Path) -> None:
    info, saved = read_run(RunDir(folder))
    assert saved.step == Timetable(info.config, 100_000).total_steps
    assert f"## {folder.name}" in (FOLDER / "README.md").read_text()


@pytest.mark.parametrize("folder", RUNS, ids=lambda folder: folder.name)
def test_a_published_run_predicts(folder: Path) -> None:
    picture = Image.effect_mandelbrot((90, 60), (-2, -1.2, 1, 1.2), 90)
    file = io.BytesIO()
    picture.save(file, "PNG")
    (prediction,) = fastwsol.load(folder, device="cpu").predict([file.getvalue()])
    assert (prediction.width, prediction.height) == (90, 60)
    assert 0 < prediction.classes[0].probability <= 1
    box = prediction.boxes[0]
    assert 0 <= box.x0 < box.x1 <= 90
    assert 0 <= box.y0 < box.y1 <= 60


def test_no_training_can_go_on_from_published_weights(tmp_path: Path) -> None:
    info, saved = read_run(RunDir(RUNS[0]))
    state = new_state(info.config, len(info.classes), autocast_of_run("auto", "bf16", take_device("cpu")))
    with pytest.raises(UserError, match="no training can go on from it; start another run from"):
        restore(state, saved, info, "bf16")


def test_all_of_it_stays_small() -> None:
    assert RUNS
    sizes = [path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()]
    assert np.sum(sizes) <= 24 * 2**20
