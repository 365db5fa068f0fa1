"""The time steps of a recurrent operator, one after the other."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.sample import Array
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.ops.recurrent_cells import Cell, State
from edgeport.targets.tflite.ops.recurrent_operands import sliced

Lengths = Array | Tensor
"""Steps of every sequence of the batch: int32 [batch], constant or given at run time."""


def unrolled(
    ctx: Context,
    like: ir.Value,
    cell: Cell,
    fed: Tensor,
    initial: tuple[State, ...],
    size: tuple[int, int],
    backwards: bool,
    lengths: Lengths | None,
    wanted: bool,
) -> tuple[Tensor | None, tuple[Tensor, ...]]:
    """Writes every step out.

    Args:
        ctx: the lowering's state.
        like: names the inner tensors.
        cell: one step.
        fed: the inputs' product with W, [batch * steps, gates * hidden].
        initial: the states before the first step.
        size: steps and batch.
        backwards: whether the last step comes first.
        lengths: how many steps each sequence has; behind its end a state stays and the output is 0. None: all.
        wanted: whether the outputs of all steps are needed.

    Returns:
        The outputs, [batch, steps * hidden] ([steps, hidden] for batch 1), None if they are not wanted; the states
        behind the last step.
    """
    steps, batch = size
    width = fed.shape[1]
    if batch > 1 and steps > 1:
        wide = ctx.temporary(like, "sequences", (batch, steps * width))
        ctx.reshape(fed, wide)
        fed = wide
    outputs: dict[int, Tensor] = {}
    states = initial
    for t in reversed(range(steps)) if backwards else range(steps):
        begin = (t, 0) if batch == 1 else (0, t * width)
        new = cell.step(sliced(ctx, like, fed, begin, (batch, width)), states)
        outputs[t] = new[0]
        alive = None if lengths is None else _alive(ctx, like, lengths, t)
        if alive is not None:
            old = [
                ctx.builder.constant("const/zeros", np.zeros(n.shape, np.float32)) if s is None else s
                for s, n in zip(states, new, strict=True)
            ]
            zeros = ctx.builder.constant("const/zeros", np.zeros(new[0].shape, np.float32))
            outputs[t] = _chosen(ctx, like, alive, new[0], zeros)
            new = tuple(_chosen(ctx, like, alive, n, o) for n, o in zip(new, old, strict=True))
        states = new
    final = tuple(s for s in states if s is not None)
    if not wanted:
        return None, final
    ordered = [outputs[t] for t in range(steps)]
    if steps == 1:
        return ordered[0], final
    hidden = ordered[0].shape[1]
    shape, axis = ((steps, hidden), 0) if batch == 1 else ((batch, steps * hidden), 1)
    joined = ctx.step(like, "CONCATENATION", ordered, "ConcatenationOptions", shape=shape, axis=axis)
    return joined, final


def _alive(ctx: Context, like: ir.Value, lengths: Lengths, t: int) -> Tensor | None:
    """Which sequences have a step t, bool [batch, 1]; None if all have."""
    if not isinstance(lengths, Tensor):
        known = lengths > t
        return None if known.all() else ctx.builder.constant("const/alive", known.reshape(-1, 1))
    column = ctx.temporary(like, "lengths", (*lengths.shape, 1), lengths.dtype)
    ctx.reshape(lengths, column)
    return ctx.step(like, "GREATER", [column, ctx.number(t, lengths.dtype)], "GreaterOptions", dtype="bool")


def _chosen(ctx: Context, like: ir.Value, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return ctx.step(like, "SELECT_V2", [condition, a, b], "SelectV2Options", shape=a.shape, dtype="float32")
