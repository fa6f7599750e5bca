"""`python -m fastwsol.export`: the graph gives what the network does, in other runtimes too."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from colour_network import colour_predictor
from conftest import noise_jpeg
from faults.run_cases import CONFIG, make_run
from PIL import Image

import fastwsol
from fastwsol import export
from fastwsol.host.command_line import run_command
from fastwsol.localizer.ddt import DdtDirections
from fastwsol.localizer.localizers import LOCALIZERS
from fastwsol.localizer.localizing import LocalizingModel
from fastwsol.prediction.graph import Graph
from fastwsol.prediction.predictor import Predictor


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return colour_predictor()


EXAMPLE = Path(__file__).parent.parent / "scripts" / "onnx_boxes.py"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, synthetic_shards: Path) -> Path:
    """A folder with a run, its graph in both forms, and images of the network's size."""
    root = tmp_path_factory.mktemp("export")
    make_run(root / "run", synthetic_shards)
    arguments = [str(root / "run"), "--onnx", str(root / "model.onnx"), "--torch", str(root / "model.pt2")]
    assert run_command(export.main, arguments) == 0
    (root / "images").mkdir()
    for k in range(12):
        Image.open(io.BytesIO(noise_jpeg(k, size=(64, 64)))).save(root / "images" / f"{k:02}.png")
    return root


def test_onnxruntime_and_torch_give_the_networks_answers_for_any_number_of_images(exported: Path) -> None:
    predictor = fastwsol.load(exported / "run", "cpu", precision="fp32")
    paths = sorted((exported / "images").iterdir())
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
    session = onnxruntime.InferenceSession(str(exported / "model.onnx"), providers=["CPUExecutionProvider"])
    program = torch.export.load(exported / "model.pt2").module()
    for count in (1, 5, 12):
        by_onnx = session.run(["logits", "maps"], {"pixels": pixels[:count]})
        by_torch = [each.numpy() for each in program(torch.from_numpy(pixels[:count]))]
        for one, other in zip(by_onnx, by_torch, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4 * np.abs(other).max())
        for k, found in enumerate(predictor.predict(paths[:count])):
            label = int(by_onnx[0][k].argmax())
            assert predictor.info.classes[label] == found.classes[0].wnid
            np.testing.assert_allclose(by_onnx[1][k, label], found.maps[0], atol=1e-4 * np.abs(found.maps).max())


def test_the_file_says_what_a_program_needs(exported: Path) -> None:
    session = onnxruntime.InferenceSession(str(exported / "model.onnx"), providers=["CPUExecutionProvider"])
    about = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
    info = fastwsol.load(exported / "run", "cpu").info
    assert (about["classes"], about["class_names"]) == ([*info.classes], [*info.class_names])
    assert (about["mean"], about["image_size"]) == ([*info.statistics.mean], 64)
    assert (about["localizer"], about["scale"], about["cut"]["value"]) == ("cam", "min-max", 0.2)
    assert [(each.name, each.type, each.shape[1:]) for each in session.get_inputs()] == [
        ("pixels", "tensor(uint8)", [64, 64, 3])
    ]
    extra = {"fastwsol.json": ""}
    torch.export.load(exported / "model.pt2", extra_files=extra)
    assert json.loads(extra["fastwsol.json"]) == about


def test_the_example_makes_the_same_boxes_without_torch(exported: Path, tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    assert "torch" not in text.partition('"""\n\n')[2]
    assert len(text.partition('"""\n\n')[2].splitlines()) <= 41
    Image.fromarray(np.random.default_rng(0).integers(0, 65536, (64, 64), np.uint16)).save(tmp_path / "16.png")
    paths = [*sorted((exported / "images").iterdir()), tmp_path / "16.png"]
    command = [sys.executable, str(EXAMPLE), str(exported / "model.onnx"), *map(str, paths)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    predictions = fastwsol.load(exported / "run", "cpu", precision="fp32").predict(paths)
    assert len(lines) == len(predictions)
    for line, prediction in zip(lines, predictions, strict=True):
        name, class_name, *edges = line.split("\t")
        (box,) = prediction.boxes
        assert (name, class_name) == (prediction.name, box.name)
        np.testing.assert_allclose([float(edge) for edge in edges], [box.x0, box.y0, box.x1, box.y1], atol=1.01)


def test_the_example_takes_the_middle_square_where_the_run_does(tmp_path: Path, synthetic_shards: Path) -> None:
    make_run(tmp_path / "run", synthetic_shards, CONFIG.changed(fit="crop"))
    assert run_command(export.main, [str(tmp_path / "run"), "--onnx", str(tmp_path / "model.onnx")]) == 0
    paths = []
    for k, size in enumerate([(128, 64), (64, 129), (64, 64)]):
        paths.append(tmp_path / f"{k}.png")
        Image.open(io.BytesIO(noise_jpeg(k, size=size))).save(paths[-1])
    command = [sys.executable, str(EXAMPLE), str(tmp_path / "model.onnx"), *map(str, paths)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    predictions = fastwsol.load(tmp_path / "run", "cpu", precision="fp32").predict(paths)
    for line, prediction in zip(lines, predictions, strict=True):
        edges = line.split("\t")[2:]
        (box,) = prediction.boxes
        np.testing.assert_allclose([float(edge) for edge in edges], [box.x0, box.y0, box.x1, box.y1], atol=1.01)


@pytest.mark.parametrize("name", LOCALIZERS)
def test_the_graph_has_the_maps_of_every_localizer(predictor: Predictor, name: str) -> None:
    model = predictor.model
    random = torch.Generator().manual_seed(0)
    directions = DdtDirections(*(torch.randn((2, 3), generator=random) for _ in range(2)))
    whole = LocalizingModel(model.network, model.head, directions).eval()
    graph = Graph(whole, LOCALIZERS[name], predictor.info.statistics).eval()
    pixels = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8, generator=random)
    with torch.no_grad():
        logits, maps = graph(pixels)
        mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in predictor.info.statistics)
        passed = whole((pixels.permute(0, 3, 1, 2).float() - mean) / std)
        torch.testing.assert_close(logits, passed.logits)
        for label in range(2):
            of_class = whole.maps(name, passed, torch.full((3,), label))
            torch.testing.assert_close(maps[:, label if LOCALIZERS[name].class_specific else 0], of_class)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to write; name a file with --onnx or --torch"),
        (["--onnx", "run"], "--onnx run: exists; nothing was changed"),
        (["--torch", "a.pt"], "--torch a.pt: such a file ends in .pt2"),
        (["--onnx", "m.onnx", "--torch", "m.onnx/m.pt2"], "--torch m.onnx/m.pt2: lies in what is also written, --onnx"),
        (["--onnx", "run/config.json/such.onnx"], "config.json is no folder; name another place"),
        (["--onnx", "a.onnx", "--localizer", "mask"], "--localizer mask: the run has cam, cam-positive; train it"),
    ],
)
def test_mistakes_get_one_line(
    arguments: list[str],
    words: str,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(exported / "run", "run")
    assert run_command(export.main, ["run", *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_missing_package_is_named(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert run_command(export.main, [str(exported / "run"), "--onnx", str(tmp_path / "a.onnx")]) == 2
    assert "--onnx: needs onnxscript, which is not installed; pip install 'fastwsol[onnx]'" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []
