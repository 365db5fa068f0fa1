"""Values inside of an operator that statistics and plans know by a name, though the canonical graph computes it whole.

Attention     y/scores     scale * Q K^T, before softcap and mask
              y/weights    the probabilities that multiply V
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

SCORES, WEIGHTS = "scores", "weights"
_POSITION = 3  # of the scores among the outputs of Attention-23 and later; by default they are as above


def inner_name(node: ir.Node, role: str) -> str:
    """The name of a value inside of a node."""
    return f"{node.outputs[0].name}/{role}"


def observable(graph: ir.Graph) -> Mapping[str, ir.Node]:
    """The inner values that a runtime can give out, with their nodes."""
    found = (n for n in graph if n.domain == "" and n.op_type == "Attention" and len(n.outputs) <= _POSITION)
    return {inner_name(node, SCORES): node for node in found}


def expose(node: ir.Node) -> ir.Value:
    """Makes an Attention give out its scores, under their name."""
    missing = range(len(node.outputs), _POSITION)
    node.resize_outputs(_POSITION + 1)
    for index in missing:
        node.outputs[index].name = ""
    node.attributes.pop("qk_matmul_output_mode", None)
    scores = node.outputs[_POSITION]
    scores.name, scores.type = inner_name(node, SCORES), ir.TensorType(ir.DataType.FLOAT)
    return scores
