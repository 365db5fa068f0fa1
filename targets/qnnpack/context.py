"""The lowering's working state: the torch view's, and beside it which values there are in integers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from edgeport.quantize.plan import Plan, QParams
from edgeport.torch_view.context import NAME, node_of
from edgeport.torch_view.context import Context as View


@dataclass
class Context:
    """What kernels work with.

    Attributes:
        plan: the decision.
        view: holds every value as floats; those that a kernel leaves are dequantized there.
        integers: the values that there are as quantized tensors.
        stored: quantized weights by constant and whether they are transposed, so that one serves all its kernels.
    """

    plan: Plan
    view: View = field(default_factory=View)
    integers: dict[ir.Value, Tensor] = field(default_factory=dict)
    stored: dict[tuple[ir.Value, bool], Tensor] = field(default_factory=dict)
    _packed: dict[tuple[object, ...], Tensor] = field(default_factory=dict)

    def qparams(self, value: ir.Value) -> tuple[float, int]:
        """Scale and zero point of a value as uint8; plans hold int8."""
        found = self.plan.qparams(value.name)
        assert found is not None, f"the plan has no parameters for {value.name}"
        return unsigned(found)

    def quantized(self, value: ir.Value | None) -> Tensor:
        """A value in integers; one that floats give is quantized, once for all kernels."""
        assert value is not None
        if value not in self.integers:
            real = self.view.tensor(value, trained=False)
            self.integers[value] = torch.quantize_per_tensor(real, *self.qparams(value), torch.quint8)
        return self.integers[value]

    def give(self, value: ir.Value, made: Tensor) -> None:
        """Lets a quantized tensor stand for a value; what reads it as floats reads it dequantized."""
        node_of(made).meta[NAME] = value.name
        self.integers[value] = made
        self.view.values[value] = torch.dequantize(made)

    def packed(self, key: tuple[object, ...], hint: str, pack: Callable[[], torch.ScriptObject]) -> Tensor:
        """A packed weight as an attribute of the module; the same one for the same key."""
        if key not in self._packed:
            self._packed[key] = self.view.attribute(pack(), hint)
        return self._packed[key]


def call(name: str, *arguments: object) -> Tensor:
    """Writes one of `torch.ops.quantized` into the module."""
    made: Tensor = getattr(torch.ops.quantized, name)(*arguments)
    return made


def unsigned(qparams: QParams) -> tuple[float, int]:
    """Scale and zero point of an int8 activation as QNNPACK's uint8 has them."""
    assert qparams.dtype == "int8", qparams.dtype
    return float(qparams.scale), int(qparams.zero_point) + 128


def step(number: float, scale: float, zero_point: int) -> int:
    """The integer of a number, not saturated."""
    return int(np.rint(np.float32(number) * (np.float32(1) / np.float32(scale)))) + zero_point
