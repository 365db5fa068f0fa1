"""The time steps of a recurrent operator: written out one after the other, or for long sequences as a loop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from edgeport.sample import Array
from edgeport.targets.tflite.builder import Builder, Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.ops.recurrent_cells import Cell, State
from edgeport.targets.tflite.pieces import box, shaped

Lengths = Array | Tensor
"""Steps of every sequence of the batch: int32 [batch], constant or given at run time."""

UNROLLED = 2**20
"""Steps are written out while their recurrent weights, which every step then packs for itself, stay below this many
bytes together: beyond, the processor's cache no longer holds them, and a loop, which packs them once, is faster."""
_MOST_UNROLLED = 32


def chunk(steps: int) -> int:
    """Steps in the body of a loop: few, for the same reason; more for long sequences, which every round copies once."""
    return min(max(2, 2 ** round(math.log2(steps / 64))), 32) if steps > 64 else 2


@dataclass(frozen=True)
class Run:
    """One direction of a recurrent operator.

    Attributes:
        like: names the inner tensors.
        cell: one step.
        steps: how many.
        backwards: whether the last step comes first.
        lengths: how many steps each sequence has; behind its end a state stays and the output is 0. None: all.
        wanted: whether the outputs of all steps are needed.
        weights: bytes of recurrent weights in a step; None where some are computed, so that no loop can hold them.
        first: number of the first step in the whole sequence.
    """

    like: ir.Value
    cell: Cell
    steps: int
    backwards: bool
    lengths: Lengths | None
    wanted: bool
    weights: int | None
    first: int | Tensor = 0


Result = tuple[Tensor | None, tuple[State, ...]]
"""Outputs of all steps, [batch, steps * hidden] ([steps, hidden] for batch 1), if wanted; states behind the last."""


def run_steps(ctx: Context, run: Run, fed: Tensor, states: tuple[State, ...]) -> Result:
    """Runs all steps.

    Args:
        ctx: the lowering's state.
        run: what to do.
        fed: the inputs' product with W, [batch * steps, gates * hidden].
        states: the states before the first step, [batch, hidden]; None: zeros.
    """
    batch, width = fed.shape[0] // run.steps, fed.shape[1]
    if batch > 1:
        fed = shaped(ctx, run.like, fed, (batch, run.steps * width))
    if run.weights is None or (run.steps * run.weights <= UNROLLED and run.steps <= _MOST_UNROLLED) or run.steps < 3:
        sequence, final = _unrolled(ctx, run, fed, batch, states)
    else:
        sequence, final = _looped(ctx, run, fed, batch, states)
    alive = _alive(ctx, run, 0)
    if alive is not None:  # a sequence without steps ends in zeros, in ONNX Runtime
        final = tuple(
            _chosen(ctx, run.like, alive, state, _zeros(ctx, state.shape)) for state in final if state is not None
        )
    return sequence, final


def _unrolled(ctx: Context, run: Run, fed: Tensor, batch: int, states: tuple[State, ...]) -> Result:
    like, width = run.like, fed.shape[1] if batch == 1 else fed.shape[1] // run.steps
    outputs: dict[int, Tensor] = {}
    for t in reversed(range(run.steps)) if run.backwards else range(run.steps):
        begin = (t, 0) if batch == 1 else (0, t * width)
        new = run.cell.step(box(ctx, like, fed, begin, (batch, width)), states)
        outputs[t] = new[0]
        alive = _alive(ctx, run, t)
        if alive is not None:
            zeros = _zeros(ctx, new[0].shape)
            outputs[t] = _chosen(ctx, like, alive, new[0], zeros)
            old = [zeros if state is None else state for state in states]
            new = tuple(_chosen(ctx, like, alive, n, o) for n, o in zip(new, old, strict=True))
        states = new
    return _side_by_side(ctx, run, [outputs[t] for t in range(run.steps)], batch), states


def _side_by_side(ctx: Context, run: Run, parts: Sequence[Tensor], batch: int) -> Tensor | None:
    """Outputs of successive steps as one tensor."""
    if not run.wanted:
        return None
    if len(parts) == 1:
        return parts[0]
    axis = 0 if batch == 1 else 1
    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    return ctx.step(run.like, "CONCATENATION", parts, "ConcatenationOptions", shape=shape, axis=axis)


def _looped(ctx: Context, run: Run, fed: Tensor, batch: int, states: tuple[State, ...]) -> Result:
    """A WHILE over chunks of steps; what is left over is written out: in front if the run goes backwards."""
    like, width = run.like, fed.shape[1] if batch == 1 else fed.shape[1] // run.steps
    size = chunk(run.steps)
    chunks, rest = divmod(run.steps, size)

    def piece(first: int, count: int) -> Tensor:
        if batch == 1:
            return box(ctx, like, fed, (first, 0), (count, width))
        return box(ctx, like, fed, (0, first * width), (batch, count * width))

    whole, tail = piece(0, chunks * size), replace(run, steps=rest, first=chunks * size)
    pieces: list[Tensor | None] = []
    if rest and run.backwards:
        late, states = _unrolled(ctx, tail, piece(chunks * size, rest), batch, states)
        pieces.append(late)
    early, states = _loop(ctx, replace(run, steps=size), whole, batch, chunks, states)
    pieces.insert(0, early)
    if rest and not run.backwards:
        late, states = _unrolled(ctx, tail, piece(chunks * size, rest), batch, states)
        pieces.append(late)
    return _side_by_side(ctx, run, [p for p in pieces if p is not None], batch), states


def _loop(ctx: Context, run: Run, fed: Tensor, batch: int, chunks: int, states: tuple[State, ...]) -> Result:
    """The WHILE over `chunks` times the run's steps.

    Its variables: the round's number, inputs by chunk, states, lengths if they differ, outputs by chunk.
    """
    like, hidden = run.like, run.cell.hidden
    width = fed.shape[1] if batch == 1 else fed.shape[1] // (chunks * run.steps)
    start = [ctx.number(0, "int32"), shaped(ctx, like, fed, (batch, chunks, run.steps * width))]
    start += [_zeros(ctx, (batch, hidden)) if state is None else state for state in states]
    if run.lengths is not None:
        known = run.lengths
        start.append(known if isinstance(known, Tensor) else ctx.builder.constant("const/lengths", known))
    if run.wanted:
        shape = (batch, chunks, run.steps * hidden)
        start.append(ctx.step(like, "FILL", [ctx.ints("shape", shape), ctx.number(0)], shape=shape, dtype="float32"))
    condition, inner = ctx.builder.subgraph(f"{like.name}/condition")
    with ctx.inside(inner):
        inner.inputs = _variables(inner, start)
        more = [inner.inputs[0], ctx.number(chunks, "int32")]
        inner.outputs = [ctx.step(like, "LESS", more, "LessOptions", dtype="bool")]
    body, inner = ctx.builder.subgraph(f"{like.name}/body")
    with ctx.inside(inner):
        inner.inputs = _variables(inner, start)
        inner.outputs = _round(ctx, run, inner.inputs, chunks, len(states))
    ends = [ctx.temporary(like, "loop", t.shape, t.dtype) for t in start]
    ctx.emit("WHILE", start, ends, "WhileOptions", condSubgraphIndex=condition, bodySubgraphIndex=body)
    final = tuple(ends[2 : 2 + len(states)])
    if not run.wanted:
        return None, final
    steps = chunks * run.steps
    return shaped(ctx, like, ends[-1], (steps, hidden) if batch == 1 else (batch, steps * hidden)), final


def _round(ctx: Context, run: Run, variables: Sequence[Tensor], chunks: int, states: int) -> list[Tensor]:
    """One chunk of steps inside the loop's body."""
    like, (count, fed) = run.like, variables[:2]
    batch, _, width = fed.shape
    at = ctx.step(like, "SUB", [ctx.number(chunks - 1, "int32"), count], "SubOptions") if run.backwards else count
    inputs = ctx.step(like, "GATHER", [fed, at], "GatherOptions", shape=(batch, width), axis=1, batchDims=0)
    inputs = shaped(ctx, like, inputs, (run.steps, width // run.steps)) if batch == 1 else inputs
    lengths = []
    if run.lengths is not None:
        lengths = [variables[2 + states]]
        first = ctx.step(like, "MUL", [at, ctx.number(run.steps, "int32")], "MulOptions")
        run = replace(run, lengths=lengths[0], first=first)
    made, last = _unrolled(ctx, run, inputs, batch, tuple(variables[2 : 2 + states]))
    following = ctx.step(like, "ADD", [count, ctx.number(1, "int32")], "AddOptions")
    results = [following, fed, *(state for state in last if state is not None), *lengths]
    if made is not None:
        zero, outputs = ctx.number(0, "int32"), variables[-1]
        where = ctx.step(like, "PACK", [zero, at, zero], "PackOptions", shape=(3,), valuesCount=3, axis=0)
        operands = [outputs, shaped(ctx, like, made, (batch, 1, run.steps * run.cell.hidden)), where]
        update = ctx.step(like, "DYNAMIC_UPDATE_SLICE", operands, "DynamicUpdateSliceOptions", shape=outputs.shape)
        results.append(update)
    return results


def _variables(inner: Builder, start: Sequence[Tensor]) -> list[Tensor]:
    return [inner.tensor(f"variable{number}", t.shape, t.dtype) for number, t in enumerate(start)]


def _zeros(ctx: Context, shape: Sequence[int]) -> Tensor:
    return ctx.builder.constant("const/zeros", np.zeros(shape, np.float32))


def _alive(ctx: Context, run: Run, t: int) -> Tensor | None:
    """Which sequences have the run's step t, bool [batch, 1]; None if all have."""
    lengths, first = run.lengths, run.first
    if lengths is None:
        return None
    if not isinstance(lengths, Tensor) and not isinstance(first, Tensor):
        known = lengths > first + t
        return None if known.all() else ctx.builder.constant("const/alive", known.reshape(-1, 1))
    tensor = lengths if isinstance(lengths, Tensor) else ctx.builder.constant("const/lengths", lengths)
    column = shaped(ctx, run.like, tensor, (*tensor.shape, 1))
    if isinstance(first, Tensor):
        step = ctx.step(run.like, "ADD", [first, ctx.number(t, "int32")], "AddOptions")
    else:
        step = ctx.number(first + t, "int32")
    return ctx.step(run.like, "GREATER", [column, step], "GreaterOptions", dtype="bool")


def _chosen(ctx: Context, like: ir.Value, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return ctx.step(like, "SELECT_V2", [condition, a, b], "SelectV2Options", shape=a.shape, dtype="float32")
