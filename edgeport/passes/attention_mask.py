"""The mask of a fused attention, in the form that ONNX Runtime's Attention takes and means the same.

What is added to the scores becomes a tensor [b, h, S, T] (b, h may be 1) with no value under -3.4e38:

- ONNX Runtime broadcasts a mask over batch and heads but not over the queries, so [B, 1, 1, T] is expanded;
- a row whose mask is the lowest float32 everywhere gives zeros there, while Softmax gives the mean of v. The lowest
  float is therefore raised to -3.4e38, which is as good as minus infinity beside any score and keeps the mean. (Rows of
  minus infinity only were NaN before; now they give the mean.)
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import add_initializer, constant, insert_before, producer, rank, static_shape

FLOOR = np.float32(-3.4e38)


def attention_mask(model: ir.Model, before: ir.Node, mask: ir.Value, scores: ir.Value) -> ir.Value | None:
    """The mask in the form above, or None when its shape cannot be brought to it.

    Args:
        model: receives new constants.
        before: new nodes are inserted in front of this one.
        mask: what is added to the scores, float, of at most the scores' rank.
        scores: [B, H, S, T] or [B * H, S, T], for the lengths.
    """
    dims, heads = rank(mask), rank(scores)
    if dims is None or heads is None or scores.shape is None or mask.shape is None or dims > heads:
        return None
    length = list(scores.shape)[-2:]
    array = constant(mask)
    if array is not None:
        rows = [d for d in length if isinstance(d, int)]
        if len(rows) < 2:
            return None
        shape = (1,) * (4 - array.ndim) + array.shape
        whole = np.broadcast_to(array.reshape(shape), (*shape[:2], *rows))
        return add_initializer(model, f"{mask.name}/mask", np.maximum(whole, FLOOR.astype(array.dtype)))
    if dims < 2 or mask.shape[-1] != length[-1] or mask.shape[-2] not in (1, length[-2]):
        return None
    lowest = lower_bound(mask)
    floored = mask if lowest is not None and lowest >= FLOOR else _floored(model, before, mask)
    known = static_shape(mask)
    if dims < 4:
        if known is None:
            return None
        target = np.asarray((1,) * (4 - dims) + known, np.int64)
        name = f"{mask.name}/4d"
        floored = insert_before(
            before, "Reshape", [floored, add_initializer(model, f"{name}/shape", target)], name=name
        )
    if mask.shape[-2] != length[-2]:
        if not isinstance(length[0], int):
            return None
        target = np.asarray([1, 1, length[0], 1], np.int64)
        name = f"{mask.name}/rows"
        floored = insert_before(before, "Expand", [floored, add_initializer(model, f"{name}/shape", target)], name=name)
    return floored


def _floored(model: ir.Model, before: ir.Node, mask: ir.Value) -> ir.Value:
    """Where between constants gets raised constants, anything else a Clip."""
    name = f"{mask.name}/floored"
    where = producer(mask, "Where")
    branches = [] if where is None else [constant(value) for value in where.inputs[1:]]
    if where is not None and all(branch is not None for branch in branches):
        raised = [
            add_initializer(model, f"{name}/{role}", np.maximum(branch, FLOOR.astype(branch.dtype)))
            for role, branch in zip(("true", "false"), branches, strict=True)
            if branch is not None
        ]
        return insert_before(before, "Where", [where.inputs[0], *raised], name=name, like=mask)
    floor = add_initializer(model, f"{name}/min", np.asarray(FLOOR, np.float32))
    return insert_before(before, "Clip", [mask, floor], name=name, like=mask)


def lower_bound(value: ir.Value | None, depth: int = 8) -> float | None:
    """A lower bound of the values, as far as it follows from constants."""
    if value is None or depth == 0:
        return None
    array = constant(value)
    if array is not None:
        return float(array.min()) if array.size else None
    node = value.producer()
    if node is None or node.domain != "":
        return None
    if node.op_type in ("Gather", "Transpose", "Reshape", "Expand", "Unsqueeze", "Squeeze", "Slice", "Identity"):
        return lower_bound(node.inputs[0], depth - 1)
    if node.op_type in ("Where", "Concat", "Add"):
        parts = [lower_bound(part, depth - 1) for part in (node.inputs[1:] if node.op_type == "Where" else node.inputs)]
        known = [part for part in parts if part is not None]
        if len(known) == len(parts):
            return sum(known) if node.op_type == "Add" else min(known)
    return None
