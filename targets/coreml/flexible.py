"""One function for many shapes, made of one function for each.

Functions built from the same model at several shapes are the same operations in the same order; only declared shapes
and some constants differ. What differs is made to follow from the shapes that come in:

    declared dimension   3 x 64 and 3 x 96                         ==>    3 x ?
    reshape              [1, 64, 8] and [1, 96, 8]                 ==>    [1, 0, 8] (that of its operand), or [1, -1, 8]
    slice_by_index       end [1, 64] and [1, 96] of the same       ==>    end_mask [.., true], or counted from the end
    slice_by_size        size [1, 64] and [1, 96] of the same      ==>    size [1, -1]

Anything else that differs (a table of positions, sizes of a resize) is refused, with its operation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from edgeport.errors import ModelError

_HINT = "leave --shapes-as out, and every shape gets a function of its own"


def merge(model: Any, form: str) -> None:
    """Makes a model of several functions into one of a single function that takes the shapes of all.

    Args:
        model: Core ML's protobuf message `Model`; changed.
        form: `enumerated` takes the shapes that there are, `ranged` all between the least and the most of each axis.

    Raises:
        ModelError: something differs that does not follow from the shapes.
    """
    described = list(model.description.functions)
    functions = [model.mlProgram.functions[one.name] for one in described]
    first = functions[0]
    for inputs in zip(*(f.inputs for f in functions), strict=True):
        _loosen([one.type for one in inputs])
    blocks = [next(iter(f.block_specializations.values())) for f in functions]
    for operations in zip_longest(*(block.operations for block in blocks)):
        kinds = sorted({"nothing" if op is None else op.type for op in operations})
        if len(kinds) > 1:
            named = next(op.outputs[0].name for op in operations if op is not None and op.outputs)
            found = f"{named} is {' or '.join(kinds)}"
            raise ModelError(f"--shapes-as {form}: other operations at other shapes, {found}; {_HINT}")
    shapes = [_shapes(f, block) for f, block in zip(functions, blocks, strict=True)]
    _generalize(blocks, shapes, form)
    for operations in zip(*(block.operations for block in blocks), strict=True):
        for outputs in zip(*(op.outputs for op in operations), strict=True):
            _loosen([one.type for one in outputs])
    _describe(model, described, form)
    kept = type(first)()
    kept.CopyFrom(first)
    model.mlProgram.functions.clear()
    model.mlProgram.functions["main"].CopyFrom(kept)


def _loosen(types: Sequence[Any]) -> None:
    """Dimensions that are not the same in all types become unknown in the first."""
    if types[0].WhichOneof("type") != "tensorType":
        return
    for dimensions in zip(*(one.tensorType.dimensions for one in types), strict=True):
        if len({d.constant.size for d in dimensions}) > 1:
            dimensions[0].unknown.variadic = False


def _shapes(function: Any, block: Any) -> dict[str, tuple[int, ...]]:
    """Name of a value -> its shape."""
    values = [*function.inputs, *(out for op in block.operations for out in op.outputs)]
    return {v.name: tuple(d.constant.size for d in v.type.tensorType.dimensions) for v in values}


def _generalize(blocks: Sequence[Any], shapes: Sequence[Mapping[str, tuple[int, ...]]], form: str) -> None:
    """Rewrites the constants of the first block that differ between the blocks."""
    constants = {op.outputs[0].name: op for op in blocks[0].operations if op.type == "const"}
    varying = {
        ops[0].outputs[0].name: [_integers(op) for op in ops]
        for ops in zip(*(block.operations for block in blocks), strict=True)
        if ops[0].type == "const" and len({_text(op) for op in ops}) > 1
    }
    handled = set()
    for operation in blocks[0].operations:
        for parameter, argument in operation.inputs.items():
            for binding in argument.arguments:
                if binding.name not in varying:
                    continue
                numbers = varying[binding.name]
                operand = operation.inputs["x"].arguments[0].name if "x" in operation.inputs else ""
                sizes = [shape.get(operand, ()) for shape in shapes]
                done = _rewritten(operation, parameter, numbers, sizes, constants)
                if done is None or binding.name in handled:
                    name = operation.outputs[0].name if operation.outputs else operation.type
                    raise ModelError(
                        f"--shapes-as {form}: {parameter!r} of {operation.type} {name!r} is another constant at other "
                        f"shapes; {_HINT}"
                    )
                handled.add(binding.name)
                values = constants[binding.name].attributes["val"].immediateValue.tensor.ints.values
                values[:] = done


def _rewritten(
    operation: Any,
    parameter: str,
    numbers: Sequence[list[int] | None],
    sizes: Sequence[tuple[int, ...]],
    constants: Mapping[str, Any],
) -> list[int] | None:
    """The constant that serves all shapes, None if there is none."""
    columns = _columns(numbers)
    if columns is None:
        return None
    if (operation.type, parameter) == ("reshape", "shape"):
        return _reshape(columns, sizes)
    if any(len(size) != len(columns) for size in sizes):
        return None
    result = []
    for axis, column in enumerate(columns):
        left = {n - size[axis] for n, size in zip(column, sizes, strict=True)}
        if len(set(column)) == 1:
            result.append(column[0])
        elif (operation.type, parameter) == ("slice_by_size", "size") and left == {0}:
            result.append(-1)
        elif operation.type == "slice_by_index" and parameter in ("begin", "end") and len(left) == 1 and max(left) < 0:
            result.append(left.pop())
        elif (operation.type, parameter) == ("slice_by_index", "end") and left == {0}:
            if not _mask_end(operation, axis, constants):
                return None
            result.append(0)
        else:
            return None
    return result


def _reshape(columns: Sequence[tuple[int, ...]], sizes: Sequence[tuple[int, ...]]) -> list[int] | None:
    result = []
    for axis, column in enumerate(columns):
        if len(set(column)) == 1:
            result.append(column[0])
        elif len(sizes[0]) == len(columns) and all(n == s[axis] for n, s in zip(column, sizes, strict=True)):
            result.append(0)
        else:
            result.append(-1)
    return result if result.count(-1) <= 1 else None


def _mask_end(operation: Any, axis: int, constants: Mapping[str, Any]) -> bool:
    """Lets a slice run to the end of an axis; False if its masks are no constants of its own."""
    if "end_mask" not in operation.inputs:
        return False
    mask = constants.get(operation.inputs["end_mask"].arguments[0].name)
    if mask is None:
        return False
    mask.attributes["val"].immediateValue.tensor.bools.values[axis] = True
    return True


def _columns(numbers: Sequence[list[int] | None]) -> list[tuple[int, ...]] | None:
    """The numbers of every shape, element by element; None if they are no vectors of the same length."""
    known = [n for n in numbers if n is not None]
    if len(known) < len(numbers) or len({len(n) for n in known}) > 1:
        return None
    return list(zip(*known, strict=True))


def _integers(operation: Any) -> list[int] | None:
    tensor = operation.attributes["val"].immediateValue.tensor
    return list(tensor.ints.values) if tensor.WhichOneof("value") == "ints" else None


def _text(operation: Any) -> bytes:
    value: bytes = operation.attributes["val"].SerializeToString(deterministic=True)
    return value


def _describe(model: Any, described: Sequence[Any], form: str) -> None:
    """One interface: the inputs with their shapes, the outputs without those that follow."""
    description = model.description
    for features in zip(*(one.input for one in described), strict=True):
        feature = description.input.add()
        feature.CopyFrom(features[0])
        shapes = list(dict.fromkeys(tuple(one.type.multiArrayType.shape) for one in features))
        array = feature.type.multiArrayType
        if len(shapes) == 1:
            continue
        if form == "enumerated":
            for shape in shapes:
                array.enumeratedShapes.shapes.add().shape.extend(shape)
        else:
            for sizes in zip(*shapes, strict=True):
                array.shapeRange.sizeRanges.add(lowerBound=min(sizes), upperBound=max(sizes))
    for features in zip(*(one.output for one in described), strict=True):
        feature = description.output.add()
        feature.CopyFrom(features[0])
        if len({tuple(one.type.multiArrayType.shape) for one in features}) > 1:
            del feature.type.multiArrayType.shape[:]
    del description.functions[:]
    description.defaultFunctionName = ""
