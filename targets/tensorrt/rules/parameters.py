"""Scales and zero points."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from edgeport.targets.tensorrt.rules.reading import Quantizer, Reading, constant, dims, label
from edgeport.targets.tensorrt.rules.registry import Broken, rule
from edgeport.targets.tensorrt.version import Version

_TENSORRT_11 = Version(11, 0)


@rule("trt-nonzero-zero-point", "error")
def nonzero_zero_point(reading: Reading) -> Iterator[Broken]:
    """Zero points must be 0: the kernels have no place for another one.

    Every parser asserts it ("Non-zero zero point is not supported", onnx-tensorrt, QuantDequantLinearHelper). Those of
    uint8 are another rule's.
    """
    for q in reading.parameters():
        zero = constant(q.zero_point)
        if zero is not None and q.stored != ir.DataType.UINT8 and np.any(zero.astype(np.float32)):
            found = np.asarray(zero).reshape(-1)[np.flatnonzero(zero.astype(np.float32))[0]]
            yield Broken(
                q.node,
                f"the zero point of {label(q.data)} is {found}; TensorRT quantizes symmetrically and refuses it",
                "quantize symmetrically (ONNX Runtime: ActivationSymmetric=True, WeightSymmetric=True)",
            )


@rule("trt-bad-scale", "error")
def bad_scale(reading: Reading) -> Iterator[Broken]:
    """Every scale must be a positive, finite number.

    Every parser asserts that it is above 0 ("Scale coefficients must all be positive"), which NaN is not either; one
    dead channel is enough. An infinite scale passes and makes the layer infinite or NaN.
    """
    for q in reading.parameters():
        scale = constant(q.scale)
        if scale is None:
            continue
        flat = np.asarray(scale, np.float64).reshape(-1)
        wrong = np.flatnonzero(~(np.isfinite(flat) & (flat > 0)))
        if wrong.size:
            many = f" ({wrong.size} of {flat.size} scales, the first is number {wrong[0]})" if flat.size > 1 else ""
            yield Broken(
                q.node,
                f"a scale of {label(q.data)} is {flat[wrong[0]]:g}{many}; scales must be positive and finite",
                "give a channel that is all zero a small positive scale; any does for numbers that are zero",
            )


@rule("trt-dynamic-scale", "error")
def dynamic_scale(reading: Reading) -> Iterator[Broken]:
    """Scales and zero points must be known when the engine is built.

    IQuantizeLayer and IDequantizeLayer: the subgraphs that end in them must be build-time constants. The builder of the
    TensorRT 11 generation takes others all the same (measured), which is another rule's.
    """
    if reading.board.oldest < _TENSORRT_11:
        yield from _computed(reading, "TensorRT needs a constant")


@rule("trt-computed-scale", "warning")
def computed_scale(reading: Reading) -> Iterator[Broken]:
    """As `dynamic_scale` for TensorRT 11, which builds such engines although its documentation excludes them."""
    if reading.board.oldest >= _TENSORRT_11:
        yield from _computed(reading, "NVIDIA documents constants only")


def _computed(reading: Reading, said: str) -> Iterator[Broken]:
    for q in reading.parameters():
        for what, value in (("scale", q.scale), ("zero point", q.zero_point)):
            if value is not None and not reading.is_constant(value):
                message = f"the {what} {label(value)} of {label(q.data)} is computed at run time; {said}"
                yield Broken(q.node, message, "calibrate a static scale and store it in the file")


@rule("trt-scale-count", "error")
def scale_count(reading: Reading) -> Iterator[Broken]:
    """A list of scales must have one for each index of the axis, and as many zero points as scales.

    Asserted by every parser ("The number of scales is not equal to the number of output channels", "The scale and zero
    point must have the same volume").
    """
    for q in reading.parameters():
        zero, scale = constant(q.zero_point), constant(q.scale)
        if scale is None or q.block:
            continue
        if zero is not None and zero.size != scale.size:
            message = f"{label(q.data)} has {scale.size} scales and {zero.size} zero points; TensorRT refuses it"
            yield Broken(q.node, message, "store as many zero points as scales, all 0")
        text = None if scale.size == 1 or scale.ndim != 1 else _miscounted(q, scale.size, reading.opsets.get("", 1))
        if text is not None:
            yield Broken(q.node, text, "store one scale for each output channel, and the axis of these channels")


def _miscounted(q: Quantizer, count: int, opset: int) -> str | None:
    shape = dims(q.data)
    if q.data.shape is None:
        return None
    axis = q.axis if q.axis is not None else 1 if opset >= 13 else 0
    if not -len(shape) <= axis < len(shape):
        return f"the axis {axis} of the scales of {label(q.data)} is none of its {len(shape)}; TensorRT refuses it"
    if shape[axis] in (count, -1):
        return None
    return f"{label(q.data)} has {count} scales along axis {axis}, which is {shape[axis]} long; TensorRT refuses it"
