"""The forms of operators that the board's parser and opset have, where the canonical graph has others."""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.edit import nodes
from edgeport.passes.pipeline import rewritten
from edgeport.targets.opset.schema import schema_of
from edgeport.targets.tensorrt.board import Board
from edgeport.targets.tensorrt.limits import objections_to
from edgeport.targets.tensorrt.operators import imports
from edgeport.targets.tensorrt.passes import plain_pools, resize_products  # noqa: F401  (they register themselves)
from edgeport.targets.tensorrt.version import Version

ALWAYS: tuple[str, ...] = (
    "pad_all_axes",
    "resize_all_axes",
    "resize_as_products",
    "plain_pools",
    "loop_conditions",
    "expand_layer_norm_statistics",
    "expand_bitwise",
    "matrix_products",
)
"""Passes for what no TensorRT takes, or not all alike; they leave everything else alone."""
LACKING: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Attention", ("expand_attention", "spell_out_attention")),
    ("LayerNormalization", ("expand_layer_norm",)),
    ("RMSNormalization", ("expand_rms_norm",)),
    ("GroupNormalization", ("expand_group_norm",)),
    ("Gelu", ("expand_gelu",)),
    ("Swish", ("expand_swish",)),
    ("HardSwish", ("expand_hard_swish",)),
    ("Mish", ("expand_mish",)),
    ("TensorScatter", ("expand_tensor_scatter",)),
    ("GridSample", ("expand_grid_sample",)),
    ("Hardmax", ("expand_hardmax",)),
    ("OneHot", ("expand_one_hot",)),
    ("Trilu", ("expand_trilu",)),
    ("Reciprocal", ("expand_reciprocal",)),
    ("Celu", ("expand_celu",)),
    ("Shrink", ("expand_shrink",)),
    ("Round", ("expand_round",)),
    ("Sign", ("expand_sign",)),
    ("Xor", ("expand_xor",)),
    ("IsNaN", ("expand_is_nan",)),
    ("IsInf", ("expand_is_inf",)),
    ("Mod", ("expand_mod",)),
)
"""Operator -> the passes that write it in older ones, in order: a later pass may take up what an earlier one wrote."""
UNFIT: tuple[tuple[str, str], ...] = (
    ("CumSum", "expand_integer_cum_sum"),
    ("GridSample", "expand_grid_sample"),
    ("GRU", "expand_uncommon_recurrence"),
    ("LSTM", "expand_uncommon_recurrence"),
    ("Pow", "expand_integer_pow"),
    ("RNN", "expand_uncommon_recurrence"),
    ("ScatterElements", "expand_scatter_reduction"),
    ("ScatterND", "expand_scatter_reduction"),
)
"""Operator -> the pass that rewrites those of its nodes to which a parser that has the operator objects."""
_ANOTHER_BEFORE = {"GroupNormalization": 21}
"""Operators that had the same name and another meaning before an opset."""
_WRAPS = Version(10, 0), 19
"""TensorRT and opset since which Pad wraps around."""
_MIRRORS = Version(8, 2)
_CUBIC = Version(8, 5)
_SMALLEST = Version(10, 0)
"""TensorRT since which TopK certainly looks for the smallest where it is told to."""


def in_own_forms(model: ir.Model, board: Board) -> ir.Model:
    """A copy of the graph without what the board lacks, as far as older operators say it exactly.

    Tensors that stay keep their names. What has no older form is left in: the lowering of the opset, or the parser,
    names it.

    Args:
        model: the canonical graph, quantized or not.
        board: with the opset and the oldest TensorRT that must take the file.
    """
    passes = [*ALWAYS, *(name for op_type, names in LACKING if _is_lacking(op_type, board) for name in names)]
    if board.oldest < _MIRRORS:
        passes.append("gather_pads")
    elif board.oldest < _WRAPS[0] or board.opset < _WRAPS[1]:
        passes.append("gather_wrapped_pads")
    if board.oldest < _SMALLEST:
        passes.append("largest_top_k")
    if board.oldest < _CUBIC:
        passes.append("cubic_resize_as_products")
    unfit = {node.op_type for node in nodes(model, *dict(UNFIT)) if next(objections_to(node, board.oldest), None)}
    passes += [name for op_type, name in UNFIT if op_type in unfit]
    return rewritten(model, [*dict.fromkeys(passes), "squeeze_scalars", "widen_integers", "absorb_identities"])


def _is_lacking(op_type: str, board: Board) -> bool:
    if board.opset < _ANOTHER_BEFORE.get(op_type, 0) or schema_of(op_type, board.opset) is None:
        return True
    return not imports(op_type, board.oldest)
