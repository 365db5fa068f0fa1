"""A Core AI program as data: what lowerings write, before anything of Apple's toolchain is loaded.

Every value has a static shape and a dtype (its numpy name, and `int4`, `uint4`). The toolchain infers both anew when
it builds the program, and what it infers must agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgeport.sample import Array

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Type:
    """Shape and dtype of a value."""

    shape: Shape
    dtype: str


@dataclass(frozen=True, eq=False)
class Step:
    """One operation.

    Attributes:
        kind: name of the constructor in `coreai`'s dialect.
        operands: numbers of values, or parameters (axes, strides, ...) as arrays.
        options: arguments that are no values.
        results: numbers of the values it makes.
        types: their types.
    """

    kind: str
    operands: tuple[int | Array, ...]
    options: Mapping[str, str | int]
    results: tuple[int, ...]
    types: tuple[Type, ...]


@dataclass
class Program:
    """One function.

    Attributes:
        inputs: name and type of every input, whose values are numbered from 0.
        constants: number of a value -> its data and dtype (that of the data, or `int4`, `uint4`).
        steps: the operations in order.
        outputs: name -> number of the value it gives.
        names: number of a value -> name of the canonical tensor it stands for.
    """

    inputs: list[tuple[str, Type]] = field(default_factory=list)
    constants: dict[int, tuple[Array, str]] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    outputs: dict[str, int] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)


class Builder:
    """Writes a program."""

    def __init__(self) -> None:
        self.program = Program()
        self._count = 0
        self._made: dict[tuple[str, Shape, bytes], Tensor] = {}

    def input(self, name: str, shape: Shape, dtype: str) -> Tensor:
        """The next input; all come before anything else."""
        assert self._count == len(self.program.inputs)
        self.program.inputs.append((name, Type(shape, dtype)))
        return self._value(Type(shape, dtype))

    def constant(self, array: Array, dtype: str | None = None) -> Tensor:
        """A constant; the same data make one value. int4 and uint4 come in int8 and uint8."""
        array = np.asarray(array, order="C")
        dtype = array.dtype.name if dtype is None else dtype
        key = dtype, array.shape, hashlib.sha256(array.tobytes()).digest()
        if key not in self._made:
            self._made[key] = self._value(Type(array.shape, dtype), array)
            self.program.constants[self._made[key].number] = array, dtype
        return self._made[key]

    def step(
        self, kind: str, operands: Sequence[Given], shape: Sequence[int], dtype: str, **options: str | int
    ) -> Tensor:
        """An operation with one result."""
        result = self._value(Type(tuple(int(d) for d in shape), dtype))
        numbers = tuple(o.number if isinstance(o, Tensor) else o for o in operands)
        self.program.steps.append(
            Step(kind, numbers, options, (result.number,), (Type(result.shape, result.dtype),)),
        )
        return result

    def _value(self, kind: Type, data: Array | None = None) -> Tensor:
        self._count += 1
        return Tensor(self, self._count - 1, kind.shape, kind.dtype, data)


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value of a program; `data` is that of a constant."""

    builder: Builder
    number: int
    shape: Shape
    dtype: str
    data: Array | None = None

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def is_float(self) -> bool:
        """Whether it holds floating-point numbers."""
        return self.dtype in ("float16", "float32", "float64")

    def __add__(self, other: Operand) -> Tensor:
        return binary("add", self, other)

    def __radd__(self, other: Operand) -> Tensor:
        return binary("add", self.like(other), self)

    def __sub__(self, other: Operand) -> Tensor:
        return binary("sub", self, other)

    def __rsub__(self, other: Operand) -> Tensor:
        return binary("sub", self.like(other), self)

    def __mul__(self, other: Operand) -> Tensor:
        return binary("mul", self, other)

    def __rmul__(self, other: Operand) -> Tensor:
        return binary("mul", self.like(other), self)

    def __truediv__(self, other: Operand) -> Tensor:
        return binary("divide", self, other)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return binary("divide", self.like(other), self)

    def __neg__(self) -> Tensor:
        return binary("mul", self, -1)

    def __gt__(self, other: Operand) -> Tensor:  # type: ignore[misc]
        return binary("greater", self, other, "bool")

    def __lt__(self, other: Operand) -> Tensor:  # type: ignore[misc]
        return binary("greater", self.like(other), self, "bool")

    def like(self, other: Operand) -> Tensor:
        """A number or an array as a constant of this dtype; a tensor as it is."""
        return other if isinstance(other, Tensor) else self.builder.constant(np.asarray(other, self.dtype))


Operand = Tensor | int | float | Array
"""What stands beside a tensor in an expression."""
Given = Tensor | Array
"""What an operation is given: values, and parameters as arrays."""


def binary(kind: str, x: Tensor, other: Operand, dtype: str | None = None) -> Tensor:
    """An element-wise operation with numpy's broadcasting.

    Args:
        kind: name without `broadcasting_`.
        x: first operand.
        other: second operand.
        dtype: of the result, by default that of the operands.
    """
    y = x.like(other)
    assert x.dtype == y.dtype, (kind, x.dtype, y.dtype)
    shape = np.broadcast_shapes(x.shape, y.shape)
    return x.builder.step(f"broadcasting_{kind}", [x, y], shape, dtype or x.dtype)
