"""Activations in the form that XNNPACK's kernels apply by themselves."""

from __future__ import annotations

import onnx_ir as ir
import torch.nn.functional as F

from edgeport.passes.edit import scalar
from edgeport.targets.executorch.registry import VIEW, lowers
from edgeport.targets.executorch.scheme import bounded
from edgeport.torch_view.context import Context


@lowers("Clip", inputs=3)
def clip(ctx: Context, node: ir.Node) -> None:
    """A hardtanh, which convolutions and linear layers end in, where a clamp would be a step of its own."""
    low, high = (scalar(node.inputs[i]) if ctx.has(node, i) else None for i in (1, 2))
    if not bounded(node) or low is None or high is None:
        VIEW["Clip"].handler(ctx, node)
        return
    ctx.bind(node, F.hardtanh(ctx.read(node, 0), low, high))
