"""Scales by block."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import onnx_ir as ir

from edgeport.targets.tensorrt.rules.reading import Quantizer, Reading, constant, dims, label
from edgeport.targets.tensorrt.rules.registry import Broken, rule
from edgeport.targets.tensorrt.version import Version

_FOUR_BITS = (ir.DataType.INT4, ir.DataType.FLOAT4E2M1)


@rule("trt-block", "error")
def block(reading: Reading) -> Iterator[Broken]:
    """Scales by block have the rank of what they scale, and one of the last two axes in blocks of equal size.

    IDequantizeLayer: the scale's shape matches the input's but for one axis, the last or the one before it; the parser
    asserts "Only a single blocking dimension is allowed". Blocks came with TensorRT 10.
    """
    for q in reading.parameters():
        scale = constant(q.scale)
        if scale is None or (scale.ndim < 2 and not q.block) or scale.size == 1:
            continue
        fault = _fault(q, tuple(int(d) for d in scale.shape))
        if reading.board.oldest < Version(10, 0):
            fault = f"by block, which TensorRT {reading.board.oldest} does not have"
        if fault is not None:
            message = f"the scales of {label(q.data)} are {fault}"
            hint = "block the axis that the layer sums over, with a size that divides it, or give one scale a channel"
            yield Broken(q.node, message, hint)


def _fault(q: Quantizer, scale: tuple[int, ...]) -> str | None:
    data = dims(q.data)
    if q.data.shape is None or -1 in data:
        return None
    if len(scale) != len(data):
        return f"{list(scale)} for numbers {list(data)}: blocks need scales of the same rank"
    blocked = [axis for axis, (whole, parts) in enumerate(zip(data, scale, strict=True)) if whole != parts]
    if len(blocked) > 1 or any(axis < len(data) - 2 for axis in blocked):
        return f"{list(scale)} for numbers {list(data)}: only one of the last two axes may be in blocks"
    if any(data[axis] % scale[axis] for axis in blocked):
        return f"{list(scale)} for numbers {list(data)}: the blocks must all have the same size"
    if q.block and blocked and data[blocked[0]] // scale[blocked[0]] != q.block:
        return f"{list(scale)} for numbers {list(data)}, which is no block_size of {q.block}"
    return None


@rule("trt-int4-odd", "error")
def int4_odd(reading: Reading) -> Iterator[Broken]:
    """Numbers of four bits come in pairs: the parser asserts an even number of elements."""
    for q in reading.quantizers:
        shape = dims(q.data)
        if q.stored in _FOUR_BITS and q.data.shape is not None and -1 not in shape and prod(shape) % 2:
            message = f"{label(q.data)} has {prod(shape)} elements of four bits, an odd number; TensorRT refuses it"
            yield Broken(q.node, message, "leave this tensor in float16 or int8")
