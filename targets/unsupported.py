"""Why an operator without a lowering has none, and what to do about it."""

from __future__ import annotations

import onnx_ir as ir

from edgeport.targets.lowering import Refused

_COUNTED = "the size of its result depends on the data, and the file has static shapes"
_WHOLE = "a pass writes it in other operators"
_REASONS: dict[str, tuple[str, str]] = {
    "Compress": (f"{_COUNTED}; a constant condition works", "keep all elements and multiply by the condition"),
    "ConstantOfShape": ("its shape is computed at run time", "fix the dimensions with --input"),
    "CumProd": (f"{_WHOLE} for a constant axis of known size only", "make its axis a constant"),
    "DFT": (
        f"{_WHOLE} for a known length of up to 2,000 or so only",
        "make its length and axis constants, or split it",
    ),
    "Det": (f"{_WHOLE} for matrices of known size up to 6 x 6 only", "compute it after the model"),
    "Einsum": (f"{_WHOLE} where all dimensions but one are known", "fix the dimensions with --input"),
    "EyeLike": ("the shape of its input is not known", "fix the dimensions with --input"),
    "If": (
        "its condition is computed at run time, and its branches differ in shape or may fail where not taken",
        "export the model with the branch that you need",
    ),
    "Loop": ("a small known number of rounds only is written out", "export the model with the loop written out"),
    "NonZero": (_COUNTED, "compute with a mask instead, or end the model before it"),
    "Range": ("its limits are computed at run time", "fix the dimensions with --input, or make its limits constants"),
    "Scan": ("a small known number of rounds only is written out", "export the model with the loop written out"),
    "RoiAlign": (f"{_WHOLE} for constant regions or with a sampling_ratio only", "give a sampling_ratio"),
    "STFT": (f"{_WHOLE} for constant step and window only", "make them and the number of samples constants"),
    "Unique": (_COUNTED, "end the model before it"),
}


def unsupported(node: ir.Node) -> Refused:
    """The refusal of a node for which nothing is registered."""
    if node.domain not in ("", "ai.onnx"):
        return Refused(f"operator {node.domain}::{node.op_type} is not supported", code="unsupported-op")
    name = node.op_type
    if name == "NonMaxSuppression":
        ends = " and ".join(repr(v.name) for v in node.inputs[:2] if v is not None)
        hint = f"end the model at {ends} and suppress on the device after it"
        return Refused(f"operator {name} is not supported: {_COUNTED}", hint, "unsupported-op")
    if name not in _REASONS:
        return Refused(f"operator {name} is not supported", code="unsupported-op")
    why, hint = _REASONS[name]
    return Refused(f"operator {name} is not supported here: {why}", hint, "unsupported-op")
