"""One time step of LSTM, GRU and RNN on [batch, ...] tensors.

A cell gets the product of the inputs with W, biases included, which is computed for all time steps at once, and the
states of the step before; a state of None is all zeros. Equations: ONNX operators LSTM, GRU and RNN.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport.passes.recurrent_activations import Activation
from edgeport.targets.tflite.attributes import float_attr, int_attr
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.ops.recurrent_activations import activate, clamped
from edgeport.targets.tflite.ops.recurrent_operands import (
    Part,
    as_tensor,
    joined,
    matrix,
    name_giver,
    operand,
    rows,
    total,
)
from edgeport.targets.tflite.pieces import box

State = Tensor | None


@dataclass(frozen=True)
class Cell:
    """What one direction computes.

    Attributes:
        hidden: number of elements of a state.
        bias: what is added to the product of the inputs with W, [gates * hidden].
        step: from that product, [batch, gates * hidden], and the states to the next states; the first is the output.
    """

    hidden: int
    bias: Part | None
    step: Callable[[Tensor, tuple[State, ...]], tuple[Tensor, ...]]


def product(ctx: Context, like: ir.Value, x: Tensor, weights: Tensor, bias: Part | None = None) -> Tensor:
    """x W^T + bias for x [..., columns] as [rows, gates]; int8 weights quantize x at run time, row by row."""
    out = ctx.temporary(like, "product", (math.prod(x.shape[:-1]), weights.shape[0]))
    ctx.emit(
        "FULLY_CONNECTED",
        [x, weights, None if bias is None else as_tensor(ctx, bias, "bias")],
        [out],
        "FullyConnectedOptions",
        fusedActivationFunction=0,
        keepNumDims=False,
        asymmetricQuantizeInputs=weights.quant is not None,
    )
    return out


@dataclass(frozen=True)
class _Gates:
    """Reads a node's recurrent weights and biases and emits its arithmetic."""

    ctx: Context
    node: ir.Node
    direction: int
    count: int
    hidden: int

    @property
    def like(self) -> ir.Value:
        return name_giver(self.node)

    def recurrent(self, h: State, first: int, last: int, bias: Part | None = None) -> State:
        """h R^T for the gates first .. last, None where it is zero."""
        if h is None:
            return None if bias is None else as_tensor(self.ctx, bias, "bias")
        value = self.node.inputs[2]
        assert value is not None
        weights = matrix(self.ctx, self.node, value, self.direction, first * self.hidden, last * self.hidden)
        return product(self.ctx, self.like, h, weights, bias)

    def biases(self, first: int, last: int) -> Part | None:
        """Elements of B, whose first half belongs to W and whose second half to R, counted in gates."""
        value = operand(self.node, 3)
        if value is None:
            return None
        return rows(self.ctx, self.node, value, self.direction, first * self.hidden, last * self.hidden)

    def summed_biases(self) -> Part | None:
        return total(self.ctx, self.like, self.biases(0, self.count), self.biases(self.count, 2 * self.count))

    def add(self, a: Tensor, b: State) -> Tensor:
        return a if b is None else self.ctx.step(self.like, "ADD", [a, b], "AddOptions")

    def sub(self, a: Tensor, b: Tensor) -> Tensor:
        return self.ctx.step(self.like, "SUB", [a, b], "SubOptions")

    def mul(self, a: Tensor, b: Tensor) -> Tensor:
        return self.ctx.step(self.like, "MUL", [a, b], "MulOptions")

    def part(self, x: Tensor, first: int, last: int) -> Tensor:
        """The columns of some gates."""
        begin, width = first * self.hidden, (last - first) * self.hidden
        if len(x.shape) == 1:
            return box(self.ctx, self.like, x, (begin,), (width,))
        return box(self.ctx, self.like, x, (0, begin), (x.shape[0], width))

    def split(self, x: Tensor, count: int) -> tuple[Tensor, ...]:
        """The gates apart."""
        axis = self.ctx.builder.constant("const/axis", np.asarray(1, np.int32))
        shape = (x.shape[0], self.hidden)
        outs = [self.ctx.temporary(self.like, "gate", shape) for _ in range(count)]
        self.ctx.emit("SPLIT", [axis, x], outs, "SplitOptions", numSplits=count)
        return tuple(outs)

    def activate(self, x: Tensor, function: Activation) -> Tensor:
        """The function of x, whose magnitude the attribute `clip` limits."""
        limit = float_attr(self.node, "clip", 0.0)
        if limit > 0:
            x = clamped(self.ctx, self.like, x, -limit, limit)
        return activate(self.ctx, self.like, x, function)


def lstm_cell(ctx: Context, node: ir.Node, direction: int, hidden: int, functions: tuple[Activation, ...]) -> Cell:
    """i, o, f = f(x W + h R + b + P * c), c' = f * c + i * g(...), h' = o * h(c'); order i o f c."""
    gates = _Gates(ctx, node, direction, 4, hidden)
    like = gates.like
    of_gates, of_cell, of_output = functions
    peepholes = operand(node, 7)
    coupled = bool(int_attr(node, "input_forget", 0))

    def peep(gate: Tensor, index: int, c: State) -> Tensor:
        if peepholes is None or c is None:
            return gate
        weights = as_tensor(
            ctx, rows(ctx, node, peepholes, direction, index * hidden, (index + 1) * hidden), "peephole"
        )
        return gates.add(gate, gates.mul(c, weights))

    def step(x: Tensor, states: tuple[State, ...]) -> tuple[Tensor, ...]:
        h, c = states
        i, o, f, g = gates.split(gates.add(x, gates.recurrent(h, 0, 4)), 4)
        i = gates.activate(peep(i, 0, c), of_gates)
        new = gates.mul(i, gates.activate(g, of_cell))
        if c is not None:
            if coupled:
                f = ctx.step(like, "SUB", [ctx.number(1), i], "SubOptions")
            else:
                f = gates.activate(peep(f, 2, c), of_gates)
            new = gates.add(gates.mul(f, c), new)
        o = gates.activate(peep(o, 1, new), of_gates)
        return gates.mul(o, activate(ctx, like, new, of_output)), new

    return Cell(hidden, gates.summed_biases(), step)


def gru_cell(ctx: Context, node: ir.Node, direction: int, hidden: int, functions: tuple[Activation, ...]) -> Cell:
    """z, r = f(x W + h R + b), n = g(x W + b + r * (h R) or (r * h) R), h' = n + z * (h - n); gates in the order z r n.

    `linear_before_reset` (PyTorch, cuDNN) multiplies with r behind the product, otherwise (Keras, the paper) before.
    """
    gates = _Gates(ctx, node, direction, 3, hidden)
    like = gates.like
    of_gates, of_new = functions

    def mixed(n: Tensor, z: Tensor, h: State) -> Tensor:
        if h is None:
            return gates.mul(n, ctx.step(like, "SUB", [ctx.number(1), z], "SubOptions"))
        return gates.add(n, gates.mul(z, gates.sub(h, n)))

    def reset_after(x: Tensor, states: tuple[State, ...]) -> tuple[Tensor, ...]:
        (h,) = states
        late = gates.biases(5, 6)
        if h is None:
            z, r, n = gates.split(x, 3)
            r = gates.activate(r, of_gates)
            n = n if late is None else gates.add(n, gates.mul(r, as_tensor(ctx, late, "bias")))
        else:
            nothing = np.zeros(2 * hidden, np.float32)
            both = gates.recurrent(h, 0, 3, None if late is None else joined(ctx, like, [nothing, late]))
            assert both is not None
            z, r, n = gates.split(x, 3)
            hz, hr, hn = gates.split(both, 3)
            r = gates.activate(gates.add(r, hr), of_gates)
            z = gates.add(z, hz)
            n = gates.add(n, gates.mul(r, hn))
        return (mixed(gates.activate(n, of_new), gates.activate(z, of_gates), h),)

    def reset_before(x: Tensor, states: tuple[State, ...]) -> tuple[Tensor, ...]:
        (h,) = states
        z, r = gates.split(gates.add(gates.part(x, 0, 2), gates.recurrent(h, 0, 2)), 2)
        n = gates.part(x, 2, 3)
        if h is not None:
            r = gates.activate(r, of_gates)
            n = gates.add(n, gates.recurrent(gates.mul(r, h), 2, 3))
        return (mixed(gates.activate(n, of_new), gates.activate(z, of_gates), h),)

    if not int_attr(node, "linear_before_reset", 0):
        return Cell(hidden, gates.summed_biases(), reset_before)
    early = total(ctx, like, gates.biases(0, 2), gates.biases(3, 5))
    late = gates.biases(2, 3)
    return Cell(hidden, None if early is None or late is None else joined(ctx, like, [early, late]), reset_after)


def rnn_cell(ctx: Context, node: ir.Node, direction: int, hidden: int, functions: tuple[Activation, ...]) -> Cell:
    """h' = f(x W + h R + b)."""
    gates = _Gates(ctx, node, direction, 1, hidden)

    def step(x: Tensor, states: tuple[State, ...]) -> tuple[Tensor, ...]:
        (h,) = states
        return (gates.activate(gates.add(x, gates.recurrent(h, 0, 1)), functions[0]),)

    return Cell(hidden, gates.summed_biases(), step)
