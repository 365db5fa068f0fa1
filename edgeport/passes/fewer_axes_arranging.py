"""`limit_rank` for operators that join, cut, choose and repeat elements; each says whether it rewrote the node."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import (
    get_int,
    input_of,
    ints,
)
from edgeport.passes.fewer_axes import MOST_AXES, FewerAxes, around
from edgeport.passes.merged_axes import Groups, grouped, merged


def concat(at: FewerAxes) -> bool:
    """Before its axis and behind it all is one axis."""
    values = [v for v in at.node.inputs if v is not None]
    axis = get_int(at.node, "axis", 0) % len(at.shape(values[0]))
    groups = around(at.shape(values[0]), axis)
    at.finish(0, at.again([at.seen(v, merged(at.shape(v), groups)) for v in values], axis=int(axis > 0)))
    return True


def split(at: FewerAxes) -> bool:
    """As `concat`, with a view of every part."""
    x = at.operand(0)
    shape = at.shape(x)
    axis = get_int(at.node, "axis", 0) % len(shape)
    outputs = tuple(at.node.outputs)
    sizes = at.site.constant("sizes", np.asarray([at.shape(y)[axis] for y in outputs], np.int64))
    few = at.seen(x, merged(shape, around(shape, axis)))
    parts = at.site.several("Split", [few, sizes], [f"part{i}" for i in range(len(outputs))], axis=int(axis > 0))
    for old, part in zip(outputs, parts, strict=True):
        if old.uses() or old.is_graph_output():
            new = at.site.reshape(part, at.shape(old), f"{old.name}/whole")
            new.name, new.type, new.shape = old.name, old.type, old.shape
            old.name = None
            old.replace_all_uses_with(new, replace_graph_outputs=True)
    assert at.node.graph is not None
    at.node.graph.remove(at.node, safe=True)
    return True


def gather(at: FewerAxes) -> bool:
    """The indices are one axis, too."""
    x, indices = at.operand(0), at.operand(1)
    shape = at.shape(x)
    axis = get_int(at.node, "axis", 0) % len(shape)
    flat = at.seen(indices, [math.prod(at.shape(indices))])
    few = at.seen(x, merged(shape, around(shape, axis)))
    at.finish(0, at.again([few, flat], axis=int(axis > 0)))
    return True


def slice_(at: FewerAxes) -> bool:
    """One Slice an axis."""
    given = [ints(input_of(at.node, index)) for index in range(1, 5)]
    if any(v is None and input_of(at.node, i) is not None for i, v in enumerate(given, 1)) or given[0] is None:
        return False
    value, shape, count = at.operand(0), list(at.shape(at.operand(0))), len(given[0])
    starts, ends, axes, steps = given[0], given[1], given[2] or list(range(count)), given[3] or [1] * count
    assert ends is not None
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis %= len(shape)
        groups = around(shape, axis)
        limits = [at.site.constant("limit", np.asarray([v], np.int64)) for v in (start, end, int(axis > 0), step)]
        value = at.site.op("Slice", [at.seen(value, merged(shape, groups)), *limits], "cut")
        shape[axis] = len(range(*slice(start, end, step).indices(shape[axis])))
    at.finish(0, value)
    return True


def expand(at: FewerAxes) -> bool:
    """See `spread`."""
    shape = at.shape(at.node.outputs[0])
    at.finish(0, spread(at, at.operand(0), shape))
    return True


def spread(at: FewerAxes, value: ir.Value, shape: Sequence[int]) -> ir.Value:
    """A value broadcast to a shape, as one axis of all elements: group by group of axes, the inner ones first."""
    own = [*(1,) * (len(shape) - len(at.shape(value))), *at.shape(value)]
    groups = grouped(shape, [size == 1 for size in own])
    sizes, wanted = merged(own, groups), merged(shape, groups)
    for i in reversed(range(len(groups))):
        if sizes[i] != wanted[i]:
            seen, sizes[i] = merged(sizes, around(sizes, i)), wanted[i]
            target = at.site.constant("wanted", np.asarray(merged(sizes, around(sizes, i)), np.int64))
            value = at.site.op("Expand", [at.seen(value, seen), target], "spread")
    return at.seen(value, [math.prod(shape)])


def tile(at: FewerAxes) -> bool:
    """Axes that are not repeated belong to the one before them."""
    x, counts = at.operand(0), ints(input_of(at.node, 1))
    if counts is None:
        return False
    groups: Groups = []
    for axis, count in enumerate(counts):
        if groups and count == 1:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    if len(groups) > MOST_AXES:
        return False
    few = at.site.constant("counts", np.asarray([counts[group[0]] for group in groups], np.int64))
    at.finish(0, at.again([at.seen(x, merged(at.shape(x), groups)), few]))
    return True


def pad(at: FewerAxes) -> bool:
    """Axes that are not padded belong to those beside them."""
    x, pads = at.operand(0), ints(input_of(at.node, 1))
    shape = at.shape(x)
    if pads is None or input_of(at.node, 3) is not None or len(pads) != 2 * len(shape):
        return False
    rank = len(shape)
    kinds: list[Hashable] = [axis if pads[axis] or pads[axis + rank] else -1 for axis in range(rank)]
    groups: Groups = []
    for axis, kind in enumerate(kinds):
        if groups and kind == -1 and kinds[groups[-1][0]] == -1:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    if len(groups) > MOST_AXES:
        return False
    few = [pads[group[0] + offset] for offset in (0, rank) for group in groups]
    values = [at.seen(x, merged(shape, groups)), at.site.constant("pads", np.asarray(few, np.int64))]
    at.finish(0, at.again([*values, input_of(at.node, 2)]))
    return True
