"""Which layout an operator works in, so that the least data moves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir

from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.layout import ADDED, Layout, aligned, completed, identity, is_full, same_order


def common_layout(ctx: Context, values: Iterable[ir.Value], shape: Sequence[int]) -> Layout:
    """Layout for an operator over broadcast operands (result shape `shape`) that moves the least data.

    Of equal ones the first that is not the ONNX order wins: convolutions are never far.
    """
    rank = len(shape)
    computed = [v for v in values if ctx.constant(v) is None]
    candidates: list[Layout] = []
    for value in computed:
        missing = rank - ctx.rank(value)
        for layout in ctx.layouts(value):
            wide = (*range(missing), *(a if a == ADDED else a + missing for a in layout))
            if any(shape[a] != 1 for a in range(rank) if a not in wide):
                wide = completed(wide, rank)
            candidates.append(wide)
    candidates = sorted(dict.fromkeys(candidates), key=lambda c: c == identity(rank)) or [identity(rank)]
    return min(candidates, key=lambda c: sum(moved(ctx, v, c, rank) for v in computed))


def cheaper(ctx: Context, value: ir.Value, layout: Layout, other: Layout) -> Layout:
    """Whichever of two layouts the value exists in; the first if in both or neither."""
    rank = ctx.rank(value)
    return other if moved(ctx, value, other, rank) < moved(ctx, value, layout, rank) else layout


def full_layout(ctx: Context, value: ir.Value) -> Layout:
    """A plain permutation in which the value exists or nearly does, for operators that only rename axes."""
    rank = ctx.rank(value)
    existing = ctx.layouts(value)
    full = [layout for layout in existing if is_full(layout, rank)]
    if full:
        return full[0]
    return completed(existing[0], rank) if existing else identity(rank)


def moved(ctx: Context, value: ir.Value, layout: Layout, rank: int) -> int:
    """How many elements move when the value is asked for in a layout of `rank` axes."""
    if ctx.constant(value) is not None:
        return 0
    shape = ctx.shape(value)
    wanted = aligned(layout, len(shape), rank)
    return 0 if any(same_order(shape, have, wanted) for have in ctx.layouts(value)) else int(np.prod(shape))
