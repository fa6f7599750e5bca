"""Networks of timm under the description that all networks share: CNNs whose last layer reads averaged features, and
transformers whose last layer reads averaged patch tokens or a class token.

Where a layer norm stands between the average and the last layer (ConvNeXt), cells are normalised by the mean and
deviation of their image's averaged features. Their average is then what the last layer reads, and a map's mean plus the
bias is still the logit. Where the last layer reads a class token (ViT), nothing is averaged: the map is the last layer
on the patch tokens, as if each of them were a class token.
"""

import difflib
from collections.abc import Callable
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastwsol.config import NetworkConfig, Statistics
from fastwsol.host.errors import UserError, first_line
from fastwsol.host.garbage import no_garbage
from fastwsol.network.classifier import Classifier

_EXTRA = "pip install 'fastwsol[timm]'"
_TOLERANCE = 1e-4
"""How far logits may be from timm's own, as a share of the largest."""


class TimmBackbone(Classifier):
    """A network of timm, `net`, which has an output for each class. name: timm's name of it."""

    def __init__(self, net: nn.Module, name: str) -> None:
        super().__init__()
        self.net, self.name = net, name

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self._answers(self._of_net.forward_features(images))

    def trunk(self, images: Tensor) -> Tensor:
        """See `Classifier.trunk`. Behind the trunk of a ViT stand tokens: [N, tokens, C]."""
        for step in self._steps()[0]:
            images = step(images)
        return images

    def tail(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """See `Classifier.tail`."""
        return self._answers(self._behind_trunk(features))

    def pooled_features(self, images: Tensor) -> Tensor:
        """See `Classifier.pooled_features`."""
        return self._pooled(self._of_net.forward_features(images))[:, :, None, None]

    def pooled_of_trunk(self, features: Tensor) -> Tensor:
        """See `Classifier.pooled_of_trunk`."""
        return self._pooled(self._behind_trunk(features))[:, :, None, None]

    def logits_of_pooled(self, pooled: Tensor) -> Tensor:
        """See `Classifier.logits_of_pooled`."""
        return self._logits(pooled.flatten(1))

    def _behind_trunk(self, features: Tensor) -> Tensor:
        for step in self._steps()[1]:
            features = step(features)
        return features

    def trunk_cells(self, features: Tensor) -> Tensor:
        """See `Classifier.trunk_cells`."""
        return self._spatial(features)

    def masked(self, features: Tensor, mask_NHW: Tensor) -> Tensor:
        """See `Classifier.masked`. Of a ViT's tokens those that stand for no cell stay as they are."""
        if features.ndim == 4:
            channels_last = getattr(self.net, "output_fmt", "NCHW") == "NHWC"
            return features * (mask_NHW[..., None] if channels_last else mask_NHW[:, None])
        others = getattr(self.net, "num_prefix_tokens", 0)
        factors = torch.cat([torch.ones_like(features[:, :others, 0]), mask_NHW.flatten(1)], dim=1)
        return features * factors[..., None]

    @property
    def classifier(self) -> nn.Linear:
        """The last layer."""
        return cast(nn.Linear, self._of_net.get_classifier())

    @property
    def map_stride(self) -> int:
        """Pixels of the network's square that a cell of its maps stands for, a side."""
        return int(self._of_net.feature_info[-1]["reduction"])

    def tail_modules(self) -> list[nn.Module]:
        """The modules behind the trunk, the last layer among them."""
        head = [each for each in (self._norm, self.classifier) if each is not None]
        return [step for step in self._steps()[1] if isinstance(step, nn.Module)] + head

    def in_backbone(self, name: str) -> bool:
        """All but the last layer."""
        return name not in self.classifier_names

    def undecayed(self) -> set[str]:
        """See `Classifier.undecayed`. What timm names so, as class tokens and position embeddings."""
        named = getattr(self.net, "no_weight_decay", None)
        return {f"net.{name}" for name in named()} if named is not None else set()

    @property
    def _norm(self) -> nn.LayerNorm | None:
        """The layer norm between the average and the last layer, where there is one."""
        for norm in (getattr(self.net, "fc_norm", None), getattr(getattr(self.net, "head", None), "norm", None)):
            if isinstance(norm, nn.LayerNorm):
                return norm
        return None

    @property
    def _of_net(self) -> "_TimmNet":
        return cast(_TimmNet, self.net)

    def _steps(self) -> tuple[list["_Step"], list["_Step"]]:
        """The modules of the trunk and those behind it, up to the last features, in the order in which they work."""
        family = type(self.net).__name__
        if family not in _SPLITS:
            raise UserError(
                f"--backbone {self.name}: a network of the family {family} can be split at its last features alone; "
                f"use --train-part classifier or all, or a backbone of {', '.join(_SPLITS)}"
            )
        return _SPLITS[family](cast(Any, self.net))

    def _answers(self, features: Tensor) -> tuple[Tensor, Tensor]:
        pooled = self._pooled(features)
        return self._logits(pooled), self._cells(features, pooled).detach()

    def _pooled(self, features: Tensor) -> Tensor:
        """What the last layer reads, before its layer norm: [N, C]."""
        if features.ndim == 3 and getattr(self.net, "global_pool", "avg") == "token":
            return features[:, 0]
        return self._spatial(features).flatten(2).mean(2)

    def _spatial(self, features: Tensor) -> Tensor:
        """The last features as timm gives them, as [N, C, h, w]."""
        if features.ndim == 3:
            patches = features[:, getattr(self.net, "num_prefix_tokens", 0) :]
            side = round(patches.shape[1] ** 0.5)
            return patches.transpose(1, 2).unflatten(2, (side, side))
        return features.permute(0, 3, 1, 2) if getattr(self.net, "output_fmt", "NCHW") == "NHWC" else features

    def _logits(self, pooled: Tensor) -> Tensor:
        if (norm := self._norm) is not None:
            pooled = F.layer_norm(pooled, pooled.shape[1:], norm.weight, norm.bias, norm.eps)
        return self.classifier(pooled)

    def _cells(self, features: Tensor, pooled: Tensor) -> Tensor:
        """The features that maps are made from: [N, C, h, w]."""
        cells, norm = self._spatial(features), self._norm
        if norm is None:
            return cells
        mean = pooled.mean(1)[:, None, None, None]
        deviation = (pooled.var(1, unbiased=False) + norm.eps).sqrt()[:, None, None, None]
        return (cells - mean) / deviation * norm.weight[:, None, None] + norm.bias[:, None, None]


def build_timm(config: NetworkConfig, size: int, classes: int, seed: int) -> TimmBackbone:
    """The network that `config` names, for images of `size` pixels a side, its weights drawn from `seed` alone. Dropout
    and stochastic depth, which some have, are switched off: a run draws from its seed and nothing else (`draws`).

    Raises UserError where timm is missing or knows no such network, the network takes no images of that size, or its
    maps are not those of its classes.
    """
    timm = require_timm(f"--backbone {config.backbone}")
    name = config.backbone
    options: dict[str, Any] = {"num_classes": classes}
    if _known(timm, name).fixed_input_size:
        options["img_size"] = size
    if config.output_stride:
        options["output_stride"] = config.output_stride
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            net = timm.create_model(name, pretrained=False, **options)
        except (TypeError, ValueError, AssertionError, NotImplementedError, KeyError) as error:
            flags = f"--image-size {size}" + (f" --output-stride {config.output_stride}" * bool(config.output_stride))
            raise UserError(f"--backbone {name} {flags}: timm cannot make it ({first_line(error)})") from None
    _refuse_other_heads(net, name)
    _draw_nothing(net)
    network = TimmBackbone(net, name)
    _prove(network, size)
    try:
        return network.to(memory_format=torch.channels_last)
    except RuntimeError as error:  # as of weights of five dimensions
        raise UserError(
            f"--backbone {name}: cannot lie in channels-last memory ({first_line(error)}); choose another network"
        ) from None


def _draw_nothing(net: nn.Module) -> None:
    """Switch dropout and stochastic depth off."""
    for module in net.modules():
        for name in ("drop_prob", "p", "drop_rate", "prob"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def statistics_of_timm(name: str) -> Statistics:
    """What timm says that a network's weights were trained with. Raises UserError where it knows no such network."""
    cfg = _known(require_timm(f"--backbone {name}"), name)
    red, green, blue = (255.0 * value for value in cfg.mean)
    red_std, green_std, blue_std = (255.0 * value for value in cfg.std)
    return Statistics((red, green, blue), (red_std, green_std, blue_std))


def classes_of_timm(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The WordNet ids and names of the classes that a network's published weights tell apart, in label order.

    Raises UserError where it has none, or none that timm can name.
    """
    timm = require_timm(f"--backbone {name}")
    cfg = _known(timm, name)
    try:
        info = timm.data.ImageNetInfo(timm.data.infer_imagenet_subset(cfg.to_dict()) or "")
    except (AssertionError, KeyError, ValueError):
        raise UserError(
            f"--backbone {name}: timm names no classes of its weights; train its last layer on class folders with "
            f"python -m fastwsol.train --backbone {name} --train-part classifier"
        ) from None
    labels = range(info.num_classes())
    wnids = tuple(info.index_to_label_name(label) for label in labels)
    return wnids, tuple(info.index_to_description(label) for label in labels)


def input_size_of_timm(name: str) -> int:
    """Pixels a side of the images that a network's published weights were trained with."""
    return int(_known(require_timm(f"--backbone {name}"), name).input_size[-1])


def _known(timm: Any, name: str) -> Any:
    """What timm says of a network. Raises UserError, with the nearest names, for one that it lacks."""
    if timm.is_model(name):
        try:
            return timm.get_pretrained_cfg(name, allow_unregistered=True)
        except RuntimeError:  # a tag of no published weights
            plain = name.partition(".")[0]
            tagged = timm.list_pretrained(f"{plain}.*") or [plain]
            raise UserError(f"--backbone {name}: timm has {' and '.join(tagged)}; name one of them") from None
    near = difflib.get_close_matches(name, timm.list_models(), n=3)
    hint = f"perhaps you meant {' or '.join(near)}" if near else "timm.list_models() names those that it has"
    raise UserError(f"--backbone {name}: timm {timm.__version__} has no such network; {hint}")


def require_timm(asked_by: str) -> Any:
    """The package timm. Raises UserError where it, or the torchvision that it needs, cannot be imported."""
    try:
        with no_garbage():
            import timm
    except ImportError as error:
        missing = (error.name or "timm").partition(".")[0]
        raise UserError(f"{asked_by}: needs {missing}, which is not installed ({error}); {_EXTRA}") from None
    except RuntimeError as error:  # a torchvision that does not fit torch
        raise UserError(
            f"{asked_by}: timm cannot be imported ({first_line(error)}); install the torchvision that belongs to "
            f"torch {torch.__version__}"
        ) from None
    return timm


def _refuse_other_heads(net: nn.Module, name: str) -> None:
    """Raise UserError where the last layer is not one linear layer on an average or on a class token."""
    layer = cast(_TimmNet, net).get_classifier()
    pool = getattr(net, "global_pool", "avg")
    if not isinstance(layer, nn.Linear):
        what = "its classifier is several layers" if isinstance(layer, tuple) else "its classifier is no linear layer"
    elif isinstance(pool, str) and pool not in ("avg", "token"):
        what = f"its classifier reads features pooled by {pool!r}"
    elif not getattr(net, "feature_info", None):
        what = "it does not tell its stride"
    else:
        return
    raise UserError(f"--backbone {name}: {what}, so its features give no map of a class; choose another network")


@torch.no_grad()
def _prove(network: TimmBackbone, size: int) -> None:
    """Raise UserError where our description of the network does not give timm's own logits, or maps of its stride."""
    name, stride = network.name, network.map_stride
    if size % stride:
        raise UserError(f"--backbone {name}: --image-size {size} must be a multiple of its stride, {stride} pixels")
    network.eval()
    images = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    try:
        expected = network.net(images)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UserError(f"--backbone {name}: refuses images of {size} pixels ({first_line(error)})") from None
    try:
        logits, features = network(images)
    except (RuntimeError, AttributeError):  # the last layer reads something else, of another size, or several features
        logits, features = expected[:0], images
    network.train()
    cells = size // stride
    shapes_differ = logits.shape != expected.shape or features.shape[2:] != (cells, cells)
    if shapes_differ or (logits - expected).abs().max() > _TOLERANCE * expected.abs().max().clamp(min=1):
        raise UserError(
            f"--backbone {name}: its classifier is no linear layer on averaged features or on a class token, so its "
            f"features give no map of a class; choose another network"
        )


_Step = Callable[[Tensor], Tensor]


class _TimmNet(Protocol):
    """What we use of a network of timm."""

    feature_info: list[dict[str, Any]]

    def forward_features(self, images: Tensor) -> Tensor: ...

    def get_classifier(self) -> nn.Module: ...


def _split_of_stages(net: Any, stages: list[tuple[str, nn.Module]], before: list[_Step], behind: list[_Step]) -> Any:
    """Cut behind the last stage but one whose features timm names: those of half the last one's stride."""
    last = [name for name, _ in stages].index(net.feature_info[-2]["module"]) + 1
    modules = [module for _, module in stages]
    return [*before, *modules[:last]], [*modules[last:], *behind]


def _split_efficientnet(net: Any) -> Any:
    stages = [(f"blocks.{k}", stage) for k, stage in enumerate(net.blocks)]
    return _split_of_stages(net, stages, [net.conv_stem, net.bn1], [net.conv_head, net.bn2])


def _split_resnet(net: Any) -> Any:
    stages = [(name, getattr(net, name)) for name in ("layer1", "layer2", "layer3", "layer4")]
    return _split_of_stages(net, stages, [net.conv1, net.bn1, net.act1, net.maxpool], [])


def _split_convnext(net: Any) -> Any:
    stages = [(f"stages.{k}", stage) for k, stage in enumerate(net.stages)]
    return _split_of_stages(net, stages, [net.stem], [net.norm_pre])


def _split_vit(net: Any) -> Any:
    """Before the last quarter of the blocks."""
    blocks = list(net.blocks)
    last = len(blocks) - max(1, len(blocks) // 4)
    before = [net.patch_embed, net._pos_embed, net.patch_drop, net.norm_pre, *blocks[:last]]
    return before, [*blocks[last:], net.norm]


_SPLITS: dict[str, Callable[[Any], tuple[list[_Step], list[_Step]]]] = {
    "EfficientNet": _split_efficientnet,
    "ResNet": _split_resnet,
    "ConvNeXt": _split_convnext,
    "VisionTransformer": _split_vit,
}
"""By the class of timm: the families that can be split before their last features."""
