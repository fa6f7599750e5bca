"""Gradients through strided depthwise convolutions, which torch computes some ten times as slowly in bfloat16 on a CPU
as in float32.

Of a frozen network the gradient goes to the images alone. In float32, from operands that are rounded to bfloat16, it
rounds to the same bits (tests/test_strided_backward.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


def quicken_backward(network: nn.Module) -> None:
    """Have the strided depthwise convolutions of a network whose weights are frozen pass gradients on in float32, where
    they work in bfloat16 on a CPU, in eager mode. What they give forward stays as it is.
    """
    for conv in network.modules():
        if isinstance(conv, nn.Conv2d) and conv.groups > 1 and max(conv.stride) > 1 and "forward" not in vars(conv):
            conv.forward = partial(_forward, conv, conv.forward)  # type: ignore[method-assign]


def _forward(conv: nn.Conv2d, plain: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    in_bfloat16 = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    passes_on = images.requires_grad and torch.is_grad_enabled() and not torch.compiler.is_compiling()
    if in_bfloat16 and passes_on and images.device.type == "cpu":
        result: Tensor = _InFloat32.apply(images, conv, plain)
        return result
    return plain(images)


class _InFloat32(torch.autograd.Function):
    """A convolution whose gradient is computed in float32 and rounded."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, conv: nn.Conv2d, plain: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(images)
        ctx.conv, ctx.plain = conv, plain
        return plain(images)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (images,), (gradient,), conv, dtype = ctx.saved_tensors, gradients, ctx.conv, gradients[0].dtype
        with torch.enable_grad(), torch.autocast("cpu", enabled=False):
            again = images.detach().to(dtype).float().requires_grad_()
            outputs = functional_call(conv, {"weight": conv.weight.to(dtype).float()}, (again,))
        (of_images,) = torch.autograd.grad(outputs, again, gradient.float())
        return of_images.to(dtype).to(images.dtype), None, None
