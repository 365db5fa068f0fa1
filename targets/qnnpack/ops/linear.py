"""Products with constant matrices."""

from __future__ import annotations

from torch import Tensor

from edgeport.quantize.groups import KernelGroup
from edgeport.targets.qnnpack.context import Context, call
from edgeport.targets.qnnpack.ops.limits import limited, wants_relu
from edgeport.targets.qnnpack.registry import runs
from edgeport.targets.qnnpack.weights import packed_matrix


@runs("MatMul", inputs=2)
def linear(ctx: Context, group: KernelGroup) -> Tensor:
    """All axes but the last are rows."""
    form = "linear_relu" if wants_relu(group) else "linear"
    made = call(form, ctx.quantized(group.anchor.inputs[0]), packed_matrix(ctx, group), *ctx.qparams(group.output))
    return limited(ctx, group, made)


@runs("MatMul", inputs=2, dynamic=True)
def linear_dynamic(ctx: Context, group: KernelGroup) -> Tensor:
    """The engine measures the range of the input at each run, over all its rows, and leaves floats behind."""
    x = group.anchor.inputs[0]
    assert x is not None
    return call("linear_dynamic", ctx.view.tensor(x), packed_matrix(ctx, group), False)
