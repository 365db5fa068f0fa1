"""Calls of model-local functions are replaced by the functions' bodies.

    x --> my.domain::Block --> y      ==>      x --> Conv --> Relu --> y

Applies to every call of a function that the model defines, nested calls included. A function may import another
opset than the model only as far as the operators it uses are the same in both (the ONNX IR specification, section
"Functions"); anything else is refused.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as common

from edgeport.errors import ModelError
from edgeport.passes.registry import register


@register("inline_functions")
def inline_functions(model: ir.Model) -> bool:
    """Inlines all functions.

    Raises:
        ModelError: functions that call each other in a circle.
    """
    if not model.functions:
        return False
    for function in model.functions.values():
        _check_opset(model, function)
    try:
        return bool(common.InlinePass()(model).modified)
    except (ValueError, ir.passes.PassError) as error:
        raise ModelError(f"the model's functions cannot be inlined: {str(error).splitlines()[0]}") from error


def _check_opset(model: ir.Model, function: ir.Function) -> None:
    outer, inner = model.opset_imports.get(""), function.opset_imports.get("")
    if inner is None or outer is None or inner == outer:
        return
    for node in function.all_nodes():
        if node.domain == "" and _since(node.op_type, inner) != _since(node.op_type, outer):
            raise ModelError(
                f"function '{function.name}' uses {node.op_type} of opset {inner}, the model has {outer} where it "
                "differs; export the model with one opset"
            )


def _since(op_type: str, version: int) -> int:
    try:
        return int(onnx.defs.get_schema(op_type, version, "").since_version)
    except onnx.defs.SchemaError:
        return 0
