"""The ONNX models of one export, in the board's opset: float32, its twin with halves, and the quantized one."""

from __future__ import annotations

import onnx_ir as ir

from edgeport.quantize.plan import Plan
from edgeport.targets.finite_masks import with_finite_masks
from edgeport.targets.opset.lower import lower_opset
from edgeport.targets.tensorrt.board import FIRST_TYPED, Board
from edgeport.targets.tensorrt.cache_form import in_cache_form
from edgeport.targets.tensorrt.dialect import quantized_graph
from edgeport.targets.tensorrt.forms import in_own_forms
from edgeport.targets.tensorrt.typed import with_halves
from edgeport.targets.unit_vectors import with_unit_vectors

TWIN = "-fp16"
"""Ends the key of a quantized model whose other floats are halves."""
_FLOATS = ("fp32", "fp16")


def has_cache(plan: Plan, board: Board) -> bool:
    """Whether a calibration cache goes with the float32 model, so that its tensors are those of the parser."""
    return plan.precision == "int8" and board.cache


def models_of(graph: ir.Model, plan: Plan, board: Board) -> dict[str, ir.Model]:
    """The models by what they compute in, the key of a file's name.

    `fp32` is always there, `fp16` where the board may want types in the file and more than fp32 was asked for. Where it
    always has a TensorRT that wants them, a quantized model has a twin with halves, too, e.g. `int8-fp16`.

    Raises:
        ModelError: the board's opset cannot express a node.
    """
    form = in_cache_form if has_cache(plan, board) else in_own_forms
    if plan.precision == "fp32":
        return {"fp32": lower_opset(form(graph, board), board.opset)}
    graph = with_finite_masks(graph, plan)  # --fp16 on the board would make -inf of them, and NaN of its multiples
    found = {"fp32": lower_opset(form(graph, board), board.opset)}
    if board.typed:
        formed = in_own_forms(with_unit_vectors(graph, plan), board)
        found["fp16"] = lower_opset(with_halves(formed, graph.graph, plan, board.opset), board.opset)
    if plan.precision not in _FLOATS:
        quantized = in_own_forms(quantized_graph(graph, plan), board)
        found[plan.precision] = lower_opset(quantized, board.opset)
        if board.typed and board.oldest >= FIRST_TYPED:
            formed = in_own_forms(quantized_graph(with_unit_vectors(graph, plan), plan), board)
            found[f"{plan.precision}{TWIN}"] = lower_opset(
                with_halves(formed, graph.graph, plan, board.opset), board.opset
            )
    return found
