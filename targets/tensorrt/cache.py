"""The calibration cache of a float file: the scale of every float tensor, for implicit int8 and the accelerators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from edgeport.findings import Finding
from edgeport.observed_form import same_elements
from edgeport.quantize.plan import Plan
from edgeport.quantize.ranges import activation_qparams
from edgeport.targets.tensorrt.board import Board
from edgeport.targets.tensorrt.cache_file import CalibrationCache, can_name
from edgeport.targets.tensorrt.version import Version

_SHOWN = 3
_NAMES_LAYERS = Version(10, 0)
_MASKING = -1e3
"""Scores as low as this are masked: no sum of products gets there."""
_BETWEEN = frozenset({"Add", "Where", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Slice", "Expand"})
"""What may stand between a mask and its Softmax."""
_PARTS = frozenset({
    "Conv", "ConvTranspose", "BatchNormalization", "InstanceNormalization", "LSTM", "GRU", "RNN", "Clip", "Pad",
    "Resize", "Upsample", "OneHot", "Range", "ConstantOfShape", "NonMaxSuppression", "RoiAlign",
})  # fmt: skip
"""Operators whose constants are part of the layer; those of others are layers of their own."""
_OPENED = frozenset({"LSTM", "GRU", "RNN", "Loop", "Scan", "If"})


def calibration_cache(float_model: ir.Model, plan: Plan, board: Board) -> tuple[bytes, tuple[Finding, ...]]:
    """The cache that goes with a float file, and what it does not cover.

    A tensor that the Q/DQ file quantizes has the same scale there. One that was 0 in every sample gets scale 1: 0
    is exact at any scale, while TensorRT refuses scale 0, and its own calibrator gives such a tensor none, so that its
    neighbours fall back to float. What the parser makes by itself has an entry under the name that parsers
    since TensorRT 10 give it: constants that are no part of a layer, and what Softmax gives before it has its name.
    Older ones number such tensors with the layers.

    Args:
        float_model: the graph of the file, see `cache_form.in_cache_form`; its opset may be lowered.
        plan: with the `ranges` of that graph's tensors.
        board: whose oldest TensorRT the header names; the script on the board writes its own there.

    Returns:
        The bytes of the file; findings about tensors without a scale: layers that read or write them run in float.
    """
    scales: dict[str, float] = {}
    missing: dict[str, list[str]] = {}
    masked = _masked(float_model.graph, plan)
    asked = {v.name for n in float_model.graph if plan.precision_of(n.name) != plan.precision for v in n.outputs}
    groups = same_elements(float_model.graph)
    for name, group in groups.items():
        found = "another precision was asked for" if name in asked else _scale(name, group, plan, masked)
        if isinstance(found, str):
            missing.setdefault(found, []).append(name)
        else:
            scales[name] = found
    for name, scale in _parsers_own(float_model.graph, scales, masked):
        if name not in groups and can_name(name) and board.newest >= _NAMES_LAYERS:
            scales.setdefault(name, scale)
    findings = [_uncovered(reason, names) for reason, names in missing.items()]
    findings += _closed(float_model.graph)
    return CalibrationCache(board.oldest.calibration_token, scales).to_bytes(), (*findings, *_for_accelerators(board))


def _scale(name: str, group: Sequence[str], plan: Plan, masked: set[str]) -> float | str:
    """The scale of a tensor, or why it has none."""
    if not can_name(name):
        return "a cache cannot hold their names"
    if name in masked:
        return "a mask takes the step from all other scores"
    for one in (name, *group):
        qparams = plan.qparams(one)
        if qparams is not None and qparams.dtype == "int8" and qparams.scale.size == 1:
            return float(qparams.scale.reshape(()))
    known = next((one for one in (name, *group) if one in plan.ranges), None)
    if known is None:
        return "the statistics do not cover them"
    interval = plan.ranges[known]
    return "they were NaN or infinite in calibration" if interval is None else _symmetric(interval)


def _symmetric(interval: tuple[float, float]) -> float:
    return float(activation_qparams(*interval, symmetric=True).scale)


def _masked(graph: ir.Graph, plan: Plan) -> set[str]:
    """Attention scores with what is added to them so that some do not count, and what that is."""
    leading = {node.inputs[0] for node in graph if node.op_type == "Softmax"}
    for node in reversed(graph):
        if node.op_type in _BETWEEN and not leading.isdisjoint(node.outputs):
            leading.update(node.inputs)
    low: set[ir.Value | None] = set()
    for value in (*graph.initializers.values(), *graph.inputs, *(v for node in graph for v in node.outputs)):
        maker = value.producer()
        if value not in leading or value.dtype != ir.DataType.FLOAT:
            continue
        passed_on = maker is not None and maker.op_type in _BETWEEN and not low.isdisjoint(maker.inputs)
        if passed_on or _reaches_a_mask(value, plan):
            low.add(value)
    return {value.name or "" for value in low if value is not None}


def _reaches_a_mask(value: ir.Value, plan: Plan) -> bool:
    if value.const_value is not None:
        return value.const_value.size > 0 and float(value.const_value.numpy().min()) < _MASKING
    interval = plan.ranges.get(value.name or "", (0.0, 0.0))
    return interval is None or interval[0] < _MASKING


def _parsers_own(graph: ir.Graph, scales: Mapping[str, float], masked: set[str]) -> list[tuple[str, float]]:
    """Tensors that the parser makes beside those of the graph, with their scales."""
    found = []
    for name, value in graph.initializers.items():
        if value.const_value is None or value.dtype != ir.DataType.FLOAT or name in masked:
            continue
        if all(use.node.op_type in _PARTS for use in value.uses()):
            continue
        peak = float(np.abs(value.const_value.numpy()).max(initial=0.0))
        if np.isfinite(peak):
            found.append((f"{name}_output", _symmetric((-peak, peak))))
    for node in graph:
        name = node.outputs[0].name or ""
        if node.op_type == "Softmax" and name in scales:
            found.append((f"{node.name}_output", scales[name]))
    return found


def _uncovered(reason: str, names: Sequence[str]) -> Finding:
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    message = f"{len(names)} tensor(s) have no scale in the calibration cache, because {reason}: {shown}"
    return Finding("warning", "no-scale", message, hint="layers that read or write them run in float16 or float32")


def _closed(graph: ir.Graph) -> list[Finding]:
    """Operators that the parser opens, into tensors that only it knows."""
    found = [node for node in graph if node.op_type in _OPENED]
    if not found:
        return []
    ops = ", ".join(sorted({node.op_type for node in found}))
    message = (
        f"{len(found)} node(s) ({ops}) run in float with the calibration cache: their inner tensors have no scales"
    )
    return [Finding("info", "float-inside", message)]


def _for_accelerators(board: Board) -> tuple[Finding, ...]:
    if not board.dla:
        return ()
    message = (
        f"{board.device} has {board.dla} deep learning accelerator(s): they take the float32 file with "
        "calibration.cache, not the file with Q/DQ"
    )
    return (Finding("info", "dla", message),)
