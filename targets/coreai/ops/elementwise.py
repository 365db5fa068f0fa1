"""Element-wise operators."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from edgeport.targets.coreai.context import Context
from edgeport.targets.coreai.elements import relu
from edgeport.targets.coreai.program import Tensor
from edgeport.targets.coreai.registry import lowers


def elementwise(form: Callable[[Tensor], Tensor]) -> Callable[[Context, ir.Node], None]:
    """The lowering of a function of one operand."""

    def handler(ctx: Context, node: ir.Node) -> None:
        ctx.bind(node, form(ctx.read(node, 0)))

    return handler


lowers("Relu")(elementwise(relu))
