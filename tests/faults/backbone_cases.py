"""Bad inputs of python -m fastwsol.train about a backbone of timm: its name, weights, packages, and room."""

import shutil
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch

from .case import Case, Place

HERE = ["--step", "eager", "--threads", "1", "--device", "cpu", "--precision", "fp32"]


def with_backbone(name: str, arguments: list[str], *words: str, weights: bytes | None = None) -> Case:
    """Of timm, with a file of weights where there is one."""

    def make(place: Place) -> list[object]:
        flags = ["--batch-size", "20", "--epochs", "0.75", "--image-size", "64", *arguments]
        if weights is not None:
            (place.root / "weights.safetensors").write_bytes(weights)
            flags += ["--weights", str(place.root / "weights.safetensors")]
        return ["--shards", place.shared["shards"], "--run-dir", place.out, *HERE, *flags]

    return Case("backbone", name, make, words, command="train")


def without(name: str, spoil: Callable[[Place, pytest.MonkeyPatch], object], *words: str, flags: str = "") -> Case:
    """A backbone where something of this process is not as it should be: what `spoil` patches."""

    def make(place: Place) -> Iterator[list[object]]:
        options = ["--backbone", "resnet18", "--train-part", "classifier", "--batch-size", "20", "--epochs", "0.75"]
        options += ["--image-size", "64", "--aug", "none", *flags.format(place.root).split()]
        with pytest.MonkeyPatch.context() as patch:
            spoil(place, patch)
            yield ["--shards", place.shared["shards"], "--run-dir", place.out, *HERE, *options]

    return Case("backbone", name, make, words, command="train")


def forget(patch: pytest.MonkeyPatch, *packages: str) -> None:
    """As if the packages had not been imported yet."""
    for name in [each for each in sys.modules if each.partition(".")[0] in packages]:
        patch.delitem(sys.modules, name)


def no_torchvision(place: Place, patch: pytest.MonkeyPatch) -> None:
    forget(patch, "timm", "torchvision")
    patch.setitem(sys.modules, "torchvision", None)


def torchvision_of_another_torch(place: Place, patch: pytest.MonkeyPatch) -> None:
    """It fails as the real one does beside a torch that it was not built for."""
    forget(patch, "timm", "torchvision")
    package = place.root / "packages" / "torchvision"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    patch.syspath_prepend(package.parent)
    patch.setattr(sys, "dont_write_bytecode", True)  # nor is it a trace of the command


def no_room(place: Place, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=10_000))


OTHER_WEIGHTS = safetensors.torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)})


CASES = [
    with_backbone("one that is none", ["--backbone", "resnet19"], "--backbone resnet19", "perhaps you meant resnet"),
    with_backbone(
        "one whose last layer reads no average",
        ["--backbone", "mobilenetv3_small_100"],
        "--backbone mobilenetv3_small_100",
        "no linear layer on averaged features or on a class token",
        "choose another network",
    ),
    with_backbone(
        "a size that is no multiple of its stride",
        ["--backbone", "resnet18", "--image-size", "48"],
        "--image-size 48 must be a multiple of its stride, 32 pixels",
    ),
    with_backbone(
        "an output stride that it cannot have",
        ["--backbone", "vit_tiny_patch16_224", "--output-stride", "8"],
        "--output-stride 8: timm cannot make it",
    ),
    with_backbone(
        "a tail of a family without a split",
        ["--backbone", "regnety_002", "--train-part", "tail"],
        "can be split at its last features alone",
        "use --train-part classifier or all",
    ),
    with_backbone(
        "weights that are not there",
        ["--backbone", "resnet18", "--weights", "nowhere.pth"],
        "--weights nowhere.pth: no such file",
    ),
    with_backbone(
        "weights that are none", ["--backbone", "resnet18"], "cannot be read", "name a .safetensors", weights=b"text"
    ),
    with_backbone(
        "weights of another network",
        ["--backbone", "resnet18"],
        "those of another network than --backbone resnet18",
        weights=OTHER_WEIGHTS,
    ),
    without(
        "timm is not installed",
        lambda place, patch: patch.setitem(sys.modules, "timm", None),
        "--backbone resnet18: needs timm, which is not installed",
        "pip install 'fastwsol[timm]'",
    ),
    without(
        "torchvision is not installed",
        no_torchvision,
        "--backbone resnet18: needs torchvision, which is not installed",
        "pip install 'fastwsol[timm]'",
    ),
    without(
        "a torchvision of another torch",
        torchvision_of_another_torch,
        "timm cannot be imported (operator torchvision::nms does not exist)",
        "install the torchvision that belongs to torch",
    ),
    without(
        "no room for its features",
        no_room,
        "/features: needs",
        "are free; name another folder",
        flags="--features {}/features",
    ),
    without(
        "a folder for its features that cannot be made",
        lambda place, patch: (place.root / "file").write_text(""),
        "cannot be written (Not a directory)",
        "name another folder, or leave the flag out",
        flags="--features {}/file/features",
    ),
    with_backbone(
        "a mask head behind a family without a split",
        ["--backbone", "regnety_002", "--localizer", "mask"],
        "--localizer mask: --backbone regnety_002 is of a family that cannot be split in two",
        "pass --localizer cam",
    ),
    with_backbone(
        "more images a step of the head than there are",
        ["--backbone", "resnet18", "--localizer", "mask", "--head-batch-size", "1000"],
        "--head-batch-size 1000: there are",
    ),
    with_backbone(
        "no step of the head",
        ["--backbone", "resnet18", "--localizer", "mask", "--head-steps", "0"],
        "--head-steps 0: must be greater than 0",
    ),
    with_backbone(
        "a localizer that there is not",
        ["--backbone", "resnet18", "--localizer", "masks"],
        "--localizer",
    ),
]
