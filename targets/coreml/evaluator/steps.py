"""Prepares a function for running: constants read and decompressed once, arguments bound, lifetimes of values known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from edgeport.targets.coreml.evaluator.apply import apply
from edgeport.targets.coreml.evaluator.blobs import Blobs
from edgeport.targets.coreml.evaluator.call import Call
from edgeport.targets.coreml.evaluator.program import BY_NAME, Block, Constant, Function, Operation, TensorType
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError, Handler, handlers
from edgeport.targets.coreml.evaluator.rounding import widen


@dataclass(frozen=True, eq=False)
class Step:
    """An operation ready to run.

    Attributes:
        operation: what the program says.
        handler: the function that computes it.
        constants: parameter -> its values, where all of them are constant.
        arguments: the other parameters, with names of values, and arrays for constants among them.
        done: names whose last use this is.
    """

    operation: Operation
    handler: Handler
    constants: Mapping[str, tuple[Array, ...]]
    arguments: tuple[tuple[str, tuple[str | Array, ...]], ...]
    done: tuple[str, ...]


@dataclass(eq=False)
class Prepared:
    """A function ready to run.

    Attributes:
        steps: block -> the operations to run, constants left out.
        constants: name -> value as operations see it (fp16 widened).
        stored: name -> value in its stored type.
    """

    function: Function
    blobs: Blobs
    steps: dict[Block, tuple[Step, ...]] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    stored: dict[str, Array] = field(default_factory=dict)

    def value(self, constant: Constant) -> Array:
        """A value written in the file, in its stored type."""
        return self.blobs.read(constant) if constant.array is None else constant.array

    def constant(self, name: str) -> Array | None:
        """A named constant as operations see it, None for a name that is not constant."""
        if name in self.stored and name not in self.constants:
            self.constants[name] = widen(self.stored[name])
        return self.constants.get(name)


def prepare(function: Function, blobs: Blobs) -> Prepared:
    """Prepares all blocks of a function.

    Raises:
        ModelError: an operation without an implementation, a name used before it is defined (which is what a cycle
            comes to), or a constant that cannot be read.
    """
    prepared = Prepared(function, blobs)
    _prepare_block(function.block, {item.name for item in function.inputs}, prepared)
    return prepared


def _prepare_block(block: Block, outer: set[str], prepared: Prepared) -> None:
    visible = outer | {item.name for item in block.inputs}
    steps: list[Step] = []
    last_use = _last_uses(block)
    for index, operation in enumerate(block.operations):
        for name in _names(operation):
            if name not in visible and name not in prepared.stored:
                raise _error(operation, f"uses {name!r}, which nothing before it defines; the file is damaged")
        if operation.kind == "const" or operation.kind.startswith("constexpr_"):
            _store(operation, prepared)
            continue
        for nested in operation.blocks:
            _prepare_block(nested, visible, prepared)
        done = tuple(name for name in last_use.get(index, ()) if name not in block.outputs)
        steps.append(Step(operation, _handler(operation), *_bind(operation, prepared), done))
        visible |= {output.name for output in operation.outputs}
    for name in block.outputs:
        if name not in visible and name not in prepared.stored:
            where = f"function {prepared.function.name!r}"
            raise EvaluationError(f"{where}: a block returns {name!r}, which nothing defines; the file is damaged")
    prepared.steps[block] = tuple(steps)


def _store(operation: Operation, prepared: Prepared) -> None:
    """Evaluates a constant operation in the types of the file."""
    if operation.kind == "const":
        argument = operation.inputs.get("val", ())
        if len(argument) != 1 or not isinstance(argument[0], Constant) or len(operation.outputs) != 1:
            raise _error(operation, "holds no value; the file is damaged")
        results: tuple[Array, ...] = (prepared.value(argument[0]),)
    else:
        arguments = {
            key: tuple(_stored(item, operation, prepared) for item in items) for key, items in operation.inputs.items()
        }
        call = Call(operation, arguments, prepared.function.opset, False, lambda block, args: args)
        results = apply(_handler(operation), call)
    for output, array in zip(operation.outputs, results, strict=True):
        declared = output.type
        if isinstance(declared, TensorType) and (
            not declared.admits(array.shape) or array.dtype != BY_NAME[declared.dtype].numpy
        ):
            raise _error(operation, f"holds {array.dtype}{list(array.shape)}, the program declares {declared}")
        prepared.stored[output.name] = array


def _stored(argument: str | Constant, operation: Operation, prepared: Prepared) -> Array:
    if isinstance(argument, Constant):
        return prepared.value(argument)
    if argument not in prepared.stored:
        raise _error(operation, f"its argument {argument!r} is not a constant")
    return prepared.stored[argument]


def _bind(
    operation: Operation, prepared: Prepared
) -> tuple[dict[str, tuple[Array, ...]], tuple[tuple[str, tuple[str | Array, ...]], ...]]:
    """The parameters that are constant, and those that are not."""

    def bound(argument: str | Constant) -> str | Array:
        if isinstance(argument, Constant):
            return widen(prepared.value(argument))
        constant = prepared.constant(argument)
        return argument if constant is None else constant

    constants: dict[str, tuple[Array, ...]] = {}
    others: list[tuple[str, tuple[str | Array, ...]]] = []
    for key, items in operation.inputs.items():
        values = tuple(bound(item) for item in items)
        arrays = tuple(value for value in values if not isinstance(value, str))
        if len(arrays) == len(values):
            constants[key] = arrays
        else:
            others.append((key, values))
    return constants, tuple(others)


def _handler(operation: Operation) -> Handler:
    handler = handlers().get(operation.kind)
    if handler is None:
        raise _error(operation, "the evaluator does not know this kind of operation")
    return handler


def _names(operation: Operation) -> Iterator[str]:
    for arguments in operation.inputs.values():
        yield from (argument for argument in arguments if isinstance(argument, str))


def _all_names(operation: Operation) -> Iterator[str]:
    """Names an operation uses, in its nested blocks too."""
    yield from _names(operation)
    for block in operation.blocks:
        yield from block.outputs
        for nested in block.operations:
            yield from _all_names(nested)


def _last_uses(block: Block) -> dict[int, list[str]]:
    """Index of an operation -> names defined in this block that nothing after it uses."""
    last = {item.name: -1 for item in block.inputs}
    for index, operation in enumerate(block.operations):
        for name in _all_names(operation):
            if name in last:
                last[name] = index
        last.update({output.name: index for output in operation.outputs})
    uses: dict[int, list[str]] = {}
    for name, index in last.items():
        uses.setdefault(index, []).append(name)
    return uses


def _error(operation: Operation, text: str) -> EvaluationError:
    return EvaluationError(f"operation {operation.name!r} ({operation.kind}): {text}")
