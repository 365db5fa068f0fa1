"""What LiteRT's kernels do not take, found by trying each (LiteRT 2.3.0): better a finding than a file that fails."""

from __future__ import annotations

from collections.abc import Sequence

from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.registry import Refused

_NO_KERNEL = {
    "ABS": ("int64",),
    "ARG_MAX": ("int64",),
    "ARG_MIN": ("int64",),
    "CUMSUM": ("bool",),
    "BATCH_MATMUL": ("int32", "int64", "bool"),
    "DIV": ("int64",),
    "FULLY_CONNECTED": ("int32", "int64", "bool"),
    "POW": ("int64",),
    "REDUCE_MAX": ("bool",),
    "REDUCE_MIN": ("bool",),
    "SIGN": ("int64",),
}
"""Operand dtypes that LiteRT's kernels reject, some of them only when they run (LiteRT 2.3.0, each tried)."""
_UP_TO_6_AXES = frozenset(
    {
        "BATCH_MATMUL",
        "CONCATENATION",
        "FULLY_CONNECTED",
        "MEAN",
        "REDUCE_MAX",
        "REDUCE_MIN",
        "REDUCE_PROD",
        "SOFTMAX",
        "SPLIT",
        "SUM",
    }
)
"""Operators that XNNPACK claims for any rank and then fails to set up beyond 6 (LiteRT 2.3.0, each tried)."""
_BYTES_TOO = frozenset(
    {
        "ARG_MAX",
        "ARG_MIN",
        "BROADCAST_TO",
        "CAST",
        "CONCATENATION",
        "DYNAMIC_UPDATE_SLICE",
        "GATHER",
        "GATHER_ND",
        "ONE_HOT",
        "RESHAPE",
        "REVERSE_V2",
        "SELECT_V2",
        "SLICE",
        "STRIDED_SLICE",
        "TILE",
        "TOPK_V2",
        "TRANSPOSE",
    }
)
"""Operators that may touch 8-bit integers that are plain numbers; kernels of arithmetic take them for quantized."""

_DOUBLES_TOO = frozenset({"CAST", "RESHAPE"})
"""Operators that may touch float64, which only a model's inputs and outputs are."""

_HALVES_TOO = frozenset({"CAST", "DEQUANTIZE", "GATHER", "RESHAPE"})
"""Operators that may touch float16: what turns a float16 model's inputs, outputs and stored weights into float32."""


def check_kernel(code: str, inputs: Sequence[Tensor | None]) -> None:
    """Checks the operands of an operator that is about to be written.

    Raises:
        Refused: LiteRT has no kernel for their dtype or rank.
    """
    for tensor in inputs:
        if tensor is None:
            continue
        plain_bytes = tensor.dtype in ("int8", "uint8") and tensor.quant is None and code not in _BYTES_TOO
        if tensor.quant is None and (tensor.dtype in _NO_KERNEL.get(code, ()) or plain_bytes):
            hint = "cast to float32 or int32"
            raise Refused(f"TFLite has no {code} for {tensor.dtype}", hint, "unsupported-dtype")
        if tensor.dtype == "float16" and code not in _HALVES_TOO:
            raise Refused(f"TFLite has no {code} for float16", "cast to float32", "unsupported-dtype")
        if tensor.dtype == "float64" and code not in _DOUBLES_TOO:
            raise Refused(f"TFLite has no {code} for float64", "cast to float32", "unsupported-dtype")
        if len(tensor.shape) > 6 and code in _UP_TO_6_AXES:
            raise Refused(f"{code} takes up to 6 dimensions, not {len(tensor.shape)}", code="unsupported-shape")
