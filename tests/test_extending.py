"""The worked examples of docs/extending.md: each is applied to a copy of the package, and used there."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import NARROW_WIDTHS, noise_jpeg

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "docs" / "examples"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with a copy of the package; kernels, which no example touches, stay those that are compiled."""
    shutil.copytree(ROOT / "fastwsol", tmp_path / "copy" / "fastwsol", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "copy"


def applied(package: Path, name: str) -> None:
    subprocess.run(["git", "apply", str(EXAMPLES / f"{name}.diff")], cwd=package, check=True)


def run(package: Path, *command: object) -> str:
    """What a command of the copy prints."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(package), str(ROOT)])}
    words = [sys.executable, *map(str, command)]
    done = subprocess.run(words, cwd=package, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_source_layout(package: Path) -> None:
    applied(package, "source")
    (package / "set" / "deep").mkdir(parents=True)
    lines = []
    for k, split in enumerate(["train"] * 6 + ["val"] * 2):
        (package / "set" / "deep" / f"{k}.jpg").write_bytes(noise_jpeg(k, size=(40, 30)))
        lines.append(f"{split}\tdeep/{k}.jpg\t{('cat', 'dog')[k % 2]}")
    (package / "set" / "images.txt").write_text("\n".join(lines))
    for k in (8, 9):
        lines.append(f"train\tdeep/{k - 8}.jpg\tzebra")
    (package / "set" / "images.txt").write_text("\n".join(lines))
    with zipfile.ZipFile(package / "set.zip", "w") as file:
        for path in sorted((package / "set").rglob("*.*")):
            file.write(path, path.relative_to(package / "set"))
    for source in ("set", "set.zip"):
        flags = ("--layout", "list", "--source", source, "--classes", 2, "--out", f"{source}-shards")
        assert "set (list), 2 classes, 6 train, 2 val images" in run(package, "-m", "fastwsol.pack", *flags)


def test_a_network(package: Path) -> None:
    pytest.importorskip("timm")
    applied(package, "network")
    said = run(
        package,
        "-c",
        "import torch; from fastwsol.config import Config; from fastwsol.network.networks import build_network\n"
        "network = build_network(Config.of(backbone='regnetx_002', image_size=64), 5).eval()\n"
        "images = torch.randn(2, 3, 64, 64)\n"
        "with torch.no_grad(): found = network.tail(network.trunk(images))[0] - network(images)[0]\n"
        "print(float(found.abs().max()) < 1e-4, len(network.tail_modules()))",
    )
    assert said.split()[0] == "True"
    assert int(said.split()[1]) > 1


def test_a_localizer_and_a_format(package: Path, synthetic_shards: Path) -> None:
    """Both in one copy: they touch different files."""
    applied(package, "localizer")
    applied(package, "format")
    flags = ["--shards", str(synthetic_shards), "--stem", "C", "--aug", "none", "--batch-size", "16", "--epochs", "1"]
    flags += ["--step", "eager", "--threads", "1", "--run-dir", "run"]
    (package / "photos").mkdir()
    (package / "photos" / "a b.jpg").write_bytes(noise_jpeg(0, size=(90, 60)))
    to_kitti = ["run", "photos", "--localizer", "activation", "--format", "kitti", "--out", "kitti"]
    commands = [
        [*to_kitti[:-1], folder, *more, "--threads", "1"]
        for folder, more in (
            ("kitti", []),
            ("kitti-top", ["--top", "2"]),
            ("kitti-all", ["--boxes", "all"]),
            ("kitti-class", ["--class", "alpha"]),
        )
    ]
    narrow = f"from fastwsol.network import preact_resnet\npreact_resnet.WIDTHS = {NARROW_WIDTHS}"
    trained = f"from fastwsol import predict, train\ntrain.main({flags})"
    said = run(package, "-c", f"{narrow}\n{trained}\nfor command in {commands}: predict.main(command)")
    assert "activation, at .3" in said
    assert "kitti has no place for" in said
    assert "1 mask," in said
    (line,) = (package / "kitti" / "label_2" / "a b.txt").read_text().splitlines()
    assert len(line.split()) == 16
    x0, y0, x1, y1 = map(float, line.split()[4:8])
    assert 0 <= x0 < x1 <= 90
    assert 0 <= y0 < y1 <= 60
