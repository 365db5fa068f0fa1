"""Sizes and places of elements, for lowerings that compute with them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from edgeport.sample import Array
from edgeport.targets.values import constant_of
from edgeport.torch_view.context import Context
from edgeport.torch_view.dtypes import to
from edgeport.torch_view.registry import Refused


def sizes(value: ir.Value | None) -> list[int]:
    """A shape as reshapes take it: -1 for the one dimension that may be unknown.

    Raises:
        Refused: more than one is unknown, or the rank.
    """
    dims = None if value is None or value.shape is None else [d if isinstance(d, int) else -1 for d in value.shape]
    if dims is None or dims.count(-1) > 1 or (-1 in dims and 0 in dims):
        name = "" if value is None else value.name
        raise Refused(f"the shape of {name!r} is not known", "fix the dimensions with --input", "dynamic-shape")
    return dims


def size(value: ir.Value | None, axis: int) -> int:
    """The length of one axis.

    Raises:
        Refused: it is unknown.
    """
    dim = None if value is None or value.shape is None else value.shape[axis]
    if not isinstance(dim, int):
        name = "" if value is None else value.name
        raise Refused(
            f"axis {axis} of {name!r} is of no known size", "fix the dimensions with --input", "dynamic-shape"
        )
    return dim


def known_places(value: ir.Value | None, length: int) -> Array | None:
    """Constant indices into an axis of `length` as int64 from 0 on, None if they are computed.

    Raises:
        Refused: they lie outside of the axis.
    """
    data = constant_of(value)
    if data is None:
        return None
    if data.size and not -length <= data.min() <= data.max() < length:
        raise Refused(f"indices lie outside of an axis of size {length}")
    wide = data.astype(np.int64)
    return np.where(wide < 0, wide + length, wide)


def places(ctx: Context, node: ir.Node, number: int, length: int) -> Tensor:
    """An input of indices into an axis of `length`, of which negative ones count from the end.

    Returns:
        int64, shape of the input.

    Raises:
        Refused: constant indices lie outside of the axis.
    """
    known = known_places(node.inputs[number], length)
    if known is not None:
        return ctx.constant(known, "indices")
    found = to(ctx.read(node, number), torch.int64)
    return torch.where(torch.lt(found, 0), torch.add(found, length), found)


def rows(ctx: Context, node: ir.Node, number: int, lengths: Sequence[int]) -> Tensor:
    """Numbers of the elements that an input of coordinates [..., len(lengths)] names in axes of these lengths.

    Returns:
        int64, shape of the input without its last axis.

    Raises:
        Refused: constant coordinates lie outside of the axes.
    """
    strides = np.asarray([math.prod(lengths[i + 1 :]) for i in range(len(lengths))], np.int64)
    limits = np.asarray(lengths, np.int64)
    data = constant_of(node.inputs[number])
    if data is None:
        found = to(ctx.read(node, number), torch.int64)
        wrapped = torch.where(torch.lt(found, 0), torch.add(found, ctx.constant(limits, "lengths")), found)
        return torch.sum(torch.mul(wrapped, ctx.constant(strides, "strides")), [-1])
    wide = data.astype(np.int64)
    if not ((-limits <= wide) & (wide < limits)).all():
        raise Refused(f"indices lie outside of axes of sizes {list(lengths)}")
    return ctx.constant((np.where(wide < 0, wide + limits, wide) * strides).sum(-1), "rows")
