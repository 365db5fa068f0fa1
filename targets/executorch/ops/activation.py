"""Activations in the form that XNNPACK's kernels apply by themselves."""

from __future__ import annotations

import math

import onnx_ir as ir
import torch
import torch.nn.functional as F

from edgeport.passes.edit import get_str, scalar
from edgeport.targets.executorch.registry import VIEW, lowers
from edgeport.targets.executorch.scheme import bounded
from edgeport.torch_view.context import Context

_CUBIC = 0.044715
"""Of Gelu's approximation by tanh."""


@lowers("Clip", inputs=3)
def clip(ctx: Context, node: ir.Node) -> None:
    """A hardtanh, which convolutions and linear layers end in, where a clamp would be a step of its own."""
    low, high = (scalar(node.inputs[i]) if ctx.has(node, i) else None for i in (1, 2))
    if not bounded(node) or low is None or high is None:
        VIEW["Clip"].handler(ctx, node)
        return
    ctx.bind(node, F.hardtanh(ctx.read(node, 0), low, high))


@lowers("Gelu", attributes=("approximate",))
def gelu(ctx: Context, node: ir.Node) -> None:
    """XNNPACK's kernel of the form with tanh is 5e-4 off: it is spelled out, x * sigmoid(2z) for x/2 * (1 + tanh z)."""
    if get_str(node, "approximate", "none") != "tanh" or ctx.input_dtype(node) != "float32":
        VIEW["Gelu"].handler(ctx, node)
        return
    x = ctx.read(node, 0)
    cubed = torch.mul(torch.mul(torch.mul(x, x), x), _CUBIC)
    ctx.bind(node, torch.mul(x, torch.sigmoid(torch.mul(torch.add(x, cubed), 2 * math.sqrt(2 / math.pi)))))
