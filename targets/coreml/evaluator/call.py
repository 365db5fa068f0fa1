"""One operation being evaluated, as its function sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from edgeport.targets.coreml.evaluator.program import MOST_ELEMENTS, Block, Operation, TensorType
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError


@dataclass(eq=False)
class State:
    """A buffer that outlives the operation; writing replaces `array`."""

    type: TensorType
    array: Array


Value = Array | State


@dataclass(eq=False)
class Call:
    """The arguments of one operation. Every accessor marks what it reads; an argument nobody reads is an error.

    Attributes:
        operation: what the program says.
        arguments: parameter -> values, one or, for a variadic parameter, several.
        opset: the function's opset, e.g. `CoreML7`.
        accumulate16: whether sums of products run in fp16, term after term, where the result is declared fp16.
        enter: runs a nested block on values for its inputs.
        overflowed: largest magnitude lost inside the operation, in a running sum or beyond float32, 0 for none.
    """

    operation: Operation
    arguments: Mapping[str, tuple[Value, ...]]
    opset: str
    accumulate16: bool
    enter: Callable[[Block, tuple[Array, ...]], tuple[Array, ...]]
    unread: set[str] = field(init=False)
    overflowed: float = 0.0

    def __post_init__(self) -> None:
        self.unread = set(self.arguments)

    @property
    def kind(self) -> str:
        """The operation's kind, e.g. `add`."""
        return self.operation.kind

    @property
    def name(self) -> str:
        """The operation's name."""
        return self.operation.name

    @property
    def types(self) -> tuple[TensorType, ...]:
        """Declared types of the results that are arrays."""
        return tuple(output.type for output in self.operation.outputs if isinstance(output.type, TensorType))

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Nested blocks."""
        return self.operation.blocks

    def has(self, name: str) -> bool:
        """Whether the argument is given; does not count as reading it."""
        return name in self.arguments

    def arrays(self, name: str) -> tuple[Array, ...]:
        """All values of a variadic argument; empty when it is not given."""
        self.unread.discard(name)
        values = self.arguments.get(name, ())
        return tuple([self._array(value, name) for value in values])

    def maybe(self, name: str) -> Array | None:
        """An argument that may be left out."""
        self.unread.discard(name)
        values = self.arguments.get(name)
        if not values:
            return None
        if len(values) > 1:
            raise EvaluationError(f"{name!r} has {len(values)} values, one is expected")
        value = values[0]
        return self._array(value, name) if isinstance(value, State) else value

    def array(self, name: str) -> Array:
        """A required argument."""
        value = self.maybe(name)
        if value is None:
            raise EvaluationError(f"{name!r} is missing")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A scalar as a Python float; without a default it is required."""
        return float(self._scalar(name, default))

    def integer(self, name: str, default: int | None = None) -> int:
        """A scalar as a Python int; without a default it is required."""
        return int(self._scalar(name, default))

    def flag(self, name: str, default: bool | None = None) -> bool:
        """A boolean scalar; without a default it is required."""
        return bool(self._scalar(name, default))

    def text(self, name: str, default: str | None = None) -> str:
        """A string; without a default it is required."""
        return str(self._scalar(name, default))

    def ints(self, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """A vector (or scalar) of integers; without a default it is required."""
        value = self.maybe(name)
        if value is None:
            if default is None:
                raise EvaluationError(f"{name!r} is missing")
            return default
        return tuple([int(item) for item in value.reshape(-1).tolist()])

    def state(self, name: str) -> State:
        """A state argument; read its `array`, and replace it to write."""
        self.unread.discard(name)
        values = self.arguments.get(name, ())
        if len(values) != 1 or not isinstance(values[0], State):
            raise EvaluationError(f"{name!r} is not a state")
        return values[0]

    def run_block(self, index: int, args: tuple[Array, ...] = ()) -> tuple[Array, ...]:
        """Runs a nested block on `args` and returns its outputs."""
        if index >= len(self.blocks):
            raise EvaluationError(f"it has {len(self.blocks)} nested blocks, block {index} is missing")
        return self.enter(self.blocks[index], args)

    def room(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape itself, checked before something of that shape is made from values in the file.

        Raises:
            EvaluationError: a negative dimension, or more elements than any real model has.
        """
        if any(size < 0 for size in shape) or prod(shape) > MOST_ELEMENTS:
            raise EvaluationError(f"a result of shape {list(shape)} is not possible")
        return shape

    def _scalar(self, name: str, default: Any) -> Any:
        value = self.maybe(name)
        if value is None:
            if default is None:
                raise EvaluationError(f"{name!r} is missing")
            return default
        if value.size != 1:
            raise EvaluationError(f"{name!r} has {value.size} elements, one is expected")
        return value.item()

    @staticmethod
    def _array(value: Value, name: str) -> Array:
        if isinstance(value, State):
            raise EvaluationError(f"{name!r} is a state, an array is expected")
        return value


def boxed(value: Any) -> Array:
    """A Python object (list, dictionary) in an object array of rank 0, the form in which such values travel."""
    box = np.empty((), object)
    box[()] = value
    return box
