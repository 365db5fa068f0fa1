"""An Attention spelled out: for the simulation of one whose products run in integers, and where all must be integers.

    q, k -> MatMul -> Mul(scale) -> [Q -> DQ] -> Add(mask) -> Softmax -> [Q -> DQ] -> MatMul(v) -> y

The simulation keeps masked scores in float: next to -1e4, or minus infinity, integers have no step left for the scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from edgeport.inner import SCORES, WEIGHTS, inner_name
from edgeport.passes.attention_mask import FLOOR, lower_bound
from edgeport.passes.edit import (
    Array,
    add_initializer,
    get_float,
    get_int,
    input_of,
    insert_before,
    static_shape,
    take_over,
)

RoundTrip = Callable[[ir.Value], ir.Value]
"""Q and DQ of a value, with the parameters that the plan has for its name."""
_NEVER = np.float32(-1e30)


def why_whole(node: ir.Node) -> str | None:
    """Why an Attention cannot be spelled out, None if it can."""
    q, k, v = (static_shape(input_of(node, i)) for i in range(3))
    if q is None or k is None or v is None or not len(q) == len(k) == len(v) == 4:
        return "only attention over four-dimensional Q, K and V of known shape has an integer kernel"
    if any(value is not None for value in node.inputs[4:]):
        return "attention with past keys and values has no integer kernel"
    if any(out.uses() or out.is_graph_output() for out in node.outputs[1:]):
        return "attention with more than one output has no integer kernel"
    if get_float(node, "softcap", 0.0):
        return "attention with softcap has no integer kernel"
    mask = input_of(node, 3)
    if mask is not None and mask.dtype not in (ir.DataType.BOOL, ir.DataType.FLOAT):
        return "its mask is neither bool nor float32"
    return None


def spell_out(
    model: ir.Model,
    node: ir.Node,
    round_trip: RoundTrip,
    never: np.float32 = _NEVER,
    zero_rows: bool = True,
    late_zeros: bool = False,
) -> ir.Value:
    """Replaces an Attention, for which `why_whole` has no reason, by its parts; returns its output's successor.

    Args:
        model: receives constants.
        node: its inputs have gone through Q/DQ where they do.
        round_trip: for the two inner values.
        never: what is added to the scores of a key that must not be looked at.
        zero_rows: a query that may look at no key gets zeros, as ONNX says, rather than the mean of V.
        late_zeros: it gets them behind the product with V, so that nothing stands between that and the Softmax.
    """
    y = node.outputs[0]
    q, k, v = node.inputs[:3]
    dims_q, dims_k = static_shape(q), static_shape(k)
    assert q is not None
    assert dims_q is not None
    assert dims_k is not None
    batch, heads, queries, depth = dims_q
    shared, keys = dims_k[1], dims_k[2]

    def add(op: str, inputs: list[ir.Value | None], what: str, **attributes: int | list[int]) -> ir.Value:
        return insert_before(node, op, inputs, attributes, name=f"{y.name}/{what}")

    def number(array: object, what: str) -> ir.Value:
        return add_initializer(model, f"{y.name}/{what}", np.asarray(array))

    def fold(value: ir.Value, what: str, dims: tuple[int, ...]) -> ir.Value:
        # Heads that share keys stand as further queries of one head.
        return (
            value if heads == shared else add("Reshape", [value, number(np.asarray(dims, np.int64), f"{what}s")], what)
        )

    together = heads // shared * queries
    scale = get_float(node, "scale", 0.0) or 1 / math.sqrt(depth)
    query = fold(q, "folded_q", (batch, shared, together, depth))
    transposed = add("Transpose", [k], "kt", perm=[0, 1, 3, 2])
    product = add("MatMul", [query, transposed], "product")
    scores = insert_before(
        node, "Mul", [product, number(np.float32(scale), "factor")], name=inner_name(node, SCORES), like=y
    )
    scores.shape = None
    masked = fold(round_trip(scores), "unfolded", (batch, heads, queries, keys))
    causal = np.tril(np.ones((queries, keys), bool)) if get_int(node, "is_causal", 0) else None
    mask, alive = input_of(node, 3), None
    if mask is not None and mask.dtype == ir.DataType.BOOL:
        allowed = mask if causal is None else add("And", [mask, number(causal, "causal")], "allowed")
        bias = add("Where", [allowed, number(np.float32(0), "zero"), number(never, "never")], "bias")
        masked = add("Add", [masked, bias], "masked")
        if zero_rows:
            ones = add("Cast", [allowed], "ones", to=int(ir.DataType.FLOAT))
            alive = add("ReduceMax", [ones, number(np.asarray([-1]), "last")], "alive", keepdims=1)
    else:
        if mask is not None:
            lowest = lower_bound(mask)
            if zero_rows and (lowest is None or lowest < FLOOR):
                alive = _rows_with_keys(add, number, mask, causal)
                mask = add("Max", [mask, number(never if late_zeros else np.float32(-3e38), "floor")], "floored")
            masked = add("Add", [masked, mask], "masked")
        if causal is not None:
            future = np.where(causal, np.float32(0), never if mask is None else 2 * never)
            masked = add("Add", [masked, number(future, "future")], "causal")
    early = None if late_zeros else alive
    weights = add("Softmax", [masked], "softmax" if early is not None or heads != shared else WEIGHTS, axis=-1)
    if early is not None:
        weights = add("Mul", [weights, early], "kept" if heads != shared else WEIGHTS)
    weights = fold(weights, WEIGHTS, (batch, shared, together, keys))
    weights.type = y.type
    rounded = round_trip(weights)
    zeroed = late_zeros and alive is not None
    if heads == shared:
        if not zeroed:
            return take_over(y, "MatMul", [rounded, v])
        return take_over(y, "Mul", [add("MatMul", [rounded, v], "context"), alive])
    context = add("MatMul", [rounded, v], "context")
    dims_y = number(np.asarray((batch, heads, queries, (static_shape(v) or (0,))[-1]), np.int64), "dims")
    if not zeroed:
        return take_over(y, "Reshape", [context, dims_y])
    return take_over(y, "Mul", [add("Reshape", [context, dims_y], "unshared"), alive])


def _rows_with_keys(
    add: Callable[..., ir.Value], number: Callable[[object, str], ir.Value], mask: ir.Value, causal: Array | None
) -> ir.Value:
    """1 for a query with a key whose mask is above the lowest float, 0 for one without."""
    seen = add("Greater", [mask, number(np.float32(-3.402e38), "forbidden")], "seen")
    if causal is not None:
        seen = add("And", [seen, number(causal, "past")], "seen_past")
    ones = add("Cast", [seen], "ones", to=int(ir.DataType.FLOAT))
    return add("ReduceMax", [ones, number(np.asarray([-1]), "last")], "alive", keepdims=1)
