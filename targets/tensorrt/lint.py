"""Any ONNX model, quantized by whatever tool or not at all, against TensorRT's rules.

The rules are in `rules/`; what they rest on is NVIDIA's documentation, the sources of its ONNX parser, and what that
parser did with models that break them.
"""

from __future__ import annotations

import onnx_ir as ir

from edgeport.findings import Finding
from edgeport.passes.infer_shapes import infer_shapes
from edgeport.passes.inline_functions import inline_functions
from edgeport.targets.tensorrt import rules  # noqa: F401 - registers them
from edgeport.targets.tensorrt.board import Board
from edgeport.targets.tensorrt.rules.reading import Reading
from edgeport.targets.tensorrt.rules.registry import broken


def lint(model: ir.Model, board: Board) -> list[Finding]:
    """Every place where a model breaks a rule, in the order of the rules.

    Args:
        model: any ONNX model in any opset; it is not changed. Nodes should have names.
        board: where it is to run.

    Raises:
        ModelError: the model's own functions call each other in a circle.
    """
    copy = model.clone()
    inline_functions(copy)
    infer_shapes(copy)
    return broken(Reading(copy, board))
