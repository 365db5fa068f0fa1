"""The forms of operators that the board's parser and opset have, where the canonical graph has others."""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.pipeline import rewritten
from edgeport.targets.tensorrt.board import Board
from edgeport.targets.tensorrt.operators import imports
from edgeport.targets.tensorrt.opset.schema import schema_of

FORMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Attention", ("expand_attention", "spell_out_attention")),
    ("LayerNormalization", ("expand_layer_norm",)),
    ("RMSNormalization", ("expand_rms_norm",)),
    ("GroupNormalization", ("expand_group_norm",)),
    ("Gelu", ("expand_gelu",)),
    ("Swish", ("expand_swish",)),
    ("HardSwish", ("expand_hard_swish",)),
    ("Mish", ("expand_mish",)),
)
"""Operator -> the passes that write it in older ones, in order: a later pass may take up what an earlier one wrote."""
_ANOTHER_BEFORE = {"GroupNormalization": 21}
"""Operators that had the same name and another meaning before an opset."""


def in_own_forms(model: ir.Model, board: Board) -> ir.Model:
    """A copy of the graph without what the board lacks, as far as older operators say it exactly.

    Tensors that stay keep their names. What has no older form is left in: the lowering of the opset, or the parser,
    names it.

    Args:
        model: the canonical graph, quantized or not.
        board: with the opset and the oldest TensorRT that must take the file.
    """
    passes = [name for op_type, names in FORMS if _is_lacking(op_type, board) for name in names]
    return rewritten(model, passes)


def _is_lacking(op_type: str, board: Board) -> bool:
    if board.opset < _ANOTHER_BEFORE.get(op_type, 0) or schema_of(op_type, board.opset) is None:
        return True
    return not imports(op_type, board.oldest)
