"""The lowering's working state: which value of the program stands for each ONNX value.

Floats exist in two widths. Where a program computes in float16, float32 values of the graph are float16 in it, but for
what a node that needs float32 (`Context.width`) makes; whoever reads them gets its own width.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from edgeport.quantize.compression import Palette
from edgeport.quantize.plan import Plan
from edgeport.quantize.qdq import RESTORED
from edgeport.sample import Array
from edgeport.targets import values as known
from edgeport.targets.coreai.elements import clamp, raw_cast
from edgeport.targets.coreai.program import Builder, Given, Tensor
from edgeport.targets.coreai.registry import Refused

_INTEGERS = (f"{sign}int{bits}" for bits in (8, 16, 32, 64) for sign in ("", "u"))
DTYPES = ("bool", "float16", "float32", "float64", *_INTEGERS)
"""What Core AI computes with, all of them natively."""


@dataclass
class Context:
    """What handlers work with."""

    plan: Plan
    builder: Builder = field(default_factory=Builder)
    values: dict[ir.Value, Tensor] = field(default_factory=dict)
    width: str = "float32"
    """What the current node computes in where the graph has float32."""
    _others: dict[tuple[ir.Value, str], Tensor] = field(default_factory=dict)
    """Values in another width than the one they were made in."""

    shape = staticmethod(known.shape_of)
    constant = staticmethod(known.constant_of)
    constant_input = staticmethod(known.constant_input)
    constant_ints = staticmethod(known.constant_ints)

    def dtype(self, value: ir.Value) -> str:
        """numpy name of a value's dtype."""
        name = "unknown" if value.dtype is None else str(value.dtype.numpy().name)
        if name not in DTYPES:
            raise Refused(
                f"{value.name!r} is of dtype {name}, which Core AI's runtime here does not take",
                None,
                "unsupported-dtype",
            )
        return name

    def has(self, node: ir.Node, index: int) -> bool:
        """Whether an input is given."""
        return index < len(node.inputs) and node.inputs[index] is not None

    def read(self, node: ir.Node, index: int) -> Tensor:
        """An input that must be there."""
        tensor = self.optional(node, index)
        if tensor is None:
            raise Refused(f"input {index} is missing")
        return tensor

    def optional(self, node: ir.Node, index: int) -> Tensor | None:
        """An input, None if it is absent."""
        value = node.inputs[index] if index < len(node.inputs) else None
        return None if value is None else self.tensor(value)

    def tensor(self, value: ir.Value) -> Tensor:
        """What stands for an ONNX value, in the width of the current node."""
        wanted = self.own_dtype(value)
        made = self.values.get(value)
        if made is not None and made.dtype == wanted:
            return made
        if (value, wanted) not in self._others:
            data = self.constant(value) if made is None else None
            assert made is not None or data is not None, f"{value.name} is read before it is written"
            other = _as_float(made, wanted) if made is not None else self._constant(value, np.asarray(data), wanted)
            self._others[value, wanted] = other
        return self._others[value, wanted]

    def _constant(self, value: ir.Value, data: Array, dtype: str) -> Tensor:
        palette = self.plan.compression((value.name or "").removesuffix(RESTORED))
        if not isinstance(palette, Palette) or not (value.name or "").endswith(RESTORED):
            return self.builder.constant(_as_stored(data, dtype))
        groups = [len(palette.lut) if a == (palette.axis or 0) % data.ndim else 1 for a in range(data.ndim)]
        table = _as_stored(palette.lut, dtype).reshape(*groups, 2**palette.bits, 1)
        indices = self.builder.constant(palette.indices(data), f"uint{palette.bits}")
        operands: list[Given] = [indices, self.builder.constant(table), np.asarray(0, np.int16)]
        return self.builder.step("lut_to_dense", operands, data.shape, dtype)

    def own_dtype(self, value: ir.Value) -> str:
        """dtype in which the current node reads or makes a value."""
        dtype = self.dtype(value)
        return self.width if dtype == "float32" else dtype

    def returned(self, value: ir.Value) -> Tensor:
        """What the program gives for an output of the graph."""
        self.width = "float32"
        return self.tensor(value)

    def bind(self, node: ir.Node, *results: Tensor | None) -> None:
        """Lets values of the program stand for the node's outputs; None where an output is not wanted."""
        for value, result in zip(node.outputs, results, strict=False):
            if result is None:
                continue
            want = self.shape(value), self.own_dtype(value)
            if (result.shape, result.dtype) != want:
                raise Refused(
                    f"output {value.name!r} comes as {result.dtype}{list(result.shape)} instead of "
                    f"{want[1]}{list(want[0])}; this is a defect of edgeport, please report it with the model"
                )
            self.values[value] = result
            if value.name and result.number >= len(self.builder.program.inputs):
                self.builder.program.names.setdefault(result.number, value.name)


def _as_float(x: Tensor, dtype: str) -> Tensor:
    """A float of another width; what float16 cannot hold becomes its largest number, as for masks of -3.4e38."""
    most = float(np.finfo(np.float16).max)
    return raw_cast(clamp(x, -most, most) if dtype == "float16" else x, dtype)


def _as_stored(data: Array, dtype: str) -> Array:
    if dtype != "float16" or data.dtype != np.float32:
        return data
    most = np.finfo(np.float16).max
    return np.clip(data, -most, most).astype(np.float16)
