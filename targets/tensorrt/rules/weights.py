"""Scales of weights and of activations: on the right axis, and where integers are wanted at all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from edgeport.targets.tensorrt.rules.reading import Operand, Reading, attribute, constant, dims, label
from edgeport.targets.tensorrt.rules.registry import Broken, rule
from edgeport.targets.tensorrt.version import Version

_TENSORRT_10 = Version(10, 0)

_LOWEST = -127.5
"""Steps below which a weight becomes -128."""


@rule("trt-weight-axis", "warning")
def weight_axis(reading: Reading) -> Iterator[Broken]:
    """Scales of weights stand on the axis of the output channels.

    Conv 0, ConvTranspose 1, MatMul the last of its second operand, Gemm by transB. On another axis the engine is built,
    but without integer kernels: that of a Conv holds its weights as floats (measured: 400 instead of 269 KB).
    """
    for node, operand, axis, wanted in _by_channel(reading):
        if axis != wanted and not (node.op_type == "ConvTranspose" and reading.board.oldest < _TENSORRT_10):
            message = f"the scales of weight {label(operand.source)} are on axis {axis}, its output channels on"
            hint = f"quantize the weights of {node.op_type} on axis {wanted}, or with one scale"
            yield Broken(node, f"{message} {wanted}: no integer kernel takes that", hint)


@rule("trt-transposed-scales", "error")
def transposed_scales(reading: Reading) -> Iterator[Broken]:
    """Before TensorRT 10 the weights of a ConvTranspose have no scales by output channel.

    Its kernels are those of the convolution backwards, whose channels are the other ones: the parser takes the scales,
    and the results are wrong (NVIDIA/TensorRT#1694, #1699; that such scales are not supported: #2380).
    """
    for node, operand, axis, wanted in _by_channel(reading):
        if axis == wanted and node.op_type == "ConvTranspose" and reading.board.oldest < _TENSORRT_10:
            message = f"weight {label(operand.source)} of a ConvTranspose has scales by output channel"
            said = f"TensorRT {reading.board.oldest} applies them along the input channels"
            yield Broken(node, f"{message}; {said}", "quantize these weights with one scale")


def _by_channel(reading: Reading) -> Iterator[tuple[ir.Node, Operand, int, int]]:
    """Layers whose weights have several scales: the operand, the axis of the scales and that of the output channels."""
    for node, operands in reading.weighted():
        for place, value in enumerate(operands):
            operand = reading.operand(value)
            if operand is None or not operand.weight or not operand.permutation:
                continue
            dq = operand.quantizer
            if not dq.block and dq.scales not in (None, 1) and len(dims(dq.scale)) == 1:
                rank = len(operand.permutation)
                axis = (1 if dq.axis is None else dq.axis) % rank
                yield node, operand, axis, operand.permutation[_output_axis(node, place) % rank]


def _output_axis(node: ir.Node, place: int) -> int:
    if node.op_type in ("Conv", "ConvTranspose"):
        return int(node.op_type == "ConvTranspose")
    if place == 0:
        return -1 if node.op_type == "Gemm" and attribute(node, "transA", 0) else -2
    return -2 if node.op_type == "Gemm" and attribute(node, "transB", 0) else -1


@rule("trt-channel-activation", "warning")
def channel_activation(reading: Reading) -> Iterator[Broken]:
    """Activations have one scale: integer kernels cannot take more (measured: the engine is built without them)."""
    for q in reading.quantizers:
        count = q.scales
        if q.quantizes and not q.block and count is not None and count > 1 and not reading.is_constant(q.data):
            message = f"the activation {label(q.data)} has {count} scales; TensorRT's integer kernels take one"
            yield Broken(q.node, message, "quantize activations per tensor")


@rule("trt-weight-minus-128", "warning")
def weight_minus_128(reading: Reading) -> Iterator[Broken]:
    """Weights use -127 to 127.

    NVIDIA's toolkits leave -128 out, so that a weight and its opposite both exist; a kernel may add products pairwise
    in 16 bits, and -128 * -128 twice is one too many for them.
    """
    seen = set()
    for node, operands in reading.weighted():
        for value in operands:
            operand = reading.operand(value)
            if operand is not None and operand.weight and operand.source not in seen and _uses_lowest(operand):
                seen.add(operand.source)
                message = f"weight {label(operand.source)} holds -128; the recommended range is -127 to 127"
                yield Broken(node, message, "divide the largest magnitude by 127, and clip to -127")


def _uses_lowest(operand: Operand) -> bool:
    array, scale = constant(operand.source), constant(operand.quantizer.scale)
    if (
        array is None
        or scale is None
        or operand.quantizer.stored != ir.DataType.INT8
        or not array.size
        or not array.ndim
    ):
        return False
    if array.dtype == np.int8:
        return bool(array.min() == -128)
    if array.dtype.kind != "f" or operand.quantizer.block or not np.all(scale > 0):
        return False
    if scale.size == 1:
        return bool(array.min() < _LOWEST * float(scale.reshape(-1)[0]))
    axis = (1 if operand.quantizer.axis is None else operand.quantizer.axis) % array.ndim
    if array.shape[axis] != scale.size:
        return False
    lowest = array.min(axis=tuple(a for a in range(array.ndim) if a != axis))
    return bool(np.any(lowest < _LOWEST * scale.reshape(-1)))


@rule("trt-half-quantized", "warning")
def half_quantized(reading: Reading) -> Iterator[Broken]:
    """A layer runs in integers only where both of its operands are quantized.

    Where one stays float, the Q/DQ of the other cost time and accuracy and gain nothing (NVIDIA's placement
    recommendations). A model whose activations all are float is compressed on purpose and is let be.
    """
    if all(not q.quantizes or reading.is_constant(q.data) for q in reading.quantizers):
        return
    for node, operands in reading.weighted():
        quantized = [reading.operand(value) for value in operands]
        given = next((operand for operand in quantized if operand is not None), None)
        if given is None or all(quantized) or given.quantizer.stored == ir.DataType.INT4:
            continue
        missing = operands[quantized.index(None)]
        message = f"{label(given.source)} is quantized, {label(missing)} is not: the layer runs in float"
        yield Broken(node, message, "quantize both operands of the layer, or none")


@rule("trt-matrix-vector", "info")
def matrix_vector(reading: Reading) -> Iterator[Broken]:
    """A product of one row is bound by memory, not by arithmetic: integers rarely pay.

    ModelOpt leaves such layers float ("GEMV").
    """
    for node, operands in reading.weighted():
        first, second = (None if value is None else dims(value) for value in operands)
        if node.op_type not in ("MatMul", "Gemm") or not first or not second or not all(map(reading.operand, operands)):
            continue
        turned = node.op_type == "Gemm" and attribute(node, "transA", 0)
        rows = int(np.prod(first[:-1])) if not turned else first[1]
        if rows == 1 or second[-1] == 1:
            message = f"{label(node.outputs[0])} is a product of a matrix and a vector: integers rarely make it faster"
            yield Broken(node, message, "leave it float where accuracy matters (ModelOpt does)")
