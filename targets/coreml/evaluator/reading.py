"""Reads an ML program from its protobuf message; anything malformed is a ModelError."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from edgeport.errors import ModelError
from edgeport.targets.coreml.evaluator.bits import unpack_bits
from edgeport.targets.coreml.evaluator.program import (
    BY_NAME,
    DATA_TYPES,
    MOST_ELEMENTS,
    Argument,
    Block,
    Constant,
    DataType,
    Function,
    Operation,
    OtherType,
    StateType,
    TensorType,
    Typed,
    ValueType,
)
from edgeport.targets.coreml.evaluator.registry import Array


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
