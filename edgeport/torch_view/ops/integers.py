"""Arithmetic of unsigned integers that the view holds as int64."""

from __future__ import annotations

import onnx_ir as ir
import torch
from torch import Tensor

from edgeport.torch_view.context import Context

_BITS = {"uint16": 0xFFFF, "uint32": 0xFFFFFFFF}
_SIGN = -(2**63)


def wrapped(ctx: Context, value: ir.Value, result: Tensor) -> Tensor:
    """A sum, difference or product as the dtype of a value wraps it; what torch itself holds is so already."""
    bits = _BITS.get(ctx.dtype(value))
    return result if bits is None else torch.bitwise_and(result, bits)


def ordered(ctx: Context, value: ir.Value | None, tensor: Tensor) -> Tensor:
    """Numbers in the order of a value's: bit patterns of uint64 get their highest bit flipped. Its own inverse."""
    assert value is not None
    return torch.bitwise_xor(tensor, _SIGN) if ctx.dtype(value) == "uint64" else tensor
