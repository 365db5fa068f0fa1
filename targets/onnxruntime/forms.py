"""The forms of operators that older opsets have, and those that ONNX Runtime's rewritings leave right."""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.pipeline import rewritten
from edgeport.targets.onnxruntime.passes import (  # noqa: F401  (they register themselves)
    floats_between_integers,
    pooled_means,
    pools_behind_pads,
    relus_behind_products,
    sums_before_norms,
)
from edgeport.targets.opset.schema import schema_of

ALWAYS: tuple[str, ...] = (
    "floats_between_integers",
    "pooled_means",
    "pools_behind_pads",
    "relus_behind_products",
    "sums_before_norms",
)
LACKING: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Attention", ("expand_attention", "spell_out_attention")),
    ("RMSNormalization", ("expand_rms_norm",)),
    ("Gelu", ("expand_gelu",)),
    ("Swish", ("expand_swish",)),
    ("Mish", ("expand_mish",)),
    ("TensorScatter", ("expand_tensor_scatter",)),
    ("BitwiseAnd", ("expand_bitwise",)),
)
"""Operator -> the passes that write it in older ones, in order."""
_GROUP_NORM = 21
"""GroupNormalization had another meaning before."""
_WRAPS = 19
"""Opset since which Pad wraps around."""


def in_own_forms(model: ir.Model, opset: int) -> ir.Model:
    """A copy of a graph without what the opset lacks, as far as older operators say it exactly.

    Args:
        model: the canonical graph, quantized or not.
        opset: what it is going to be written in.
    """
    passes = [*ALWAYS, *(name for op, names in LACKING if schema_of(op, opset) is None for name in names)]
    if opset < _GROUP_NORM:
        passes.append("expand_group_norm")
    if opset < _WRAPS:
        passes.append("gather_wrapped_pads")
    return rewritten(model, [*passes, "squeeze_scalars", "absorb_identities"])
