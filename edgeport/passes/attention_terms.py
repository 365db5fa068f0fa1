"""What a query of an attention may look at, gathered from everything that says so.

ONNX's Attention has four ways: a boolean or float mask of any broadcastable shape whose last axis may be short,
causality counted from the past or from the end of a padded cache, and the number of valid keys a sample. They become
one boolean or one float mask [S,T] or [b,h,S,T]; constants are combined right away.
ONNX operator Attention-24, attributes and inputs as named there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import Array, constant, rank, static_shape
from edgeport.passes.site import Site

Term = Array | ir.Value
"""Known now or computed by the model."""


@dataclass(frozen=True)
class Lengths:
    """Static sizes that masks depend on."""

    batch: int
    queries: int
    keys: int
    past: int


def whole_mask(
    site: Site, mask: ir.Value | None, nonpad: ir.Value | None, causal: bool, lengths: Lengths
) -> Term | None:
    """All terms as one mask of rank 2 or 4 whose last axes are the queries and the keys.

    Args:
        site: the attention.
        mask: `attn_mask`, boolean or float.
        nonpad: `nonpad_kv_seqlen`, int64 [B].
        causal: whether to add the causal term.
        lengths: sizes.

    Returns:
        The mask, None if every query sees every key.
    """
    allowed: Term | None = None
    if nonpad is not None:
        allowed = _valid_keys(site, nonpad, lengths, causal)
    elif causal:
        allowed = np.tril(np.ones((lengths.queries, lengths.keys), bool), lengths.past)
    if mask is None:
        return None if allowed is None else _aligned(site, allowed, lengths)
    given = _padded(site, mask, lengths.keys)
    boolean = mask.dtype == ir.DataType.BOOL
    if allowed is not None:
        given = _both(site, given, allowed) if boolean else _where(site, allowed, given)
    return _aligned(site, given, lengths)


def _valid_keys(site: Site, nonpad: ir.Value, lengths: Lengths, causal: bool) -> Term:
    """[B,1,1,T]: key j is valid if j < n. Causal too, [B,1,S,T]: j <= i + n - S."""
    j, i = np.arange(lengths.keys), np.arange(lengths.queries)[:, None]
    n = constant(nonpad)
    if n is not None:
        n = n.reshape(-1, 1, 1, 1)
        return (j < n) & (j <= i + n - lengths.queries) if causal else np.asarray(j < n)
    number = site.reshape(nonpad, (-1, 1, 1, 1), "valid")
    numbers = site.constant("key", j.astype(np.int64).reshape(1, 1, 1, -1))
    valid = _made(site.op("Less", [numbers, number], "valid_keys"), ir.DataType.BOOL, (lengths.batch, 1, 1, j.size))
    if not causal:
        return valid
    needed = site.constant("keys_needed", (j - i + lengths.queries).astype(np.int64)[None, None])
    seen = site.op("LessOrEqual", [needed, number], "seen")
    return _both(site, valid, _made(seen, ir.DataType.BOOL, (lengths.batch, 1, i.size, j.size)))


def _padded(site: Site, mask: ir.Value, keys: int) -> Term:
    """A mask that is shorter than the keys forbids the rest."""
    array = constant(mask)
    shape = _shape(mask if array is None else array)
    missing = keys - shape[-1]
    if missing <= 0:
        return mask if array is None else array
    assert mask.dtype is not None, "checked by the caller"
    dtype = mask.dtype.numpy()
    rest = np.full((*shape[:-1], missing), False if dtype.kind == "b" else -np.inf, dtype)
    if array is not None:
        return np.concatenate([array, rest], -1)
    longer = site.op("Concat", [mask, site.constant("beyond_mask", rest)], "mask_to_the_end", axis=-1)
    return _made(longer, mask.dtype, (*shape[:-1], keys))


def _aligned(site: Site, mask: Term, lengths: Lengths) -> Term:
    """Rank 2 or 4, with as many rows as there are queries: what ONNX Runtime takes."""
    shape, rows = _shape(mask), (lengths.queries, lengths.keys)
    full = (1,) * ((2 if len(shape) <= 2 else 4) - len(shape)) + shape
    target = (*full[:-2], *rows)
    if isinstance(mask, np.ndarray):
        return np.ascontiguousarray(np.broadcast_to(mask.reshape(full), target))
    dtype = mask.dtype
    assert dtype is not None, "checked by the caller"
    if full != shape:
        mask = _made(site.reshape(mask, full, "mask_of_rank"), dtype, full)
    if full != target:
        ones = site.constant("rows", np.asarray((*(1,) * (len(full) - 2), *rows), np.int64))
        mask = _made(site.op("Expand", [mask, ones], "mask_rows"), dtype, target)
    return mask


def _both(site: Site, a: Term, b: Term) -> Term:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.asarray(a & b)
    out = site.op("And", [as_value(site, a, "given"), as_value(site, b, "allowed")], "allowed_both")
    return _made(out, ir.DataType.BOOL, np.broadcast_shapes(_shape(a), _shape(b)))


def _where(site: Site, allowed: Term, mask: Term) -> Term:
    if isinstance(allowed, np.ndarray) and isinstance(mask, np.ndarray):
        return np.where(allowed, mask, np.asarray(-np.inf, mask.dtype))
    dtype = ir.tensor(mask).dtype if isinstance(mask, np.ndarray) else mask.dtype
    assert dtype is not None, "checked by the caller"
    never = site.constant("never", np.asarray(-np.inf, dtype.numpy()))
    out = site.op("Where", [as_value(site, allowed, "allowed"), as_value(site, mask, "given"), never], "masked")
    return _made(out, dtype, np.broadcast_shapes(_shape(allowed), _shape(mask)))


def as_value(site: Site, term: Term, role: str) -> ir.Value:
    """The term as an input of a node."""
    return site.constant(role, term) if isinstance(term, np.ndarray) else term


def _made(value: ir.Value, dtype: ir.DataType, shape: tuple[int, ...]) -> ir.Value:
    """The value with type and shape, which inference would find only after the pass."""
    value.type, value.shape = ir.TensorType(dtype), ir.Shape(shape)
    return value


def _shape(term: Term) -> tuple[int, ...]:
    shape = term.shape if isinstance(term, np.ndarray) else static_shape(term)
    assert shape is not None, "checked by the caller"
    return tuple(shape)


def is_plain(mask: ir.Value | None, lengths: Lengths) -> bool:
    """Whether the mask has the form of `whole_mask` already."""
    dims = None if mask is None else static_shape(mask)
    return mask is None or (rank(mask) in (2, 4) and dims is not None and dims[-2:] == (lengths.queries, lengths.keys))
