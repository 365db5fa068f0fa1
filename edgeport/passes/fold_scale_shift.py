"""Multiplication and addition of per-channel constants move into the convolution or matrix product beside them.

    x --> Conv(W, b) --> Mul(s) --> Add(t) --> y      ==>     x --> Conv(W * s, b * s + t) --> y
    x --> Mul(s) --> Add(t) --> Conv(W, b) --> y      ==>     x --> Conv(W * s, b + sum(W * t)) --> y
    x --> MatMul(W) --> Reshape --> Mul(s) --> y      ==>     x --> MatMul(W * s) --> Reshape --> y

Behind Conv, ConvTranspose, and MatMul by a constant matrix (with or without its row-vector Add): Neg, and Mul, Div, Add
and Sub by a constant that varies along the output channels only; behind MatMul also where a Reshape that keeps the
last axis stands between (BatchNormalization of sequences). In front of Conv and MatMul: Neg, and Mul, Div, Add
and Sub by a constant that varies along the input channels only; Add and Sub in front of a Conv only when it does not
pad, since padding is zero before the shift and would not be after it. Every value in between must have one consumer and
not be a graph output. Arithmetic in float64, rounded once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgeport.passes.edit import (
    Array,
    add_initializer,
    bypass,
    constant,
    get_int,
    get_ints,
    get_str,
    input_of,
    insert_before,
    nodes,
    producer,
    rank,
    take_over,
    used_once,
)
from edgeport.passes.registry import register

_ELEMENTWISE = ("Add", "Div", "Mul", "Neg", "Sub")

Floats = npt.NDArray[np.float64]


@register("fold_scale_shift")
def fold_scale_shift(model: ir.Model) -> bool:
    """Folds until nothing changes."""
    changed = False
    for node in nodes(model, *_ELEMENTWISE):
        if node.graph is not None:
            changed |= _fold_back(model, node)
    for node in reversed(list(nodes(model, *_ELEMENTWISE))):
        if node.graph is not None:
            changed |= _fold_forward(model, node)
    return changed


@dataclass(frozen=True)
class _Affine:
    """The elementwise operation y = x * scale + shift, with scale and shift broadcast against x."""

    x: ir.Value
    scale: Floats
    shift: Floats


def _affine(node: ir.Node) -> _Affine | None:
    if node.op_type == "Neg":
        x = node.inputs[0]
        return None if x is None or x.dtype != ir.DataType.FLOAT else _Affine(x, -np.ones(()), np.zeros(()))
    a, b = node.inputs[0], node.inputs[1]
    for x, other, swapped in ((a, b, False), (b, a, True)):
        array = constant(other)
        if array is None or x is None or array.dtype.kind != "f" or constant(x) is not None:
            continue
        c = array.astype(np.float64)
        one, zero = np.ones_like(c), np.zeros_like(c)
        match node.op_type, swapped:
            case "Mul", _:
                return _Affine(x, c, zero)
            case "Add", _:
                return _Affine(x, one, c)
            case "Sub", False:
                return _Affine(x, one, -c)
            case "Sub", True:
                return _Affine(x, -one, c)
            case "Div", False if np.all(c != 0):
                return _Affine(x, 1.0 / c, zero)
    return None


def _along(array: Floats, axis: int, dims: int, size: int) -> Floats | None:
    """The constant as a vector [size] along one axis of a tensor with `dims` dimensions, if it varies only there."""
    if array.ndim > dims:
        return None
    shape = (1,) * (dims - array.ndim) + array.shape
    if any(n != 1 for i, n in enumerate(shape) if i != axis) or shape[axis] not in (1, size):
        return None
    return np.broadcast_to(array.reshape(-1), (size,)).copy()


def _fold_back(model: ir.Model, node: ir.Node) -> bool:
    """The linear operator in front of an elementwise one takes it in."""
    affine = _affine(node)
    if affine is None or not used_once(affine.x):
        return False
    linear = producer(affine.x, "Conv", "ConvTranspose")
    if linear is not None:
        return _into_convolution(model, linear, affine, node.outputs[0])
    reshape = producer(affine.x, "Reshape")
    if reshape is not None:
        return _through_reshape(model, reshape, node, affine)
    product = producer(affine.x, "MatMul")
    if product is not None:
        return bool(np.any(affine.scale != 1)) and _into_product(model, product, None, affine, node.outputs[0])
    add = producer(affine.x, "Add")
    if add is not None:
        for value, bias in ((add.inputs[0], add.inputs[1]), (add.inputs[1], add.inputs[0])):
            product = producer(value, "MatMul")
            if product is not None and constant(bias) is not None and used_once(product.outputs[0]):
                return _into_product(model, product, bias, affine, node.outputs[0])
    return False


def _through_reshape(model: ir.Model, reshape: ir.Node, node: ir.Node, affine: _Affine) -> bool:
    """An elementwise operation moves before a Reshape that keeps the last axis of a product, and into the product."""
    rows, y, dims = reshape.inputs[0], node.outputs[0], rank(affine.x)
    if rows is None or not rows.shape or not dims or affine.x.shape is None or not used_once(rows):
        return False
    size = rows.shape[-1]
    if not isinstance(size, int) or affine.x.shape[-1] != size:
        return False
    add = producer(rows, "Add")
    products = [producer(v, "MatMul") for v in (rows, *(add.inputs if add is not None else ()))]
    if all(product is None or constant(product.inputs[1]) is None for product in products):
        return False
    if any(_along(a, dims - 1, dims, size) is None for a in (affine.scale, affine.shift)):
        return False
    inputs = [rows if v is affine.x else _row(model, v, f"{y.name}/row") for v in node.inputs]
    moved = insert_before(reshape, node.op_type, inputs, name=f"{y.name}/rows", like=rows)
    take_over(y, "Reshape", [moved, reshape.inputs[1]], {"allowzero": get_int(reshape, "allowzero", 0)})
    inner = moved.producer()
    assert inner is not None
    _fold_back(model, inner)
    return True


def _row(model: ir.Model, value: ir.Value | None, name: str) -> ir.Value:
    array = constant(value)
    assert array is not None
    return add_initializer(model, name, array.reshape(-1))


def _into_convolution(model: ir.Model, conv: ir.Node, affine: _Affine, y: ir.Value) -> bool:
    weight, dims = constant(conv.inputs[1]), rank(affine.x)
    if weight is None or dims is None:
        return False
    transposed, groups = conv.op_type == "ConvTranspose", get_int(conv, "group", 1)
    channels = weight.shape[1] * groups if transposed else weight.shape[0]
    scale, shift = (_along(a, 1, dims, channels) for a in (affine.scale, affine.shift))
    bias_value = input_of(conv, 2)
    bias = np.zeros(channels) if bias_value is None else constant(bias_value)
    if scale is None or shift is None or bias is None:
        return False
    if transposed:  # weight [in, out / groups, ...]: the output channels of a group belong to its block of inputs
        blocks = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:]).astype(np.float64)
        factor = scale.reshape(groups, 1, -1, *(1,) * (weight.ndim - 2))
        scaled = (blocks * factor).reshape(weight.shape)
    else:
        scaled = weight.astype(np.float64) * scale.reshape(-1, *(1,) * (weight.ndim - 1))
    if np.any(scale != 1):
        _set_constant(model, conv, 1, scaled, weight.dtype, f"{y.name}/weight")
    _set_constant(model, conv, 2, bias * scale + shift, weight.dtype, f"{y.name}/bias")
    return _rename(y, conv.outputs[0])


def _into_product(model: ir.Model, product: ir.Node, bias_value: ir.Value | None, affine: _Affine, y: ir.Value) -> bool:
    weight, dims = constant(product.inputs[1]), rank(affine.x)
    if weight is None or weight.ndim != 2 or dims is None or constant(product.inputs[0]) is not None:
        return False
    size = weight.shape[1]
    scale, shift = (_along(a, dims - 1, dims, size) for a in (affine.scale, affine.shift))
    bias = np.zeros(size) if bias_value is None else constant(bias_value)
    if scale is None or shift is None or bias is None or bias.ndim > 1 or bias.size not in (1, size):
        return False
    if np.any(scale != 1):
        scaled = weight.astype(np.float64) * scale
        _set_constant(model, product, 1, scaled, weight.dtype, f"{y.name}/weight")
    new_bias = np.broadcast_to(bias.astype(np.float64).reshape(-1), (size,)) * scale + shift
    if bias_value is None and not np.any(new_bias):
        return _rename(y, product.outputs[0])
    rounded = add_initializer(model, f"{y.name}/bias", new_bias.astype(weight.dtype))
    take_over(y, "Add", [product.outputs[0], rounded])
    return True


def _fold_forward(model: ir.Model, node: ir.Node) -> bool:
    """The linear operator behind an elementwise one takes it in."""
    affine, y = _affine(node), node.outputs[0]
    if affine is None or not used_once(y):
        return False
    user, index = next(iter(y.uses()))
    if index != 0 or user.domain != "" or user.op_type not in ("Conv", "MatMul") or user.graph is not node.graph:
        return False
    weight, dims = constant(user.inputs[1]), rank(affine.x)
    if weight is None or dims is None or rank(y) != dims:
        return False
    is_conv = user.op_type == "Conv"
    groups = get_int(user, "group", 1) if is_conv else 1
    if not is_conv and weight.ndim != 2:
        return False
    channels, axis = (weight.shape[1] * groups, 1) if is_conv else (weight.shape[0], dims - 1)
    scale, shift = (_along(a, axis, dims, channels) for a in (affine.scale, affine.shift))
    if scale is None or shift is None or not _grows_nothing(affine.x, y):
        return False
    if is_conv:
        return _in_front_of_convolution(model, user, affine.x, scale, shift, weight, groups)
    return _in_front_of_product(model, user, affine.x, scale, shift, weight)


def _grows_nothing(x: ir.Value, y: ir.Value) -> bool:
    return x.shape is not None and y.shape is not None and tuple(x.shape) == tuple(y.shape)


def _in_front_of_convolution(
    model: ir.Model,
    conv: ir.Node,
    x: ir.Value,
    scale: Floats,
    shift: Floats,
    weight: Array,
    groups: int,
) -> bool:
    pads = any(get_ints(conv, "pads") or []) or get_str(conv, "auto_pad", "NOTSET").startswith("SAME")
    bias_value, out = input_of(conv, 2), weight.shape[0]
    bias = np.zeros(out) if bias_value is None else constant(bias_value)
    if bias is None or (pads and np.any(shift)):
        return False
    ones = (1,) * (weight.ndim - 2)
    per_group = weight.astype(np.float64).reshape(groups, out // groups, *weight.shape[1:])
    scaled = per_group * scale.reshape(groups, 1, -1, *ones)
    moved = (per_group * shift.reshape(groups, 1, -1, *ones)).reshape(out, -1).sum(axis=1)
    name = conv.outputs[0].name
    if np.any(scale != 1):
        _set_constant(model, conv, 1, scaled.reshape(weight.shape), weight.dtype, f"{name}/weight")
    if np.any(moved):
        _set_constant(model, conv, 2, bias + moved, weight.dtype, f"{name}/bias")
    old = conv.inputs[0]
    assert old is not None
    return bypass(old, x)


def _in_front_of_product(
    model: ir.Model, product: ir.Node, x: ir.Value, scale: Floats, shift: Floats, weight: Array
) -> bool:
    exact = weight.astype(np.float64)
    y, old = product.outputs[0], product.inputs[0]
    assert old is not None
    if np.any(shift):
        moved = add_initializer(model, f"{y.name}/shift", (shift @ exact).astype(weight.dtype))
        inner = insert_before(product, "MatMul", [x, product.inputs[1]], name=f"{y.name}/product", like=y)
        take_over(y, "Add", [inner, moved])
        new = inner.producer()
        assert new is not None
        product = new
    else:
        bypass(old, x)
    if np.any(scale != 1):
        _set_constant(model, product, 1, exact * scale[:, None], weight.dtype, f"{y.name}/weight")
    return True


def _set_constant(model: ir.Model, node: ir.Node, index: int, array: Floats, dtype: npt.DTypeLike, name: str) -> None:
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, add_initializer(model, name, array.astype(dtype)))


def _rename(y: ir.Value, kept: ir.Value) -> bool:
    """`kept` now holds what `y` held, under y's name."""
    if not y.is_graph_output():  # else bypass moves the name
        name, y.name = y.name, None
        kept.name, kept.type, kept.shape = name, y.type, y.shape
    return bypass(y, kept)
