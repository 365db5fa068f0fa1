"""A scheme: what a target's integer kernels demand, as data. The plan is made from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import onnx_ir as ir

from edgeport.quantize.groups import Fusible
from edgeport.quantize.plan import Kernel, QParams

Role = Literal["anchor", "glue", "passthrough"]


def _always(node: ir.Node) -> str | None:
    return None


@dataclass(frozen=True)
class Inner:
    """A value inside of an operator (see `edgeport.inner`) that its kernels pass on in integers.

    Attributes:
        role: what it is.
        qparams: fixed parameters; None means chosen from the statistics.
    """

    role: str
    qparams: QParams | None = None


@dataclass(frozen=True)
class OpRule:
    """How one operator type takes part in integer arithmetic. Operators without a rule stay float.

    Attributes:
        role: `anchor` runs in integers whenever it can (it is where the speed is); `glue` (Add, Concat, ...) only
            between integer kernels, where it saves conversions; `passthrough` (Reshape, MaxPool, ...) moves
            integers unchanged, so that its output keeps its input's parameters.
        weight: index of the constant input that is quantized as weights, None if there is none.
        weight_axis: channel axis of that constant in ONNX layout; None: it has one scale.
        more_weights: indices of further constant inputs that are weights, with the same channel axis.
        kernel: what these nodes run as where the scheme's kernel is not to be had or not worth having; None: the
            scheme's kernel.
        activations: indices of the inputs that carry integers; None means every input that is not constant
            data. A constant among them (Add with a constant operand) is quantized like an activation. A function where
            that depends on the node.
        gives_floats: results leave the kernel as floats, and its bias is float, too: integers are only what it reads.
        within: gives the node at the end of whose kernel this one runs, None if there is none; glue for which that is
            known is in integers where that node is.
        output: fixed output parameters (Sigmoid, Softmax, Tanh); None means chosen from the statistics.
        shared: every input and the output have the same parameters (Concat).
        result_step: from the scales of the inputs that carry integers, the step in which results come before they
            are rounded to the output's scale (Add: the coarsest scale). None where kernels take any output scale.
        refuses: gives the reason why a particular node must stay float, None if it need not.
        symmetric: indices of the inputs that must have zero point 0.
        inner: values inside of the operator that are integers, too.
        alone: what an anchor runs as that float operators feed and read; None: as any other.
        unweighted: the rule of a node whose `weight` input is computed; None: such a node stays float.
    """

    role: Role
    weight: int | None = None
    weight_axis: int | None = 0
    more_weights: tuple[int, ...] = ()
    kernel: Kernel | None = None
    activations: tuple[int, ...] | Callable[[ir.Node], tuple[int, ...]] | None = None
    gives_floats: bool = False
    within: Callable[[ir.Node], ir.Node | None] | None = None
    output: QParams | None = None
    shared: bool = False
    result_step: Callable[[Sequence[float]], float] | None = None
    refuses: Callable[[ir.Node], str | None] = _always
    symmetric: tuple[int, ...] = ()
    inner: tuple[Inner, ...] = ()
    alone: Kernel | None = None
    unweighted: OpRule | None = None

    @property
    def weights(self) -> tuple[int, ...]:
        """Indices of all inputs that are weights."""
        return () if self.weight is None else (self.weight, *self.more_weights)


def _never_fused(anchor: ir.Node, activation: ir.Node) -> bool:
    return False


@dataclass(frozen=True)
class Scheme:
    """Everything a plan needs to know about a target at one precision.

    Attributes:
        precision: the user's word for it (`int8`, `fp16`, ...).
        kernel: the kernel that nodes with a rule get.
        rules: operator type -> rule.
        fusible: which activations a kernel applies by itself.
        symmetric_activations: activations have zero point 0.
        per_channel: weights have one scale a channel.
        needs_data: whether statistics of activations are needed.
        max_gain: no output's scale is finer than its rule's `result_step` divided by this.
        max_product_gain: no output's scale is finer than the step of a product with weights divided by this.
        everywhere: nothing that has a rule stays float for lack of integer neighbours; what has none is refused.
        block: how many int4 weights of a channel share a scale where that divides them; None: all of them.
        least_block: where `block` does not divide them, half of it does, and so on down to this size; what none divides
            is int8. None: such a channel has one int4 scale.
        bits: width of the indices of `palettized` weights: 2, 4, 6 or 8.
        group: how many channels share a palette where that divides them; None: all of them.
        grouped: whether palettes of groups of channels can be stored at all.
        sparsity: the share of `sparse` weights that is made zero; None: none but those that are.
        least_kept: how much of an activation, in dB over its rounding error in calibration, its scale must keep; what
            keeps less stays float. None: anything does.
        clipping: where ranges have least squared error, what that of a clipped element counts beside that of a rounded
            one. Rounding averages out in a product; clipped neighbours err alike, which adds up.
        layers: node name -> the scheme that decides about that node in place of this one (see `mixed`).
        ranged_rows: whether kernels that quantize at run time measure each row by itself, or all of a tensor.
        observed: writes a canonical graph in a form every float tensor of which needs a range, whatever runs how (for
            calibration caches); None: only what kernels need.
    """

    precision: str
    kernel: Kernel = "float32"
    rules: Mapping[str, OpRule] = field(default_factory=dict)
    fusible: Fusible = _never_fused
    symmetric_activations: bool = False
    per_channel: bool = True
    needs_data: bool = False
    max_gain: float = math.inf
    max_product_gain: float = math.inf
    block: int | None = None
    everywhere: bool = False
    least_block: int | None = None
    bits: int | None = None
    group: int | None = None
    grouped: bool = False
    sparsity: float | None = None
    least_kept: float | None = None
    clipping: float = 1.0
    layers: Mapping[str, Scheme] = field(default_factory=dict)
    ranged_rows: bool = True
    observed: Callable[[ir.Model], ir.Model] | None = None

    @property
    def parts(self) -> tuple[Scheme, ...]:
        """The scheme, then those of single layers, each once."""
        return (self, *{id(scheme): scheme for scheme in self.layers.values()}.values())

    @property
    def wide(self) -> bool:
        """Whether activations are int16."""
        return any(scheme.kernel == "int16x8" for scheme in self.parts)

    @property
    def eight_bit_floats(self) -> bool:
        """Whether activations are floats of 8 bits."""
        return any(scheme.kernel == "fp8" for scheme in self.parts)

    @property
    def weighs(self) -> bool:
        """Whether it has weights that are chosen by how much they matter, if there is data to know that from."""
        return any(scheme.kernel in ("palettized", "sparse") for scheme in self.parts)

    def at(self, node: ir.Node) -> Scheme:
        """The scheme that decides about a node."""
        return self.layers.get(node.name or "", self)

    def rule(self, node: ir.Node) -> OpRule | None:
        """The rule of a node, None if it has none."""
        rule = self.at(node).rules.get(node.op_type)
        if rule is None or rule.weight is None or rule.unweighted is None:
            return rule
        value = node.inputs[rule.weight] if rule.weight < len(node.inputs) else None
        return rule.unweighted if value is not None and value.const_value is None else rule

    def kernel_of(self, node: ir.Node) -> Kernel:
        """What a node with a rule runs as."""
        rule = self.rule(node)
        return self.at(node).kernel if rule is None or rule.kernel is None else rule.kernel
