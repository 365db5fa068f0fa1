"""Branches that cannot run with the shapes that the inputs were given.

A model for two sample rates holds both in an If, and each takes frames of its own length: with the frame's length
fixed, ONNX Runtime refuses the other branch. Then the one that fits is the model.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.errors import ModelError
from edgeport.findings import Finding
from edgeport.passes.edit import add_initializer
from edgeport.passes.fold_constants import fold_constants
from edgeport.passes.infer_shapes import infer_shapes
from edgeport.validate.onnx_runner import OnnxRunner


def load(model: ir.Model) -> OnnxRunner:
    """The graph in ONNX Runtime, without branches that are never taken with these shapes if it objects to them.

    TorchScript writes squeeze(1) as `Squeeze if the dimension is 1`, which contradicts any other dimension.

    Raises:
        ModelError: it does not load.
    """
    try:
        return OnnxRunner(model)
    except ModelError:
        if not any(node.op_type == "If" for node in model.graph.all_nodes()):
            raise
        copy = model.clone()
        infer_shapes(copy, discard=True)
        if not fold_constants(copy):
            raise
        return OnnxRunner(copy)


def keep_fitting_branch(model: ir.Model) -> list[Finding]:
    """Fixes the condition of an If of which one branch alone can run; for a graph that does not load as it is.

    Args:
        model: changed in place if there is such an If.

    Returns:
        A warning that names the If, or nothing.
    """
    for node in model.graph:
        if node.op_type != "If" or node.domain != "":
            continue
        fitting = [choice for choice in (True, False) if _loads(model, node.name, choice)]
        if len(fitting) == 1:
            _choose(model, node.name, fitting[0])
            taken = "then" if fitting[0] else "else"
            message = f"only the {taken} branch can run with these input shapes, so it is taken whatever the condition"
            return [Finding("warning", "branch-fixed", message, node.name, node.op_type)]
    return []


def _loads(model: ir.Model, name: str | None, choice: bool) -> bool:
    copy = model.clone()
    _choose(copy, name, choice)
    try:
        OnnxRunner(copy)
    except ModelError:
        return False
    return True


def _choose(model: ir.Model, name: str | None, choice: bool) -> None:
    """Puts the branch in the If's place at once: ONNX Runtime 1.31 crashes on some graphs where it does that itself."""
    node = next(node for node in model.graph if node.name == name)
    node.replace_input_with(0, add_initializer(model, f"{name}/condition", np.asarray(choice)))
    infer_shapes(model, discard=True)
    fold_constants(model)
