"""The ONNX models of one export, in the board's opset: float32, its twin with halves, and the quantized one."""

from __future__ import annotations

import onnx_ir as ir

from edgeport.quantize.plan import Plan
from edgeport.targets.tensorrt.board import Board
from edgeport.targets.tensorrt.dialect import quantized_graph
from edgeport.targets.tensorrt.forms import in_own_forms
from edgeport.targets.tensorrt.opset import lower_opset
from edgeport.targets.tensorrt.typed import half_ready, with_halves

_FLOATS = ("fp32", "fp16")


def models_of(graph: ir.Model, plan: Plan, board: Board) -> dict[str, ir.Model]:
    """The models by what they compute in, the key of a file's name.

    `fp32` is always there, `fp16` where the board may want types in the file and more than fp32 was asked for.

    Raises:
        ModelError: the board's opset cannot express a node.
    """
    found = {"fp32": lower_opset(in_own_forms(graph, board), board.opset)}
    if board.typed and plan.precision != "fp32":
        formed = in_own_forms(half_ready(graph, plan), board)
        found["fp16"] = lower_opset(with_halves(formed, graph.graph, plan, board.opset), board.opset)
    if plan.precision not in _FLOATS:
        quantized = in_own_forms(quantized_graph(graph, plan), board)
        found[plan.precision] = lower_opset(quantized, board.opset)
    return found
