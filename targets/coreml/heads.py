"""Heads in four dimensions: what computes on one row [1, C] computes on an image [1, C, 1, 1].

    pooled [1, C, 1, 1] --> Flatten --> MatMul + Add --> HardSwish --> MatMul + Add --> scores
                        ==> conv 1x1 --> HardSwish --> conv 1x1 --> reshape --> scores

The Neural Engine computes on images; products of matrices with an activation behind them have given other numbers there
than on the CPU (apple/coreai-torch#51), the same as images have not. The arithmetic is the same, so is the result.
"""

from __future__ import annotations

import onnx_ir as ir

from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var

_BY_ELEMENT = frozenset(
    ("Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "Relu", "Selu", "Sigmoid", "Softplus")
) | {"Swish", "Tanh"}
_VIEWS = ("Flatten", "Reshape", "Squeeze")


def is_lifted(ctx: Context, node: ir.Node) -> bool:
    """Whether a node, not a product, computes on an image because its input exists as one."""
    if node.op_type not in _BY_ELEMENT or ctx.width != "float16":
        return False
    x = node.inputs[0]
    return x is not None and x in ctx.images and (ctx.quant(x) is None or ctx.is_rounded(x))


def as_image(ctx: Context, row: ir.Value) -> Var | None:
    """A computed row as the current node reads it, as an image; None where it is none, or in float32 anyway."""
    shape = ctx.shape(row)
    if ctx.width != "float16" or len(shape) != 2 or shape[0] != 1 or ctx.constant(row) is not None:
        return None
    if ctx.plan.shapes_as != "functions":  # one program for several shapes: other numbers of rows need the same form
        return None
    image, quant = _unrounded(ctx, row, (*shape, 1, 1)), ctx.quant(row)
    if quant is None or ctx.is_rounded(row):
        return image
    return ctx.kept((row, "image"), lambda: ctx.rounded(image, quant, row.name or "row"))


def _unrounded(ctx: Context, row: ir.Value, shape: tuple[int, ...]) -> Var:
    """The image of a row as its own node made it."""
    if row in ctx.images:
        return ctx.images[row]
    view = row.producer()
    origin = None if view is None or view.op_type not in _VIEWS else view.inputs[0]
    if origin is None or ctx.constant(origin) is not None or ctx.shape(origin) != shape or ctx.is_rounded(row):
        return ctx.reshape(ctx.plain(row), shape)
    return ctx.plain(origin)
