"""fp16: the note in the file that lets XNNPACK compute in float16 on cores that can (ARMv8.2 and later)."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.findings import Finding
from edgeport.quantize.plan import Plan

KEY, ALLOWED = "reduced_precision_support", b"fp16accfp16"
"""The delegate wants float16 arithmetic and float16 accumulation both allowed; `fp16accfp32` changes nothing."""
_LARGEST = float(np.finfo(np.float16).max)


def half_arithmetic(model: ir.Model, plan: Plan) -> tuple[dict[str, bytes], tuple[Finding, ...]]:
    """The metadata of a file with fp16 weights, or the reason why it must not have it.

    A constant beyond float16 becomes infinite there, and infinity times zero is NaN: a mask that is multiplied with
    -3.4e38 would destroy what it masks.
    """
    if plan.precision != "fp16":
        return {}, ()
    exact = sorted(name for name, precision in plan.layers.items() if precision == "fp32")
    if exact:
        message = f"node {exact[0]!r} is to compute in float32, so the file does not allow float16 arithmetic"
        hint = "weights are stored as float16 all the same, but for those of --layer-precision"
        return {}, (Finding("info", "no-float16-arithmetic", message, hint=hint),)
    for value in model.graph.initializers.values():
        if value.dtype != ir.DataType.FLOAT or value.const_value is None or not value.uses():
            continue
        data = value.const_value.numpy()
        if data.size and not float(np.abs(data).max()) <= _LARGEST:
            message = f"constant {value.name!r} is beyond float16, so the file does not allow float16 arithmetic"
            hint = "weights are stored as float16 all the same; a mask value of -1e4 would do"
            return {}, (Finding("info", "no-float16-arithmetic", message, hint=hint),)
    return {KEY: ALLOWED}, ()
