"""The lowering's working state: which stored tensors stand for each ONNX value, and how to get another.

A value may be stored several times: as float and as int8, in several layouts. Handlers ask for the form that
their kernel wants; conversions (TRANSPOSE, RESHAPE, QUANTIZE, DEQUANTIZE) are emitted once, when first asked for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeport.quantize.groups import KernelGroup
from edgeport.quantize.plan import INTEGERS, Plan, QParams
from edgeport.sample import Array
from edgeport.targets import values as known
from edgeport.targets.tflite.builder import Builder, Tensor, schema
from edgeport.targets.tflite.fusion import fused_activation
from edgeport.targets.tflite.kernels import check_kernel
from edgeport.targets.tflite.layout import (
    ADDED,
    Layout,
    conversion,
    identity,
    same_order,
    stored_shape,
)
from edgeport.targets.tflite.registry import Refused
from edgeport.targets.tflite.widening import emit_cast, needs_width, wide_result, widened


@dataclass(frozen=True)
class Stored:
    """One stored form of a value."""

    tensor: Tensor
    layout: Layout


@dataclass
class Context:
    """What handlers work with."""

    plan: Plan
    groups: Mapping[ir.Node, KernelGroup]
    builder: Builder = field(default_factory=Builder)
    ends: dict[ir.Value, Tensor] = field(default_factory=dict)
    """The tensors that the file takes."""
    row_orders: dict[ir.Value, Array] = field(default_factory=dict)
    """For a flattened value whose elements lie in stored, not ONNX, order: ONNX index of each stored element."""
    masks: dict[tuple[ir.Value, bool], tuple[Tensor | None, Tensor | None]] = field(default_factory=dict)
    """Attention masks as they are added to scores, and which rows are not all masked; by mask and causality."""
    _stored: dict[ir.Value, list[Stored]] = field(default_factory=dict)
    decoded: dict[int, Tensor] = field(default_factory=dict)
    """Float forms of constants that the device decodes, by the index of the stored tensor."""

    # ---- facts about values -------------------------------------------------------------------------------

    shape = staticmethod(known.shape_of)
    rank = staticmethod(known.rank_of)
    dtype = staticmethod(known.dtype_of)
    constant = staticmethod(known.constant_of)
    constant_ints = staticmethod(known.constant_ints)

    def int8(self, node: ir.Node) -> bool:
        """Whether the plan runs this node in integers."""
        return self.plan.kernel(node.name) in INTEGERS

    def quant(self, node: ir.Node, value: ir.Value) -> QParams | None:
        """Parameters of a value as this node reads or writes it: None where it does so in float."""
        return self.plan.qparams(value.name) if self.int8(node) else None

    def result(self, node: ir.Node) -> ir.Value:
        """What the node's kernel leaves behind: the output of its group."""
        return self.groups[node].output

    def activation(self, node: ir.Node) -> int:
        """Code of the activation that the node's kernel applies."""
        absorbed = self.groups[node].activation
        name = "NONE" if absorbed is None else fused_activation(absorbed)
        return int(getattr(schema().ActivationFunctionType, name))

    # ---- layouts ------------------------------------------------------------------------------------------

    def layouts(self, value: ir.Value) -> list[Layout]:
        """Layouts in which a computed value exists; empty for a constant, which exists in any."""
        return list(dict.fromkeys(s.layout for s in self._stored.get(value, ())))

    # ---- reading ------------------------------------------------------------------------------------------

    def read(self, node: ir.Node, value: ir.Value, layout: Layout | None = None) -> Tensor:
        """The tensor of `value` in `layout` (default: ONNX order), in integers where the plan says so."""
        layout = identity(self.rank(value)) if layout is None else layout
        quant = self.quant(node, value)
        if self.constant(value) is not None:
            return self._constant(value, layout, quant)
        return self.stored(value, layout, quantized=quant is not None)

    def stored(self, value: ir.Value, layout: Layout, quantized: bool) -> Tensor:
        """A computed value in a given form, converted if need be."""
        forms = self._stored.get(value)
        assert forms, f"{value.name} is read before it is written"
        for form in forms:
            if form.layout == layout and (form.tensor.quant is not None) == quantized:
                return form.tensor
        shape = self.shape(value)

        def cost(form: Stored) -> tuple[bool, bool, bool, bool]:
            crosses = (form.tensor.quant is not None) != quantized
            # What a float operator made is not rounded for its float readers, even where that form is nearer at hand.
            rounded = crosses and not quantized and forms[0].tensor.quant is None
            return (rounded, not same_order(shape, form.layout, layout), crosses, form.layout != layout)

        best = min(forms, key=cost)
        if (best.tensor.quant is None) and quantized:  # quantize first: then fewer bytes are moved
            best = self._requantized(value, best, self.plan.qparams(value.name))
        best = self._rearranged(value, best, layout)
        if (best.tensor.quant is not None) and not quantized:
            best = self._requantized(value, best, None)
        return best.tensor

    def _rearranged(self, value: ir.Value, form: Stored, layout: Layout) -> Stored:
        steps = conversion(self.shape(value), form.layout, layout)
        tensor = form.tensor
        for number, step in enumerate(steps):
            last = number == len(steps) - 1
            name = self.name(value, layout) if last else f"{value.name}/move"
            out = self.builder.tensor(name, step.shape, tensor.dtype, tensor.quant)
            self.transpose(tensor, step.argument, out) if step.code == "TRANSPOSE" else self.reshape(tensor, out)
            tensor = out
        return self.remember(value, Stored(tensor, layout))

    def _requantized(self, value: ir.Value, form: Stored, quant: QParams | None) -> Stored:
        dtype = "float32" if quant is None else quant.dtype
        name = self.name(value, form.layout) + ("|f" if quant is None else "|q")
        out = self.builder.tensor(name, form.tensor.shape, dtype, quant)
        if quant is None:
            self.builder.op("DEQUANTIZE", [form.tensor], [out], "DequantizeOptions")
        else:
            self.builder.op("QUANTIZE", [form.tensor], [out], "QuantizeOptions")
        return self.remember(value, Stored(out, form.layout))

    def _constant(self, value: ir.Value, layout: Layout, quant: QParams | None) -> Tensor:
        data = self.constant(value)
        assert data is not None
        name = self.name(value, layout)
        shape = stored_shape(data.shape, layout)

        def arrange(array: Array) -> Array:
            squeezed = array.reshape([d for d in array.shape if d != 1])
            large = [a for a, d in enumerate(array.shape) if d != 1]
            order = [large.index(a) for a in layout if a in large]
            return squeezed.transpose(order).reshape(shape)

        if quant is not None:
            axis = None if quant.axis is None else layout.index(quant.axis % data.ndim)
            return self.builder.constant(name, arrange(quant.quantize(data)), replace(quant, axis=axis))
        return self.builder.constant(name, arrange(data))

    @contextlib.contextmanager
    def inside(self, graph: Builder) -> Iterator[None]:
        """Operators are added to another subgraph meanwhile; of the values outside it can read constants only."""
        outer, decoded = self.builder, self.decoded
        self.builder, self.decoded = graph, {}
        try:
            yield
        finally:
            self.builder, self.decoded = outer, decoded

    # ---- writing ------------------------------------------------------------------------------------------

    def output(self, node: ir.Node, layout: Layout | None = None, value: ir.Value | None = None) -> Tensor:
        """A new tensor bound to the node's result (its group's output, or `value` among several outputs)."""
        value = self.result(node) if value is None else value
        layout = identity(self.rank(value)) if layout is None else layout
        quant = self.quant(node, value)
        dtype = self.dtype(value) if quant is None else quant.dtype
        tensor = self.builder.tensor(self.name(value, layout), stored_shape(self.shape(value), layout), dtype, quant)
        self.remember(value, Stored(tensor, layout))
        return tensor

    def carrier(self, value: ir.Value, layout: Layout, data: Tensor) -> Tensor:
        """A tensor for `value` with the dtype and quantization of `data`, for operators that only move elements.

        `bind` it after the operator is emitted.
        """
        shape = stored_shape(self.shape(value), layout)
        return self.builder.tensor(self.name(value, layout), shape, data.dtype, data.quant)

    def read_float(self, value: ir.Value, layout: Layout) -> Tensor:
        """As `read`, but never in integers: for operators without an integer kernel inside an integer region."""
        data = self.constant(value)
        if data is not None:
            return self._constant(value, layout, None)
        return self.stored(value, layout, quantized=False)

    def bind_float(self, node: ir.Node, value: ir.Value, tensor: Tensor, layout: Layout) -> None:
        """Binds a float tensor; in an integer region its integer form follows at once."""
        form = self.remember(value, Stored(self._named(value, tensor, layout), layout))
        quant = self.quant(node, value)
        if quant is not None:
            self._requantized(value, form, quant)

    def bind(self, node: ir.Node, value: ir.Value, tensor: Tensor, layout: Layout) -> None:
        """Lets an existing tensor stand for `value`, requantized where the plan gives the value other parameters."""
        assert stored_shape(self.shape(value), layout) == tensor.shape, (value.name, layout, tensor.shape)
        quant = self.quant(node, value)
        if tensor.quant is not None and quant is not None and not same_quant(tensor.quant, quant):
            self._requantized(value, Stored(tensor, layout), quant)
        else:
            self.remember(value, Stored(self._named(value, tensor, layout), layout))

    def _named(self, value: ir.Value, tensor: Tensor, layout: Layout) -> Tensor:
        """The last tensor of a decomposition, under the name of what it turns out to be; others keep their names."""
        inside = tensor.name.startswith(f"{value.name}/") and not tensor.constant
        last = inside and value not in self.row_orders  # which hold the value's elements in another order
        return self.builder.renamed(tensor, self.name(value, layout)) if last else tensor

    def temporary(
        self, like: ir.Value, what: str, shape: Sequence[int], dtype: str = "float32", quant: QParams | None = None
    ) -> Tensor:
        """A tensor inside a decomposition of the operator that computes `like`."""
        return self.builder.tensor(f"{like.name}/{what}", shape, dtype, quant)

    def rescaled(self, like: ir.Value, tensor: Tensor, quant: QParams) -> Tensor:
        """An integer tensor in other parameters."""
        if tensor.quant is None or same_quant(tensor.quant, quant):
            return tensor
        out = self.temporary(like, "rescaled", tensor.shape, quant.dtype, quant)
        self.emit("QUANTIZE", [tensor], [out], "QuantizeOptions")
        return out

    def step(
        self,
        like: ir.Value,
        code: str,
        inputs: Sequence[Tensor],
        options_type: str | None = None,
        shape: Sequence[int] | None = None,
        dtype: str | None = None,
        **options: Any,
    ) -> Tensor:
        """One float operator of a decomposition; by default its result has the broadcast shape of its operands."""
        if shape is None:
            shape = np.broadcast_shapes(*(t.shape for t in inputs))
        out = self.temporary(like, code.lower(), shape, dtype or inputs[0].dtype)
        self.emit(code, inputs, [out], options_type, **options)
        return out

    def number(self, value: float, dtype: str = "float32") -> Tensor:
        """A scalar constant."""
        return self.builder.constant("const/scalar", np.asarray(value, dtype))

    def forms(self, node: ir.Node, value: ir.Value) -> list[Stored]:
        """Every stored form of a value of the kind that the node reads; makes the first if there is none."""
        if self.constant(value) is not None:
            return [Stored(self.read(node, value), identity(self.rank(value)))]
        quantized = self.quant(node, value) is not None
        found = [s for s in self._stored.get(value, ()) if (s.tensor.quant is not None) == quantized]
        if not found:
            layout = self.layouts(value)[0]
            found = [Stored(self.stored(value, layout, quantized), layout)]
        return found

    def emit(
        self,
        code: str,
        inputs: Sequence[Tensor | None],
        outputs: Sequence[Tensor],
        options_type: str | None = None,
        **options: Any,
    ) -> None:
        """Adds an operator; arithmetic on plain 8-bit integers runs in int32.

        Raises:
            Refused: LiteRT has no kernel of that operator for the operands' dtype or rank.
        """
        if needs_width(code, inputs):
            wide = [wide_result(self.builder, t) for t in outputs]
            self.emit(code, [widened(self.builder, t) for t in inputs], wide, options_type, **options)
            for source, target in zip(wide, outputs, strict=True):
                if source is not target:
                    emit_cast(self.builder, source, target)
            return
        check_kernel(code, inputs)
        for name, option in options.items():
            if type(option) is int and not -(2**31) <= option < 2**31:
                raise Refused(f"{name} of {code} would be {option}, beyond the 32 bits of the format")
        self.builder.op(code, inputs, outputs, options_type, **options)

    def ints(self, name: str, values: Sequence[int]) -> Tensor:
        """An int32 constant vector, as kernels take for axes, shapes and paddings."""
        return self.builder.constant(f"const/{name}", np.asarray(values, np.int32))

    def transpose(self, tensor: Tensor, perm: Sequence[int], out: Tensor) -> None:
        """Emits TRANSPOSE."""
        self.emit("TRANSPOSE", [tensor, self.ints("perm", perm)], [out], "TransposeOptions")

    def reshape(self, tensor: Tensor, out: Tensor) -> None:
        """Emits RESHAPE to the shape of `out`."""
        shape = self.ints("shape", out.shape)
        self.emit("RESHAPE", [tensor, shape], [out], "ReshapeOptions", newShape=list(out.shape))

    def remember(self, value: ir.Value, form: Stored) -> Stored:
        """Lets a value be read in this form from now on."""
        self._stored.setdefault(value, []).append(form)
        return form

    def name(self, value: ir.Value, layout: Layout) -> str:
        """Tensor name of a value: its own, followed by the layout unless that is the ONNX order."""
        name = value.name or "value"
        if layout == identity(len(layout)):
            return name
        return name + "|" + "".join("_" if a == ADDED else str(a) for a in layout)


def same_quant(a: QParams, b: QParams) -> bool:
    """Whether both stand for the same real numbers."""
    return (
        a.dtype == b.dtype
        and a.axis == b.axis
        and np.array_equal(a.scale, b.scale)
        and np.array_equal(a.zero_point, b.zero_point)
    )
