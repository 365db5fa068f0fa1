"""Compressed constants: the `constexpr_*` operations, in the types of the file, as coremltools decompresses them.

iOS 16 knows affine int8, tables, sparse vectors and casts, packed into bytes; iOS 18 the same with blocks, groups and
vectors on arrays of small integer types, and forms from sparse to sparse that chain into `constexpr_sparse_to_dense`.
Unlike other operations these see fp16 arrays as fp16.
"""

from __future__ import annotations

from math import prod

import numpy as np

from edgeport.targets.coreml.evaluator.bits import unpack_bits
from edgeport.targets.coreml.evaluator.call import Call
from edgeport.targets.coreml.evaluator.program import BY_NAME
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError, evaluates

_BLOCK = 1 << 20
"""Indices looked up at a time: numpy widens them eightfold."""


@evaluates("constexpr_affine_dequantize")
def affine_dequantize(call: Call) -> Array:
    """`scale * (quantized_data - zero_point)` in float32, then in the type of `scale`."""
    data = call.array("quantized_data")
    axis = call.integer("axis")
    if not -data.ndim <= axis < data.ndim:
        raise EvaluationError(f"axis {axis} of an array of rank {data.ndim}")
    scale = call.array("scale")
    shifted = data.astype(np.float32) - _along(call.array("zero_point"), data, axis).astype(np.float32)
    return (shifted * _along(scale, data, axis)).astype(scale.dtype)


def _along(parameter: Array, data: Array, axis: int) -> Array:
    """A scalar or vector parameter in the rank of the data, its elements along `axis`."""
    if parameter.ndim == 0:
        return parameter
    if parameter.ndim != 1 or parameter.size != data.shape[axis]:
        raise EvaluationError(f"a parameter of shape {list(parameter.shape)} along an axis of {data.shape[axis]}")
    return parameter.reshape([-1 if index == axis % data.ndim else 1 for index in range(data.ndim)])


@evaluates("constexpr_cast")
def constexpr_cast(call: Call) -> Array:
    """fp16 to fp32."""
    dtype = call.text("output_dtype")
    if dtype not in ("fp16", "fp32"):
        raise EvaluationError(f"a cast to {dtype}")
    return call.array("source_val").astype(BY_NAME[dtype].numpy)


@evaluates("constexpr_lut_to_dense")
def lut_to_dense(call: Call) -> Array:
    """Looks up indices: packed bits and one table (iOS 16), or an array of indices and a table a group (iOS 18)."""
    indices, table = call.array("indices"), call.array("lut")
    if not call.has("shape"):
        return _look_up(indices, table, call.maybe("vector_axis"))
    shape = call.room(call.ints("shape"))
    bits = table.size.bit_length() - 1
    if table.size not in (2, 4, 16, 64, 256) or indices.size != (bits * prod(shape) + 7) // 8:
        raise EvaluationError(f"{indices.size} bytes of indices and a table of {table.size} for shape {list(shape)}")
    dense: Array = table.reshape(-1)[unpack_bits(indices, bits, prod(shape))].reshape(shape)
    return dense


def _look_up(indices: Array, table: Array, vector_axis: Array | None) -> Array:
    """Values of a grouped table.

    Args:
        indices: shape [d0, ..., dk].
        table: shape [g0, ..., gk, palettes, vector]; each g divides its d, group by group along that dimension.
        vector_axis: scalar; the dimension along which the elements of a vector stand, None for vectors of 1.

    Returns:
        Shape [d0, ..., dk], the dimension `vector_axis` times the vector's length.
    """
    rank, (palettes, vector) = indices.ndim, table.shape[-2:]
    groups = table.shape[:-2]
    if len(groups) != rank or any(
        group == 0 or size % group for size, group in zip(indices.shape, groups, strict=True)
    ):
        raise EvaluationError(f"a table of shape {list(table.shape)} for indices of shape {list(indices.shape)}")
    if vector > 1 and vector_axis is None:
        raise EvaluationError("vectors without the axis along which they stand")
    if indices.size and int(indices.max()) >= palettes:
        raise EvaluationError(f"an index {int(indices.max())} into a table of {palettes}")
    flat = table.reshape(-1, palettes, vector)
    group_of = np.zeros([1] * rank, np.int64)
    for axis, (size, group) in enumerate(zip(indices.shape, groups, strict=True)):
        if group > 1:
            along = np.arange(size).reshape([-1 if index == axis else 1 for index in range(rank)])
            group_of = group_of * group + along // (size // group)
    values = np.empty((*indices.shape, vector), table.dtype)
    rows = max(1, _BLOCK * indices.shape[0] // max(1, indices.size))
    for start in range(0, indices.shape[0], rows):
        some = slice(start, start + rows)
        values[some] = flat[group_of[some] if group_of.shape[0] > 1 else group_of, indices[some]]
    if vector == 1:
        return values[..., 0]
    axis = int(np.asarray(vector_axis)) % rank
    shape = [size * vector if index == axis else size for index, size in enumerate(indices.shape)]
    return np.moveaxis(values, -1, axis + 1).reshape(shape)


@evaluates("constexpr_sparse_to_dense")
def sparse_to_dense(call: Call) -> Array:
    """Zeros but where the mask has ones: a mask packed into bytes (iOS 16), or an array of uint1 (iOS 18)."""
    values, mask = call.array("nonzero_data"), call.array("mask")
    if call.has("shape"):
        shape = call.room(call.ints("shape"))
        if mask.size != (prod(shape) + 7) // 8:
            raise EvaluationError(f"{mask.size} bytes of mask for shape {list(shape)}")
        mask = unpack_bits(mask, 1, prod(shape)).reshape(shape)
    return _dense(values, mask)


def _dense(values: Array, mask: Array) -> Array:
    where = mask != 0
    if values.ndim != 1 or int(where.sum()) != values.size:
        raise EvaluationError(f"{values.size} values for a mask of {int(where.sum())} ones")
    result = np.zeros(mask.shape, values.dtype)
    result[where] = values
    return result


@evaluates("constexpr_blockwise_shift_scale")
def blockwise_shift_scale(call: Call) -> Array:
    """`scale * (data - offset)`, a scale for each block, in the type of `scale`."""
    return _shift_scale(call.array("data"), call.array("scale"), call.maybe("offset"))


def _shift_scale(data: Array, scale: Array, offset: Array | None) -> Array:
    if offset is not None and offset.shape != scale.shape:
        raise EvaluationError(f"offsets of shape {list(offset.shape)}, scales of shape {list(scale.shape)}")
    shifted = data.astype(scale.dtype)
    if offset is not None:
        shifted = shifted - _by_block(offset.astype(scale.dtype), data)
    dense: Array = _by_block(scale, data) * shifted
    return dense


def _by_block(parameter: Array, data: Array) -> Array:
    """One element a block, repeated over its block."""
    if parameter.ndim != data.ndim or any(
        count == 0 or size % count for size, count in zip(data.shape, parameter.shape, strict=True)
    ):
        raise EvaluationError(f"blocks of {list(parameter.shape)} in an array of shape {list(data.shape)}")
    for axis, (size, count) in enumerate(zip(data.shape, parameter.shape, strict=True)):
        if count not in (1, size):
            parameter = np.repeat(parameter, size // count, axis)
    return parameter


@evaluates("constexpr_lut_to_sparse")
def lut_to_sparse(call: Call) -> tuple[Array, Array]:
    """Looks up the indices of a sparse array; gives the mask, widened by vectors, and the values under it."""
    mask, table = call.array("indices_mask"), call.array("lut")
    axis = call.maybe("vector_axis")
    dense = _look_up(_dense(call.array("indices_nonzero_data"), mask), table, axis)
    if axis is not None:
        mask = np.repeat(mask, table.shape[-1], int(axis))
    return mask, dense[mask != 0]


@evaluates("constexpr_sparse_blockwise_shift_scale")
def sparse_blockwise_shift_scale(call: Call) -> tuple[Array, Array]:
    """`constexpr_blockwise_shift_scale` on a sparse array; gives the mask and the values under it."""
    mask = call.array("data_mask")
    dense = _shift_scale(_dense(call.array("nonzero_data"), mask), call.array("scale"), call.maybe("offset"))
    return mask, dense[mask != 0]
