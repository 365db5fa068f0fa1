"""Element-wise arithmetic, comparisons and choices."""

from __future__ import annotations

import functools
from collections.abc import Callable

import onnx_ir as ir
import torch
from torch import Tensor

from edgeport.passes.edit import get_int
from edgeport.torch_view.context import Context
from edgeport.torch_view.dtypes import to
from edgeport.torch_view.ops.integers import ordered, wrapped
from edgeport.torch_view.registry import Refused, lowers

Handler = Callable[[Context, ir.Node], None]


def floats(ctx: Context, node: ir.Node, *indices: int) -> None:
    """Refuses anything but floating-point numbers in the inputs of these places, the first by default."""
    for index in indices or (0,):
        name = ctx.input_dtype(node, index)
        if not name.startswith("float"):
            raise Refused(f"{node.op_type} of {name} is not supported", "cast to float32")


def function(form: Callable[[Tensor], Tensor]) -> Handler:
    """The lowering of a function of one floating-point operand."""

    def handler(ctx: Context, node: ir.Node) -> None:
        floats(ctx, node)
        ctx.bind(node, form(ctx.read(node, 0)))

    return handler


for _op in ("Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cos", "Cosh", "Sin", "Sinh", "Tan"):
    lowers(_op)(function(getattr(torch, _op.lower())))
for _op in ("Erf", "Exp", "Log", "Sqrt", "Floor", "Ceil", "Round", "Reciprocal"):
    lowers(_op)(function(getattr(torch, _op.lower())))
lowers("IsNaN")(function(torch.isnan))


@lowers("IsInf", attributes=("detect_negative", "detect_positive"))
def is_inf(ctx: Context, node: ir.Node) -> None:
    """The infinities that are asked for."""
    floats(ctx, node)
    x = ctx.read(node, 0)
    negative, positive = (get_int(node, f"detect_{side}", 1) for side in ("negative", "positive"))
    if negative and positive:
        found = torch.isinf(x)
    elif negative or positive:
        found = torch.eq(x, float("inf" if positive else "-inf"))
    else:
        found = torch.zeros_like(x, dtype=torch.bool)
    ctx.bind(node, found)


@lowers("Identity")
def identity(ctx: Context, node: ir.Node) -> None:
    """Nothing at all."""
    ctx.bind(node, ctx.read(node, 0))


@lowers("Abs")
def absolute(ctx: Context, node: ir.Node) -> None:
    """Unsigned numbers are their own."""
    x = ctx.read(node, 0)
    ctx.bind(node, x if ctx.input_dtype(node).startswith("u") else torch.abs(x))


@lowers("Neg")
def negative(ctx: Context, node: ir.Node) -> None:
    """Times -1."""
    ctx.bind(node, torch.neg(ctx.read(node, 0)))


@lowers("Sign")
def sign(ctx: Context, node: ir.Node) -> None:
    """Unsigned numbers are 0 or positive."""
    x = ctx.read(node, 0)
    unsigned = ctx.input_dtype(node).startswith("u")
    ctx.bind(node, to(torch.ne(x, 0), ctx.held(node.outputs[0])) if unsigned else torch.sign(x))


_RING: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"Add": torch.add, "Sub": torch.sub, "Mul": torch.mul}


@lowers(*_RING, inputs=2)
def ring(ctx: Context, node: ir.Node) -> None:
    """Integers wrap around."""
    ctx.bind(node, wrapped(ctx, node.outputs[0], _RING[node.op_type](ctx.read(node, 0), ctx.read(node, 1))))


def _no_long_unsigned(ctx: Context, node: ir.Node) -> None:
    if ctx.input_dtype(node) == "uint64":
        raise Refused(f"{node.op_type} of uint64 is not supported", "cast to int64")


@lowers("Div", inputs=2)
def divide(ctx: Context, node: ir.Node) -> None:
    """Integers lose what is behind the point."""
    _no_long_unsigned(ctx, node)
    x, y = ctx.read(node, 0), ctx.read(node, 1)
    whole = not ctx.input_dtype(node).startswith("float")
    ctx.bind(node, torch.div(x, y, rounding_mode="trunc") if whole else torch.div(x, y))


@lowers("Mod", inputs=2, attributes=("fmod",))
def modulo(ctx: Context, node: ir.Node) -> None:
    """The remainder has the sign of the dividend; of the divisor where `fmod` is not set."""
    _no_long_unsigned(ctx, node)
    form = torch.fmod if get_int(node, "fmod", 0) else torch.remainder
    ctx.bind(node, form(ctx.read(node, 0), ctx.read(node, 1)))


@lowers("Pow", inputs=2)
def power(ctx: Context, node: ir.Node) -> None:
    """In the wider of both types, whole numbers with a fractional exponent in float64; given in the base's type."""
    _no_long_unsigned(ctx, node)
    out, x, y = node.outputs[0], ctx.read(node, 0), ctx.read(node, 1)
    base, exponent = ctx.input_dtype(node), ctx.input_dtype(node, 1)
    if exponent == "uint64":
        raise Refused("Pow with an exponent of uint64 is not supported", "cast to int64")
    if exponent.startswith("float") and not base.startswith("float"):
        x, y = to(x, torch.float64), to(y, torch.float64)
    made = torch.pow(x, y)
    ctx.bind(node, wrapped(ctx, out, made if base == exponent else to(made, ctx.held(out))))


@lowers("Sum", "Mean", inputs=None)
def total(ctx: Context, node: ir.Node) -> None:
    """Of several tensors."""
    floats(ctx, node)
    made = functools.reduce(torch.add, [ctx.read(node, i) for i in range(len(node.inputs))])
    ctx.bind(node, torch.div(made, float(len(node.inputs))) if node.op_type == "Mean" else made)


@lowers("Max", "Min", inputs=None)
def extreme(ctx: Context, node: ir.Node) -> None:
    """Of several tensors; what is not a number wins."""
    form = torch.maximum if node.op_type == "Max" else torch.minimum
    operands = [ordered(ctx, node.inputs[i], ctx.read(node, i)) for i in range(len(node.inputs))]
    ctx.bind(node, ordered(ctx, node.outputs[0], functools.reduce(form, operands)))


_COMPARISONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
}


@lowers(*_COMPARISONS, inputs=2)
def compare(ctx: Context, node: ir.Node) -> None:
    """Truth values."""
    x, y = (ordered(ctx, node.inputs[i], ctx.read(node, i)) for i in range(2))
    ctx.bind(node, _COMPARISONS[node.op_type](x, y))


@lowers("Where", inputs=3)
def where(ctx: Context, node: ir.Node) -> None:
    """A choice."""
    ctx.bind(node, torch.where(ctx.read(node, 0), ctx.read(node, 1), ctx.read(node, 2)))
