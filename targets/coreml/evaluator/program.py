"""The ML program of a file as plain data, read from its protobuf message; anything malformed is a ModelError."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from edgeport.errors import ModelError
from edgeport.targets.coreml.evaluator.bits import unpack_bits
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


@dataclass
class _Reader:
    """Where in the program reading is, for messages."""

    where: str
    seen: set[str] = field(default_factory=set)

    def error(self, text: str) -> ModelError:
        return ModelError(f"{self.where}: {text}; the file is damaged or not an ML program of a known version")


def read_function(name: str, message: Any) -> Function:
    """Reads one function from its protobuf message.

    Raises:
        ModelError: a malformed type, value, or block; a name defined twice.
    """
    reader = _Reader(f"function {name!r}")
    if message.opset not in message.block_specializations:
        raise reader.error(f"no block for its opset {message.opset!r}")
    inputs = tuple(_typed(item, reader) for item in message.inputs)
    return Function(name, inputs, message.opset, _block(message.block_specializations[message.opset], reader))


def _block(message: Any, reader: _Reader) -> Block:
    return Block(
        tuple(_typed(item, reader) for item in message.inputs),
        tuple(message.outputs),
        tuple(_operation(item, reader) for item in message.operations),
    )


def _operation(message: Any, reader: _Reader) -> Operation:
    kind = message.type
    own_name = message.attributes.get("name")
    outputs = tuple(_typed(item, reader) for item in message.outputs)
    name = outputs[0].name if outputs else kind
    reader = _Reader(f"operation {name!r} ({kind})", reader.seen)
    for output in outputs:
        if output.name in reader.seen:
            raise reader.error(f"the name {output.name!r} is defined twice")
        reader.seen.add(output.name)
    inputs: dict[str, tuple[Argument, ...]] = {
        key: (_constant(value, reader),) for key, value in sorted(message.attributes.items()) if key != "name"
    }
    for key, argument in sorted(message.inputs.items()):
        inputs[key] = tuple(_binding(binding, reader) for binding in argument.arguments)
    if own_name is not None:
        text = own_name.immediateValue.tensor.strings.values
        name = text[0] if len(text) == 1 and text[0] else name
    return Operation(kind, name, inputs, outputs, tuple(_block(block, reader) for block in message.blocks))


def _binding(message: Any, reader: _Reader) -> Argument:
    chosen = message.WhichOneof("binding")
    if chosen is None:
        raise reader.error("an empty argument")
    return message.name if chosen == "name" else _constant(message.value, reader)


def _typed(message: Any, reader: _Reader) -> Typed:
    if not message.name:
        raise reader.error("a value without a name")
    return Typed(message.name, _value_type(message.type, reader))


def _value_type(message: Any, reader: _Reader) -> ValueType:
    chosen = message.WhichOneof("type")
    if chosen == "tensorType":
        return _tensor_type(message.tensorType, reader)
    if chosen == "stateType":
        wrapped = _value_type(message.stateType.wrappedType, reader)
        if not isinstance(wrapped, TensorType) or None in wrapped.shape:
            raise reader.error("a state that is not an array of known shape")
        return StateType(wrapped)
    if chosen is None:
        raise reader.error("a value without a type")
    return OtherType(chosen.removesuffix("Type"))


def _tensor_type(message: Any, reader: _Reader) -> TensorType:
    data_type = DATA_TYPES.get(message.dataType)
    if data_type is None:
        raise reader.error(f"unknown element type {message.dataType}")
    if message.rank != len(message.dimensions):
        raise reader.error(f"rank {message.rank} with {len(message.dimensions)} dimensions")
    shape = tuple(
        dimension.constant.size if dimension.WhichOneof("dimension") == "constant" else None
        for dimension in message.dimensions
    )
    if prod(size for size in shape if size is not None) > MOST_ELEMENTS or any((size or 0) >> 40 for size in shape):
        raise reader.error(f"a tensor of shape {list(shape)}, over {MOST_ELEMENTS} elements")
    return TensorType(data_type.name, shape)


def _constant(message: Any, reader: _Reader) -> Constant:
    value_type = _value_type(message.type, reader)
    chosen = message.WhichOneof("value")
    if chosen == "blobFileValue":
        if not isinstance(value_type, TensorType) or None in value_type.shape:
            raise reader.error("a stored value that is not an array of known shape")
        return Constant(value_type, None, message.blobFileValue.fileName, message.blobFileValue.offset)
    if chosen is None:
        raise reader.error("a constant without a value")
    if isinstance(value_type, TensorType):
        return Constant(value_type, _tensor(message.immediateValue.tensor, value_type, reader))
    return Constant(value_type, _boxed(_object(message, reader)))


def _boxed(value: Any) -> Array:
    box = np.empty((), object)
    box[()] = value
    return box


def _object(message: Any, reader: _Reader) -> Any:
    """A list or dictionary as Python objects; scalars inside become Python scalars."""
    immediate = message.immediateValue
    chosen = immediate.WhichOneof("value")
    if chosen == "list":
        return [_object(item, reader) for item in immediate.list.values]
    if chosen == "tuple":
        return tuple(_object(item, reader) for item in immediate.tuple.values)
    if chosen == "dictionary":
        return {_object(pair.key, reader): _object(pair.value, reader) for pair in immediate.dictionary.values}
    value_type = _value_type(message.type, reader)
    if chosen != "tensor" or not isinstance(value_type, TensorType):
        raise reader.error("a constant without a value")
    array = _tensor(immediate.tensor, value_type, reader)
    return array.item() if array.size == 1 else array


def _tensor(message: Any, value_type: TensorType, reader: _Reader) -> Array:
    """An array written in place: `bytes` hold the raw little-endian elements, the other fields one number each."""
    if None in value_type.shape:
        raise reader.error("a constant of unknown shape")
    shape = tuple(size for size in value_type.shape if size is not None)
    data_type = BY_NAME[value_type.dtype]
    chosen = message.WhichOneof("value")
    if chosen is None:
        raise reader.error("a constant without a value")
    values = getattr(message, chosen).values
    try:
        if chosen == "bytes":
            array = raw_elements(np.frombuffer(values, np.uint8), data_type, prod(shape))
        else:
            array = np.array(values, dtype=object if data_type.name == "string" else None)
            array = array.astype(data_type.numpy) if array.size == prod(shape) else array
        return array.reshape(shape)
    except (OverflowError, TypeError, ValueError):
        raise reader.error(f"a constant that does not hold the {prod(shape)} elements of {value_type}") from None


def raw_elements(data: Array, data_type: DataType, count: int) -> Array:
    """Elements from their bytes in a file; types under a byte are packed from the least significant bit on.

    Args:
        data: uint8 vector of exactly the bytes that the elements take.
        data_type: their type.
        count: how many.

    Raises:
        ValueError: another number of bytes.
    """
    if data.size != (count * data_type.bits + 7) // 8:
        raise ValueError(f"{data.size} bytes do not hold {count} elements of {data_type.name}")
    if data_type.bits in (0, 8, 16, 32, 64):
        return data.view(data_type.numpy)
    return unpack_bits(data, data_type.bits, count, signed=data_type.numpy.kind == "i")
