"""What lowerings and runners ask of the values of a canonical graph."""

from __future__ import annotations

import onnx_ir as ir

from edgeport.sample import Array, InputSpec
from edgeport.targets.lowering import Refused


def shape_of(value: ir.Value) -> tuple[int, ...]:
    """Static shape of a value.

    Raises:
        Refused: a dimension is not a number.
    """
    if value.shape is None or not value.shape.is_static():
        raise Refused(f"the shape of {value.name!r} is not static", "fix the dimensions with --input", "dynamic-shape")
    return tuple(int(d) for d in value.shape.numpy())


def rank_of(value: ir.Value) -> int:
    """Number of axes.

    Raises:
        Refused: as for `shape_of`.
    """
    return len(shape_of(value))


def dtype_of(value: ir.Value) -> str:
    """numpy name of a value's ONNX dtype.

    Raises:
        Refused: it is unknown.
    """
    if value.dtype is None:
        raise Refused(f"the dtype of {value.name!r} is unknown", code="unsupported-dtype")
    return str(value.dtype.numpy().name)


def spec_of(value: ir.Value) -> InputSpec:
    """Name, dtype and shape of an end of a canonical graph."""
    return InputSpec(value.name or "", dtype_of(value), shape_of(value))


def constant_of(value: ir.Value | None) -> Array | None:
    """The data of a constant, in its ONNX dtype; None if it is computed or absent."""
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy()


def constant_input(node: ir.Node, index: int) -> Array | None:
    """The data of a constant input, None if it is absent.

    Raises:
        Refused: the input is computed at run time.
    """
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        return None
    data = constant_of(value)
    if data is None:
        raise Refused(f"input {index} ({value.name}) must be a constant", "make it static before the export")
    return data


def constant_ints(node: ir.Node, index: int) -> tuple[int, ...] | None:
    """A constant integer input as a tuple, None if it is absent.

    Raises:
        Refused: the input is computed at run time.
    """
    data = constant_input(node, index)
    return None if data is None else tuple(int(v) for v in data.reshape(-1))
