"""Element-wise operators of several operands, with numpy's broadcasting."""

from __future__ import annotations

from functools import reduce

import numpy as np
import onnx_ir as ir

from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var
from edgeport.targets.coreml.registry import lowers
from edgeport.targets.coreml.wraparound import bits_of, refuse_wide_unsigned, remainder, wrapped

_ARITHMETIC = {"Add": "add", "Sub": "sub", "Mul": "mul"}
_CHAINS = {"Max": "maximum", "Min": "minimum", "Sum": "add", "Mean": "add"}
_LOGICAL = {"And": "logical_and", "Or": "logical_or", "Xor": "logical_xor"}
_COMPARISONS = {
    "Equal": "equal",
    "Greater": "greater",
    "GreaterOrEqual": "greater_equal",
    "Less": "less",
    "LessOrEqual": "less_equal",
}


def _emit(ctx: Context, node: ir.Node, kind: str) -> Var:
    return ctx.emit(kind, x=ctx.read(node.inputs[0]), y=ctx.read(node.inputs[1]))


@lowers(*_ARITHMETIC, inputs=2)
def arithmetic(ctx: Context, node: ir.Node) -> None:
    """`add`, `sub` or `mul`."""
    y = node.outputs[0]
    dtype = ctx.dtype(y)
    if node.op_type == "Sub":
        refuse_wide_unsigned(dtype, "a difference")
    if node.op_type == "Mul" and bits_of(dtype) == 16:
        ctx.bind(y, wrapped(ctx, _product_of_halves(ctx, node), dtype))
    else:
        ctx.bind(y, wrapped(ctx, _emit(ctx, node, _ARITHMETIC[node.op_type]), dtype))


def _product_of_halves(ctx: Context, node: ir.Node) -> Var:
    """A product of 16 bits modulo 2^16, byte by byte of one factor.

    The whole product would leave int32, and 24 bits, within which a system that computes integers in float32 is exact.
    """
    a, b, byte = ctx.read(node.inputs[0]), ctx.read(node.inputs[1]), np.int32(256)
    upper = remainder(ctx, ctx.emit("mul", x=a, y=ctx.emit("floor_div", x=b, y=byte)), byte)
    lower = ctx.emit("mul", x=a, y=remainder(ctx, b, byte))
    return ctx.emit("add", x=ctx.emit("mul", x=upper, y=byte), y=lower)


@lowers(*_CHAINS, inputs=None)
def chain(ctx: Context, node: ir.Node) -> None:
    """One operation after the other; a mean is the sum over the number of operands."""
    y = node.outputs[0]
    operands = [ctx.read(value) for value in node.inputs]
    result = reduce(lambda total, term: ctx.emit(_CHAINS[node.op_type], x=total, y=term), operands)
    if node.op_type == "Mean" and len(operands) > 1:
        result = ctx.emit("real_div", x=result, y=ctx.number(len(operands)))
    ctx.bind(y, result)


@lowers(*_LOGICAL, inputs=2)
def logical(ctx: Context, node: ir.Node) -> None:
    """`logical_and`, `logical_or` or `logical_xor`."""
    ctx.bind(node.outputs[0], _emit(ctx, node, _LOGICAL[node.op_type]))


@lowers(*_COMPARISONS, inputs=2)
def compare(ctx: Context, node: ir.Node) -> None:
    """A comparison; booleans are equal where `logical_xor` is false."""
    operand = node.inputs[0]
    assert operand is not None
    if ctx.dtype(operand) == "bool":
        result = ctx.emit("logical_not", x=_emit(ctx, node, "logical_xor"))
    else:
        result = _emit(ctx, node, _COMPARISONS[node.op_type])
    ctx.bind(node.outputs[0], result)
