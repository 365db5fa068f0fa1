"""The lowering's working state: which MIL values stand for each ONNX value, and in which type to read them.

Floats exist in two widths. A program computes in float16 or float32 throughout (`Context.floats`); a node whose
constants float16 cannot hold computes in float32, between casts that are emitted once, when first asked for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import onnx_ir as ir

from edgeport.quantize.groups import KernelGroup
from edgeport.quantize.plan import INTEGERS, Plan, QParams
from edgeport.sample import Array
from edgeport.targets import values as known
from edgeport.targets.coreml import mil
from edgeport.targets.coreml.mil import BuilderError, Var
from edgeport.targets.coreml.names import Names
from edgeport.targets.coreml.registry import Refused

Floats = Literal["float16", "float32"]
_INT32 = np.iinfo(np.int32)
MAX_RANK = 5
"""Core ML's tensors have no more axes (coremltools 9.0 refuses them when saving)."""


@dataclass
class Context:
    """What handlers work with.

    Attributes:
        plan: kernels and quantization parameters.
        groups: which nodes run as one kernel.
        deployment: the oldest system that is to take the program, e.g. `iOS17`.
        floats: what the program computes in.
        names: identifiers of the program.
        wide: nodes that compute in float32 in any case.
        width: what the current node computes in.
        node: the current node.
        lifted: whether the current node reads and makes rows [1, C] as images [1, C, 1, 1] (see `heads`).
    """

    plan: Plan
    groups: Mapping[ir.Node, KernelGroup]
    deployment: str
    floats: Floats
    names: Names
    wide: frozenset[ir.Node] = frozenset()
    width: Floats = "float32"
    node: ir.Node = field(default_factory=lambda: ir.node("Identity", []))
    lifted: bool = False
    _forms: dict[ir.Value, dict[tuple[str, bool], Var]] = field(default_factory=dict)
    """MIL values that stand for each ONNX value, by dtype and whether rounded for those that read integers."""
    _rounded: set[ir.Value] = field(default_factory=set)
    """What exists as integers only."""
    _kept: dict[Hashable, Var] = field(default_factory=dict)
    images: dict[ir.Value, Var] = field(default_factory=dict)
    """Rows that exist as images, too."""

    # ---- facts about values -------------------------------------------------------------------------------

    shape = staticmethod(known.shape_of)
    rank = staticmethod(known.rank_of)
    dtype = staticmethod(known.dtype_of)
    constant = staticmethod(known.constant_of)
    constant_ints = staticmethod(known.constant_ints)

    def at_least(self, deployment: str) -> bool:
        """Whether every system that is to take the program is of that version or younger."""
        return mil.specification(self.deployment) >= mil.specification(deployment)

    def mil_dtype(self, value: ir.Value) -> str:
        """The dtype in which the current node reads or makes a value: the node's floats, int32 or bool.

        Integers of all widths are int32 in a program.

        Raises:
            Refused: MIL has nothing for it.
        """
        dtype = self.dtype(value)
        if dtype in ("float32", "float16", "float64"):  # other than float32 at the graph's ends only
            return self.width
        if dtype == "bool":
            return "bool"
        if dtype in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"):
            return "int32"
        raise Refused(f"Core ML has no type for {dtype} ({value.name!r})", code="unsupported-dtype")

    # ---- reading ------------------------------------------------------------------------------------------

    def read(self, value: ir.Value | None) -> Var:
        """A value as the current node reads it: where the plan has it in integers, rounded to them."""
        assert value is not None
        dtype, quant = self.mil_dtype(value), self.quant(value)
        data = self.constant(value)
        if data is not None:
            forms = self._forms.setdefault(value, {})
            if (dtype, quant is not None) not in forms:
                name = value.name or "constant"
                exact = data if quant is None else quant.restored(data)
                forms[dtype, quant is not None] = mil.constant(as_stored(exact, dtype, name), self.names.fresh(name))
            return forms[dtype, quant is not None]
        if self.lifted and value in self.images:
            return self.images[value]
        plain, forms = self.plain(value), self._forms[value]
        if quant is None or value in self._rounded:
            return plain
        if (dtype, True) not in forms:
            forms[dtype, True] = self.rounded(plain, quant, value.name or "value")
        return forms[dtype, True]

    def plain(self, value: ir.Value) -> Var:
        """A computed value in the current node's dtype, as it was made."""
        dtype, forms = self.mil_dtype(value), self._forms[value]
        if (dtype, False) not in forms:
            forms[dtype, False] = self.cast(next(iter(forms.values())), dtype, f"{value.name}_{dtype}")
        return forms[dtype, False]

    def made(self, value: ir.Value) -> Var:
        """A computed value in the dtype in which it was made, which loses nothing of it."""
        return next(iter(self._forms[value].values()))

    def quant(self, value: ir.Value) -> QParams | None:
        """Parameters of a value as the current node reads or makes it; None where it does so in float."""
        return self.plan.qparams(value.name) if self.plan.kernel(self.node.name) in INTEGERS else None

    def rounded(self, var: Var, quant: QParams, name: str) -> Var:
        """Floats rounded to an integer grid: `quantize`, then `dequantize`, between which kernels see integers.

        Zero point 0 is the cheapest, so that int8 from -128 becomes uint8 from 0.
        """
        zero = int(quant.zero_point)
        dtype, zero = ("uint8", 0) if quant.dtype == "int8" and zero == -128 else (quant.dtype, zero)
        grid: dict[str, Any] = {"scale": self.number(float(quant.scale))}
        if zero:
            grid["zero_point"] = np.dtype(dtype).type(zero)
        stored = self.emit("quantize", f"{name}_quantized", input=var, output_dtype=dtype, **grid)
        return self.emit("dequantize", f"{name}_rounded", input=stored, **grid)

    def kept(self, key: Hashable, make: Callable[[], Var]) -> Var:
        """What stands for a key, made when first asked for: several nodes may read one weight in the same form."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def stored(self, array: Array, name: str) -> Var:
        """A constant of a dtype that MIL has."""
        return mil.constant(np.ascontiguousarray(array), self.names.fresh(name))

    def number(self, value: float) -> Any:
        """A number as an operand beside floats of the current node's width."""
        return np.dtype(self.width).type(value)

    def floating(self, array: Array) -> Array:
        """An array of numbers as an operand beside floats of the current node's width."""
        return as_stored(np.asarray(array, np.float32), self.width, "a constant")

    # ---- writing ------------------------------------------------------------------------------------------

    def emit(self, kind: str, hint: str | None = None, **inputs: Any) -> Any:
        """One MIL operation; several outputs come as a tuple. `hint` is for its name, unless it is bound.

        Raises:
            Refused: coremltools' builder declines it.
        """
        try:
            return mil.emit(kind, name=self.names.fresh(hint or f"{self.node.outputs[0].name}_{kind}"), **inputs)
        except BuilderError as error:
            raise Refused(f"Core ML's {kind} does not take it: {error}") from error

    def cast(self, var: Var, dtype: str, hint: str | None = None) -> Var:
        """A value in another dtype (float16, float32, int32, bool, ...)."""
        if mil.dtype_of(var) == dtype:
            return var
        short = {"float16": "fp16", "float32": "fp32"}.get(dtype, dtype)
        return self.emit("cast", hint, x=var, dtype=short)

    def reshape(self, var: Var, shape: Sequence[int]) -> Var:
        """The same elements in another shape."""
        if tuple(var.shape) == tuple(shape):
            return var
        if not tuple(shape):
            return self.emit("squeeze", x=var)
        if not tuple(var.shape):
            return self.emit("expand_dims", x=var, axes=list(range(len(shape))))
        return self.emit("reshape", x=var, shape=np.asarray(shape, np.int32))

    def transpose(self, var: Var, perm: Sequence[int]) -> Var:
        """The axes in another order."""
        if list(perm) == sorted(perm):
            return var
        return self.emit("transpose", x=var, perm=np.asarray(perm, np.int32))

    def bind(self, value: ir.Value, var: Var) -> None:
        """Lets a MIL value stand for an ONNX value: under its name, unless it has that of another already."""
        shape, dtype = self.shape(value), self.mil_dtype(value)
        assert tuple(var.shape) == ((*shape, 1, 1) if self.lifted else shape), (value.name, var.shape, shape)
        assert mil.dtype_of(var) == dtype, (value.name, mil.dtype_of(var), dtype)
        quant = self.quant(value)
        if quant is not None:
            var = self.rounded(var, quant, value.name or "value")
            self._rounded.add(value)
        if self.lifted:
            self.images[value] = var
            var = self.reshape(var, shape)
        self._forms[value] = {(dtype, False): var}
        as_returned = (self.end(value)[1] == dtype and shape != ()) or not value.is_graph_output()
        if as_returned and var.name not in self.names.canonical:
            var.name = self.names.of(value.name or "value")

    # ---- the graph's ends -----------------------------------------------------------------------------------

    def end(self, value: ir.Value) -> tuple[tuple[int, ...], str]:
        """Shape and dtype of a graph input or output as Core ML's interface has it: float32, float16 or int32.

        Raises:
            Refused: Core ML's interface has nothing for it.
        """
        shape = self.shape(value)
        if len(shape) > MAX_RANK:
            message = f"{value.name!r} has {len(shape)} axes, Core ML's tensors have at most {MAX_RANK}"
            raise Refused(message, "reshape it outside of the model", "unsupported-shape")
        if 0 in shape:
            raise Refused(f"{value.name!r} is empty, and Core ML takes no empty tensors", code="unsupported-shape")
        if self.mil_dtype(value) not in ("float16", "float32"):
            return shape or (1,), "int32"
        asked = self.plan.io_dtype == "float16" or (self.dtype(value) == "float16" and self.at_least("iOS16"))
        half = asked and value.name not in self.plan.pixels
        return shape or (1,), "float16" if half else "float32"

    def stand_in(self, value: ir.Value) -> None:
        """Lets something without a computation stand for what a refused node makes: so all findings come at once."""
        dtype, shape = self.mil_dtype(value), self.shape(value)
        var = mil.stand_in(shape or (1,), dtype, self.names.fresh("refused"))
        self._forms[value] = {(dtype, False): var if shape else self.emit("squeeze", x=var, axes=[0])}

    def bind_input(self, value: ir.Value, var: Var) -> None:
        """Lets what Core ML hands in stand for a graph input."""
        if self.mil_dtype(value) == "bool":
            var = self.emit("not_equal", f"{value.name}_bool", x=var, y=np.int32(0))
        if self.rank(value) == 0:
            var = self.emit("squeeze", f"{value.name}_scalar", x=var, axes=[0])
        self._forms[value] = {(mil.dtype_of(var), False): var}

    def returned(self, value: ir.Value) -> Var:
        """The MIL value that Core ML hands out for a graph output, under its name."""
        data = self.constant(value)
        if data is not None:
            self.width = "float32"
            self.read(value)
        var = self.cast(next(iter(self._forms[value].values())), self.end(value)[1], f"{value.name}_cast")
        if self.rank(value) == 0:
            var = self.emit("expand_dims", f"{value.name}_vector", x=var, axes=[0])
        if self.names.canonical.get(var.name) == value.name and value.producer() is not None:
            return var
        if var.name in self.names.canonical or data is not None:
            var = self.emit("identity", f"{value.name}_copy", x=var)
        var.name = self.names.of(value.name or "output")
        return var

    @contextlib.contextmanager
    def inside(self, given: Mapping[ir.Value, Var]) -> Iterator[None]:
        """A block of an operation: what is made in it does not exist outside.

        Args:
            given: what stands for the block's inputs, each in the dtype that the current node reads it in.
        """
        forms, rounded, kept = {v: dict(held) for v, held in self._forms.items()}, set(self._rounded), dict(self._kept)
        images = dict(self.images)
        node, width = self.node, self.width
        self._forms |= {value: {(mil.dtype_of(var), False): var} for value, var in given.items()}
        try:
            yield
        finally:
            self._forms, self._rounded, self._kept, self.images = forms, rounded, kept, images
            self.node, self.width = node, width

    def is_rounded(self, value: ir.Value) -> bool:
        """Whether a value exists as integers only."""
        return value in self._rounded

    def is_bound(self, value: ir.Value) -> bool:
        """Whether something stands for a value."""
        return value in self._forms


def as_stored(data: Array, dtype: str, name: str) -> Array:
    """A constant in the dtype that a program holds it in.

    Raises:
        Refused: an integer beyond int32.
    """
    if dtype == "int32" and data.size and (int(data.min()) < _INT32.min or int(data.max()) > _INT32.max):
        raise Refused(f"constant {name!r} has integers beyond int32, and Core ML has none", code="unsupported-dtype")
    with np.errstate(over="ignore"):
        return np.asarray(data, dtype, order="C")
