"""Calls of model-local functions are replaced by the functions' bodies.

    x --> my.domain::Block --> y      ==>      x --> Conv --> Relu --> y

Applies to every call of a function that the model defines, nested calls included.
"""

from __future__ import annotations

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
    try:
        return bool(common.InlinePass()(model).modified)
    except (ValueError, ir.passes.PassError) as error:
        raise ModelError(f"the model's functions cannot be inlined: {str(error).splitlines()[0]}") from error
