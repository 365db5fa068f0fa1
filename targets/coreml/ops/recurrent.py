"""LSTM, GRU and RNN in the forms that MIL has; FORMS writes others out step by step.

What MIL's definitions leave open is as the evaluator has it: a GRU without `reset_after` (which came with iOS 18)
applies its reset gate before the product, and an LSTM's peephole of the output gate sees the new cell state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import input_of
from edgeport.passes.recurrence import Recurrence, is_common, recurrence_of, resets_late
from edgeport.passes.site import is_read
from edgeport.quantize.compression import Palette, Sparse
from edgeport.quantize.plan import Compression
from edgeport.sample import Array
from edgeport.targets.coreml.compressed import compressed
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var
from edgeport.targets.coreml.registry import Refused, lowers

_COMMON = ("activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "layout")


@lowers("LSTM", attributes=(*_COMMON, "input_forget"), inputs=8, outputs=3)
def lstm(ctx: Context, node: ir.Node) -> None:
    """`lstm`, both directions in one; gates i o f c become i f o c."""
    found = _found(ctx, node)
    directions = range(len(found.backwards))
    inputs: dict[str, Any] = {}
    for number, suffix in zip(directions, ("", "_back"), strict=False):
        inputs |= {f"weight_ih{suffix}": _rows(ctx, found, 1, number, (0, 2, 1, 3))}
        inputs |= {f"weight_hh{suffix}": _rows(ctx, found, 2, number, (0, 2, 1, 3))}
        if found.operand(3) is not None:
            inputs |= {f"bias{suffix}": _summed(ctx, found, number, (0, 2, 1, 3))}
        if found.operand(7) is not None:
            inputs |= {f"peephole{suffix}": _rows(ctx, found, 7, number, (0, 2, 1))}
    gate, cell, output = (function.name for function in found.functions[0])
    direction = "bidirectional" if len(directions) > 1 else _direction(found, 0)
    y, *states = ctx.emit(
        "lstm",
        x=ctx.read(node.inputs[0]),
        initial_h=_side_by_side(ctx, found, 5),
        initial_c=_side_by_side(ctx, found, 6),
        **inputs,
        direction=direction,
        output_sequence=is_read(node, 0),
        recurrent_activation=gate,
        cell_activation=cell,
        activation=output,
    )
    count, batch, hidden = len(directions), found.batch, found.hidden
    if is_read(node, 0):
        apart = ctx.reshape(y, (found.steps, batch, count, hidden))
        ctx.bind(node.outputs[0], _ordered(ctx, apart, (0, 2, 1, 3)))
    for index, state in enumerate(states, 1):
        if is_read(node, index):
            apart = ctx.reshape(state, (batch, count, hidden))
            ctx.bind(node.outputs[index], _ordered(ctx, apart, (1, 0, 2)))


@lowers("GRU", attributes=(*_COMMON, "linear_before_reset"), inputs=6, outputs=2)
def gru(ctx: Context, node: ir.Node) -> None:
    """`gru`, one a direction; gates z r n become r n z."""
    found = _found(ctx, node)
    assert ctx.at_least("iOS18") or not resets_late(found), "FORMS writes it out"
    order, results = (1, 2, 0), []
    for number in range(len(found.backwards)):
        inputs: dict[str, Any] = {}
        if resets_late(found):
            inputs["reset_after"] = True
            if found.operand(3) is not None:
                inputs |= {"input_bias": _rows(ctx, found, 3, number, order)}
                inputs |= {"bias": _rows(ctx, found, 3, number, [3 + block for block in order])}
        elif found.operand(3) is not None:
            inputs["bias"] = _summed(ctx, found, number, order)
        gate, new = (function.name for function in found.functions[0])
        inputs |= {"recurrent_activation": gate, "activation": new}
        results.append(_one_direction(ctx, "gru", found, number, order, inputs))
    _bind(ctx, found, results)


@lowers("RNN", attributes=_COMMON, inputs=6, outputs=2)
def rnn(ctx: Context, node: ir.Node) -> None:
    """`rnn`, one a direction."""
    found = _found(ctx, node)
    results = []
    for number in range(len(found.backwards)):
        inputs: dict[str, Any] = {"activation": found.functions[0][0].name}
        if found.operand(3) is not None:
            inputs["bias"] = _summed(ctx, found, number, (0,))
        results.append(_one_direction(ctx, "rnn", found, number, (0,), inputs))
    _bind(ctx, found, results)


def _found(ctx: Context, node: ir.Node) -> Recurrence:
    """What the node says. Before iOS 17 the operations take float32 only, so the node computes in it.

    Raises:
        Refused: it does not fit together.
    """
    found = recurrence_of(node)
    if found is None:
        raise Refused("its operands or attributes do not fit together", "export the model again")
    assert is_common(found), "FORMS writes it out"
    if not ctx.at_least("iOS17"):
        ctx.width = "float32"
    return found


def _direction(found: Recurrence, number: int) -> str:
    return "reverse" if found.backwards[number] else "forward"


def _rows(ctx: Context, found: Recurrence, index: int, number: int, order: Sequence[int]) -> Var | Array:
    """Blocks of rows of a constant operand in another order; compressed where the plan says so."""
    value = input_of(found.node, index)
    data = ctx.constant(value)
    assert value is not None
    assert data is not None
    rows = np.arange(data.shape[1]).reshape(-1, found.hidden)[list(order)].reshape(-1)
    how = None if ctx.plan.kernel(found.node.name) == "float32" else ctx.plan.compression(value.name)
    if how is None or index > 2:
        return ctx.floating(data[number, rows])
    part, name = data[number, rows], value.name or "weight"
    return compressed(ctx, part, _of_rows(how, number, rows, found.gates), (0, 1), part.shape, name)


def _of_rows(how: Compression, number: int, rows: Array, gates: int) -> Compression:
    """What holds for rows of one direction of weights [directions, rows, columns].

    Raises:
        Refused: a palette serves rows of several gates, which come apart.
    """
    if isinstance(how, Sparse):
        return Sparse(how.mask[number, rows])
    if isinstance(how, Palette):
        if len(how.lut) == 1:
            return replace(how, axis=None)
        if how.axis != 1 or len(how.lut) % gates:
            raise Refused(
                "its palettes serve several gates at once", "take a --group-size that divides its hidden size"
            )
        groups = rows.reshape(len(how.lut), -1)[:, 0] // (len(rows) // len(how.lut))
        return replace(how, lut=how.lut[groups], axis=0)
    if how.block is not None:
        return replace(how, scale=how.scale[number, rows], zero_point=how.zero_point[number, rows], axis=0)
    if how.axis is None:
        return how
    return replace(how, scale=how.scale[rows], zero_point=how.zero_point[rows], axis=0)


def _summed(ctx: Context, found: Recurrence, number: int, order: Sequence[int]) -> Array:
    """Biases of W and R together."""
    data = ctx.constant(input_of(found.node, 3))
    assert data is not None
    both = data[number].reshape(2, found.gates, found.hidden).sum(axis=0)
    return ctx.floating(both[list(order)].reshape(-1))


def _side_by_side(ctx: Context, found: Recurrence, index: int) -> Var | Array:
    """Initial states [directions, batch, hidden] as [batch, directions * hidden]."""
    shape = (found.batch, len(found.backwards) * found.hidden)
    value = found.operand(index)
    if value is None:
        return ctx.floating(np.zeros(shape))
    return ctx.reshape(_ordered(ctx, ctx.read(value), (1, 0, 2)), shape)


def _ordered(ctx: Context, data: Var, perm: Sequence[int]) -> Var:
    """`data` with its axes in another order; a reshape where only axes of size 1 move."""
    shape = tuple(data.shape)
    moved = [axis for axis in perm if shape[axis] != 1]
    if moved == sorted(moved):
        return ctx.reshape(data, [shape[axis] for axis in perm])
    return ctx.transpose(data, perm)


def _one_direction(
    ctx: Context, kind: str, found: Recurrence, number: int, order: Sequence[int], inputs: dict[str, Any]
) -> tuple[Var, Var]:
    """Outputs [steps or 1, batch, hidden] and the last state [batch, hidden] of one direction."""
    shape, initial = (found.batch, found.hidden), found.operand(5)
    state: Var | Array = ctx.floating(np.zeros(shape))
    if initial is not None:
        state = ctx.read(initial)
        if len(found.backwards) > 1:
            begin, size = np.asarray([number, 0, 0], np.int32), np.asarray([1, *shape], np.int32)
            state = ctx.emit("slice_by_size", x=state, begin=begin, size=size)
        state = ctx.reshape(state, shape)
    y, last = ctx.emit(
        kind,
        x=ctx.read(found.node.inputs[0]),
        initial_h=state,
        weight_ih=_rows(ctx, found, 1, number, order),
        weight_hh=_rows(ctx, found, 2, number, order),
        direction=_direction(found, number),
        output_sequence=is_read(found.node, 0),
        **inputs,
    )
    return y, last


def _bind(ctx: Context, found: Recurrence, results: Sequence[tuple[Var, Var]]) -> None:
    node, batch, hidden = found.node, found.batch, found.hidden
    if is_read(node, 0):
        parts = [ctx.reshape(y, (found.steps, 1, batch, hidden)) for y, _ in results]
        ctx.bind(node.outputs[0], _joined(ctx, parts, 1))
    if is_read(node, 1):
        parts = [ctx.reshape(last, (1, batch, hidden)) for _, last in results]
        ctx.bind(node.outputs[1], _joined(ctx, parts, 0))


def _joined(ctx: Context, parts: Sequence[Var], axis: int) -> Var:
    return parts[0] if len(parts) == 1 else ctx.emit("concat", values=tuple(parts), axis=np.int32(axis))
