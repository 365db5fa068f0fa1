"""A lowered module's integers beside the numpy reference: every kernel on the engine's own inputs, element by element.

This is the kernels rung of the drift ladder in integers. A network of many layers turns one flipped bit into noise, so
each kernel is judged by what it makes of the integers that it really got.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from edgeport.quantize.plan import QParams
from edgeport.sample import Array
from edgeport.targets.qnnpack import reference
from edgeport.targets.qnnpack.reference.rounding import Machine, UInt8

_quantized: Any = torch.ops.quantized
Counts = dict[str, tuple[int, int]]
"""Kernel -> how many elements it gave, and how many of them the reference has otherwise."""


def differing(module: fx.GraphModule, inputs: Sequence[Tensor], machine: Machine = "desktop") -> Counts:
    """Runs a module on the engine that is set and every kernel that the reference has on the reference as well.

    Args:
        module: from `lower_graph`.
        inputs: its inputs.
        machine: what this is: torch for x86-64 is a desktop.
    """
    beside = _Beside(module, machine)
    with torch.no_grad():
        beside.run(*inputs)
    return beside.counts


@dataclass
class _Kernel:
    """One call: the integers and parameters of its operands, and what else it was given."""

    arguments: tuple[Any, ...]
    y: QParams
    machine: Machine
    x: UInt8 = field(init=False)
    x_q: QParams = field(init=False)

    def __post_init__(self) -> None:
        if isinstance(self.arguments[0], Tensor) and self.arguments[0].is_quantized:
            self.x, self.x_q = _integers(self.arguments[0])


class _Beside(fx.Interpreter):
    """Keeps the counts of all kernels that ran so far."""

    def __init__(self, module: fx.GraphModule, machine: Machine) -> None:
        super().__init__(module)
        self._machine = machine
        self.counts: Counts = {}

    def run_node(self, n: fx.Node) -> Any:
        """Runs one node, and the reference on the same operands."""
        made = super().run_node(n)
        name = str(getattr(n.target, "__name__", n.target)).removeprefix("quantized.")
        if n.op != "call_function" or not isinstance(made, Tensor):
            return made
        arguments = self.fetch_args_kwargs_from_env(n)[0]
        if name == "linear_dynamic":
            self._count(name, made.numpy(), _linear_dynamic(arguments, self._machine))
        elif made.is_quantized and name in _REFERENCE:
            got, y = _integers(made)
            self._count(name, got, _REFERENCE[name](_Kernel(tuple(arguments), y, self._machine)))
        return made

    def _count(self, name: str, got: Array, want: Array) -> None:
        count, wrong = self.counts.get(name, (0, 0))
        self.counts[name] = (count + got.size, wrong + int((got != want).sum()))


def _integers(x: Tensor) -> tuple[UInt8, QParams]:
    qparams = QParams("uint8", np.asarray(x.q_scale(), np.float32), np.asarray(x.q_zero_point(), np.int32))
    return x.int_repr().numpy(), qparams


def _weights(packed: Any, unpack: Callable[[Any], tuple[Tensor, Tensor | None]]) -> tuple[Any, QParams, Any]:
    weight, bias = unpack(packed)
    if weight.qscheme() == torch.per_tensor_affine:
        qparams = QParams("int8", np.asarray(weight.q_scale(), np.float32), np.asarray(0, np.int32))
    else:
        scales = weight.q_per_channel_scales().numpy().astype(np.float32)
        qparams = QParams("int8", scales, np.zeros(scales.shape, np.int32), weight.q_per_channel_axis())
    return weight.int_repr().numpy(), qparams, None if bias is None else bias.detach().numpy()


def _conv(axes: int, *, relu: bool = False) -> Callable[[_Kernel], UInt8]:
    """Over one axis or two: one is packed as two, with a kernel of height 1."""

    def kernel(k: _Kernel) -> UInt8:
        packed = k.arguments[1]
        weight, weight_q, bias = _weights(packed, _quantized.conv2d_unpack)
        x = k.x[:, :, None] if axes == 1 else k.x
        made = reference.conv(
            x,
            weight,
            None if bias is None else reference.quantize_bias(bias, k.x_q, weight_q),
            k.x_q,
            weight_q,
            k.y,
            machine=k.machine,
            strides=packed.stride(),
            padding=packed.padding(),
            dilations=packed.dilation(),
            groups=packed.groups(),
            relu=relu,
        )
        return made[:, :, 0] if axes == 1 else made

    return kernel


def _transposed(k: _Kernel) -> UInt8:
    packed = k.arguments[1]
    weight, weight_q, bias = _weights(packed, _quantized.conv_transpose2d_unpack)
    flat = k.x.ndim == 3
    made = reference.conv_transpose(
        k.x[:, :, None] if flat else k.x,
        weight,
        None if bias is None else reference.quantize_bias(bias, k.x_q, weight_q, axis=1),
        k.x_q,
        weight_q,
        k.y,
        machine=k.machine,
        strides=packed.stride(),
        padding=packed.padding(),
        output_padding=packed.output_padding(),
        dilations=packed.dilation(),
        groups=packed.groups(),
    )
    return made[:, :, 0] if flat else made


def _linear(*, relu: bool = False) -> Callable[[_Kernel], UInt8]:
    def kernel(k: _Kernel) -> UInt8:
        weight, weight_q, bias = _weights(k.arguments[1], _quantized.linear_unpack)
        whole = None if bias is None else reference.quantize_bias(bias, k.x_q, weight_q)
        return reference.linear(k.x, weight, whole, k.x_q, weight_q, k.y, machine=k.machine, relu=relu)

    return kernel


def _linear_dynamic(arguments: Sequence[Any], machine: Machine) -> Array:
    weight, weight_q, bias = _weights(arguments[1], _quantized.linear_unpack)
    return reference.linear_dynamic(arguments[0].numpy(), weight, bias, weight_q, machine=machine)


def _pair(form: Callable[..., UInt8], *, relu: bool = False) -> Callable[[_Kernel], UInt8]:
    def kernel(k: _Kernel) -> UInt8:
        other, other_q = _integers(k.arguments[1])
        return form(k.x, other, k.x_q, other_q, k.y, relu=relu)

    return kernel


def _cat(k: _Kernel) -> UInt8:
    parts = [_integers(part) for part in k.arguments[0]]
    packed = all(part.is_contiguous(memory_format=torch.channels_last) for part in k.arguments[0] if part.ndim == 4)
    qparams = [q for _, q in parts]
    return reference.cat(
        [x for x, _ in parts], qparams, k.y, axis=k.arguments[1], machine=k.machine, channels_last=packed
    )


def _max_pool(k: _Kernel) -> UInt8:
    kernel, strides, padding = (*k.arguments[1:], (0, 0))[:3]
    return reference.max_pool2d(k.x, kernel=kernel, strides=strides, padding=padding)


def _clamp(k: _Kernel) -> UInt8:
    low, high = (
        reference.quantize(np.asarray(limit, np.float32), k.x_q, machine="phone") for limit in k.arguments[1:3]
    )
    return np.asarray(np.clip(k.x, low, high))


_REFERENCE: dict[str, Callable[[_Kernel], UInt8]] = {
    "quantize_per_tensor": lambda k: reference.quantize(k.arguments[0].detach().numpy(), k.y, machine=k.machine),
    "conv1d": _conv(1),
    "conv1d_relu": _conv(1, relu=True),
    "conv2d": _conv(2),
    "conv2d_relu": _conv(2, relu=True),
    "conv_transpose1d": _transposed,
    "conv_transpose2d": _transposed,
    "linear": _linear(),
    "linear_relu": _linear(relu=True),
    "add": _pair(reference.add),
    "add_relu": _pair(reference.add, relu=True),
    "mul": _pair(reference.mul),
    "cat": _cat,
    "max_pool2d": _max_pool,
    "avg_pool2d": lambda k: reference.avg_pool2d(
        k.x, k.x_q, kernel=k.arguments[1], strides=k.arguments[2], machine=k.machine
    ),
    "clamp": _clamp,
    "relu": lambda k: reference.relu(k.x, k.x_q),
    "hardswish": lambda k: reference.hardswish(k.x, k.x_q, k.y),
    "sigmoid": lambda k: reference.sigmoid(k.x, k.x_q),
    "tanh": lambda k: reference.tanh(k.x, k.x_q),
}
"""Kernels that have a reference; the others only move integers, or are torch's own."""
