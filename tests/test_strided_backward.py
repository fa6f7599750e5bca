"""The gradient through strided depthwise convolutions in bfloat16 on a CPU, computed in float32, beside torch's own."""

import pytest
import torch
from torch import nn

from fastwsol.config import Config
from fastwsol.network.networks import build_network
from fastwsol.network.strided_backward import quicken_backward

NEEDED = pytest.mark.skipif(
    not torch.cpu._is_avx512_bf16_supported(), reason="NOT TESTED on a processor with bfloat16: this one has none"
)


def gradient(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    images = images.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = network(images)
    outputs = outputs[0] if isinstance(outputs, tuple) else outputs
    (found,) = torch.autograd.grad(outputs.float().square().sum(), images)
    return found


@NEEDED
@pytest.mark.parametrize(("kernel", "stride", "side"), [(3, 2, 29), (5, 2, 17), (5, (1, 2), 14)])
def test_a_layers_gradient_has_torchs_bits(kernel: int, stride: int | tuple[int, int], side: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(48, 48, kernel, stride, groups=48, bias=False).requires_grad_(False)
    images = torch.randn(4, 48, side, side).to(memory_format=torch.channels_last)
    plain = gradient(conv, images)
    quicken_backward(conv)
    assert torch.equal(gradient(conv, images), plain)


@NEEDED
def test_a_networks_gradient_has_torchs_bits() -> None:
    """EfficientNet-Lite0, whose strided convolutions pad as TensorFlow does."""
    pytest.importorskip("timm", reason="NOT TESTED: timm is missing")
    network = build_network(Config.of(backbone="tf_efficientnet_lite0", image_size=64), 5).eval().requires_grad_(False)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    plain, weights = gradient(network, images), {name: each.clone() for name, each in network.state_dict().items()}
    quicken_backward(network)
    quicken_backward(network)  # which changes nothing more
    assert torch.equal(gradient(network, images), plain)
    assert all(torch.equal(each, weights[name]) for name, each in network.state_dict().items())


def test_without_bfloat16_nothing_is_changed() -> None:
    conv = nn.Conv2d(8, 8, 3, 2, groups=8).requires_grad_(False)
    images = torch.randn(2, 8, 9, 9, requires_grad=True)
    quicken_backward(conv)
    assert type(conv(images).grad_fn).__name__ == "ConvolutionBackward0"
    (found,) = torch.autograd.grad(conv(images).sum(), images)
    (plain,) = torch.autograd.grad(nn.functional.conv2d(images, conv.weight, conv.bias, 2, groups=8).sum(), images)
    assert torch.equal(found, plain)
