"""RotaryEmbedding becomes two products and a sum.

    cos, sin --> Gather(position_ids) --> Concat(cos, cos), Concat(-sin, sin) --.
    x [.., D] --+-----------------------------------------------> Mul(cos) --> Add --> y
                `--> Split --> Concat(second half, first half) --> Mul(sin) ----^

The doubled tables are constants where the caches are. Interleaved: the halves are the even and the odd elements, so
pairs are swapped and tables hold every element twice. Only the first `rotary_embedding_dim` elements turn; 3-D x is
split into heads by a Reshape and never transposed. Su et al. 2021, arXiv 2104.09864, equation 34; ONNX operator
RotaryEmbedding-23.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int, input_of, nodes, rank, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site


@register("expand_rotary_embedding")
def expand_rotary_embedding(model: ir.Model) -> bool:
    """Expands every RotaryEmbedding whose head size is known."""
    changed = False
    for node in nodes(model, "RotaryEmbedding"):
        changed |= _expand(Site(model, node))
    return changed


def _expand(site: Site) -> bool:
    node = site.node
    x, positions, y = node.inputs[0], input_of(node, 3), node.outputs[0]
    flat = rank(x) == 3
    heads = get_int(node, "num_heads", 0)
    hidden = x.shape[-1] if x is not None and x.shape is not None else None
    if x is None or rank(x) not in (3, 4) or not isinstance(hidden, int) or (flat and not heads):
        return False
    size = hidden // heads if flat else hidden
    turning = get_int(node, "rotary_embedding_dim", 0) or size
    interleaved = bool(get_int(node, "interleaved", 0))
    if turning % 2 or turning > size:
        return False
    head_axis = 2 if flat else 1
    cos, sin = (_table(site, i, role, interleaved) for i, role in ((1, "cos"), (2, "sin")))
    if positions is not None:
        cos, sin = (site.op("Gather", [table, positions], f"{r}_at") for table, r in ((cos, "cos"), (sin, "sin")))
    axis = site.constant("head_axis", np.asarray([head_axis], np.int64))
    cos, sin = (site.op("Unsqueeze", [table, axis], f"{r}_by_head") for table, r in ((cos, "cos"), (sin, "sin")))
    if flat:
        x = site.reshape(x, (0, 0, heads, size), "heads")
    rest = None
    if turning < size:
        parts = site.constant("parts", np.asarray([turning, size - turning], np.int64))
        x, rest = site.several("Split", [x, parts], ("turning", "rest"), axis=-1)
    swapped = _swapped_pairs(site, x, turning) if interleaved else _swapped_halves(site, x)
    whole = rest is None and not flat
    terms = [site.op("Mul", [x, cos], "by_cos"), site.op("Mul", [swapped, sin], "by_sin")]
    if whole:
        take_over(y, "Add", terms)
        return True
    turned = site.op("Add", terms, "turned")
    if rest is not None and not flat:
        take_over(y, "Concat", [turned, rest], {"axis": -1})
        return True
    if rest is not None:
        turned = site.op("Concat", [turned, rest], "whole", axis=-1)
    take_over(y, "Reshape", [turned, site.constant("shape", np.asarray([0, 0, -1], np.int64))])
    return True


def _table(site: Site, index: int, role: str, interleaved: bool) -> ir.Value:
    """A cache with an entry for every element of x; the sine is negative where it multiplies the second half."""
    table = site.node.inputs[index]
    assert table is not None
    first = site.op("Neg", [table], "minus_sin") if role == "sin" else table
    if not interleaved:
        return site.op("Concat", [first, table], f"{role}_table", axis=-1)
    last = site.constant("last_axis", np.asarray([-1], np.int64))
    pair = [site.op("Unsqueeze", [t, last], f"{role}_{i}") for i, t in enumerate((first, table))]
    paired = site.op("Concat", pair, f"{role}_pairs", axis=-1)
    return site.reshape(paired, (*(0,) * ((rank(table) or 2) - 1), -1), f"{role}_table")


def _swapped_halves(site: Site, x: ir.Value) -> ir.Value:
    first, second = site.several("Split", [x], ("first", "second"), axis=-1, num_outputs=2)
    return site.op("Concat", [second, first], "swapped", axis=-1)


def _swapped_pairs(site: Site, x: ir.Value, size: int) -> ir.Value:
    pairs = site.reshape(x, (0, 0, 0, size // 2, 2), "pairs")
    even, odd = site.several("Split", [pairs], ("even", "odd"), axis=-1, num_outputs=2)
    return site.reshape(site.op("Concat", [odd, even], "swapped_pairs", axis=-1), (0, 0, 0, size), "swapped")
