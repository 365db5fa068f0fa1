"""The ML program of a file as plain data: types, values, operations, functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeport.targets.coreml.evaluator.registry import Array


@dataclass(frozen=True)
class DataType:
    """An element type: MIL's name, bits an element takes in a file, and the numpy dtype that holds it."""

    name: str
    bits: int
    numpy: np.dtype[Any]


def _data_type(name: str, bits: int, numpy: str) -> DataType:
    return DataType(name, bits, np.dtype(numpy))


DATA_TYPES: Mapping[int, DataType] = {
    1: _data_type("bool", 8, "?"),
    2: _data_type("string", 0, "O"),
    10: _data_type("fp16", 16, "<f2"),
    11: _data_type("fp32", 32, "<f4"),
    12: _data_type("fp64", 64, "<f8"),
    21: _data_type("int8", 8, "i1"),
    22: _data_type("int16", 16, "<i2"),
    23: _data_type("int32", 32, "<i4"),
    24: _data_type("int64", 64, "<i8"),
    25: _data_type("int4", 4, "i1"),
    31: _data_type("uint8", 8, "u1"),
    32: _data_type("uint16", 16, "<u2"),
    33: _data_type("uint32", 32, "<u4"),
    34: _data_type("uint64", 64, "<u8"),
    35: _data_type("uint4", 4, "u1"),
    36: _data_type("uint2", 2, "u1"),
    37: _data_type("uint1", 1, "u1"),
    38: _data_type("uint6", 6, "u1"),
    39: _data_type("uint3", 3, "u1"),
}
"""MIL.proto's DataType codes."""

BY_NAME: Mapping[str, DataType] = {data_type.name: data_type for data_type in DATA_TYPES.values()}

MOST_ELEMENTS = 1 << 29
"""Elements of one tensor beyond which a file is refused: 2 GiB of float32, far over what a phone runs."""


@dataclass(frozen=True)
class TensorType:
    """An array. `dtype` is MIL's name (`fp16`, `int32`, ...); None in `shape` is a dimension known at run time only."""

    dtype: str
    shape: tuple[int | None, ...]

    def admits(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of `shape` is of this type."""
        return len(shape) == len(self.shape) and all(
            want is None or want == got for want, got in zip(self.shape, shape, strict=True)
        )

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join('?' if size is None else str(size) for size in self.shape)}]"


@dataclass(frozen=True)
class StateType:
    """A buffer that outlives one run."""

    wrapped: TensorType


@dataclass(frozen=True)
class OtherType:
    """A list, tuple or dictionary; the value is an object array of rank 0 that holds the Python object."""

    kind: str


ValueType = TensorType | StateType | OtherType


@dataclass(frozen=True)
class Typed:
    """A named value with its declared type."""

    name: str
    type: ValueType


@dataclass(frozen=True, eq=False)
class Constant:
    """A value written in the file: the array itself, or where it stands in a file of weights.

    Attributes:
        type: the declared type.
        array: the value in its stored dtype; for a list or dictionary an object array of rank 0. None for a file value.
        file: name of the file of weights as the program writes it.
        offset: byte offset of the blob's record in that file.
    """

    type: ValueType
    array: Array | None
    file: str = ""
    offset: int = 0


Argument = str | Constant
"""A name of another value, or a value written in place."""


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation; compared and hashed by identity.

    Attributes:
        kind: the operation's kind, e.g. `conv`.
        name: its own name, or the name of its first output.
        inputs: parameter -> one argument, or several for a variadic parameter. Parameters that older operations keep
            as attributes (`const`, iOS 16's `constexpr_*`) stand here too.
        outputs: names and declared types of the results.
        blocks: nested blocks of `cond` and `while_loop`.
    """

    kind: str
    name: str
    inputs: Mapping[str, tuple[Argument, ...]]
    outputs: tuple[Typed, ...]
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True, eq=False)
class Block:
    """A list of operations; `outputs` are names."""

    inputs: tuple[Typed, ...]
    outputs: tuple[str, ...]
    operations: tuple[Operation, ...]


@dataclass(frozen=True, eq=False)
class Function:
    """A function of the program, with the block specialised for its opset."""

    name: str
    inputs: tuple[Typed, ...]
    opset: str
    block: Block
