"""Second half of planning: statistics -> ranges -> the plan."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Protocol

import numpy as np
import onnx_ir as ir

from edgeport.errors import CalibrationError
from edgeport.quantize.assign import Assignment
from edgeport.quantize.clusters import Cluster
from edgeport.quantize.four_bits import four_bit_qparams
from edgeport.quantize.groups import KernelGroup
from edgeport.quantize.importance import ChannelMoments, Channels, added_means, importance
from edgeport.quantize.masking import mask_ranges
from edgeport.quantize.operands import integer_inputs, rule_of
from edgeport.quantize.plan import Compression, Plan, QParams, TensorPlan
from edgeport.quantize.ranges import activation_qparams, float8_qparams, weight_qparams
from edgeport.quantize.rounding_shift import Moments, rounding_shifts
from edgeport.quantize.saturation import Interval
from edgeport.quantize.scheme import OpRule, Scheme
from edgeport.quantize.weight_storage import palettize, sparsify
from edgeport.sample import Array

_LARGEST_SCALE = 1e30


class Ranges(Protocol):
    """Gives the clipping interval of a tensor, as chosen from its statistics."""

    def __call__(self, tensor: str, within: Interval, symmetric: bool) -> Interval:
        """The interval inside of `within`, [-a, a] if symmetric; raises KeyError for a tensor without statistics."""


def _unknown(tensor: str) -> tuple[float, float] | None:
    return None


def _unmeasured(tensor: str, axis: int) -> ChannelMoments | None:
    return None


class UnsettledError(Exception):
    """Kernels demand scales of each other's outputs that no numbers satisfy: `names` are tensors that must be float."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(", ".join(names))
        self.names = names


def make_plan(
    assignment: Assignment,
    scheme: Scheme,
    ranges: Ranges | None,
    method: str,
    moments: Moments = _unknown,
    channels: Channels = _unmeasured,
) -> Plan:
    """Gives every tensor of an assignment its parameters.

    Args:
        assignment: kernels and tensors to quantize.
        scheme: the scheme it was made under.
        ranges: clipping intervals of activations; None if the scheme needs none.
        method: name of the range method, for the reasons.
        moments: of activations; None where they are not known.
        channels: moments of the channels of activations; None where they are not known.

    Raises:
        CalibrationError: statistics of a tensor are missing.
        UnsettledError: some scales grow without end.
    """
    tensors: dict[str, TensorPlan] = {}
    masks = {}
    if scheme.everywhere:
        clusters = {name: cluster for cluster in assignment.clusters for name in cluster.members}
        masks = mask_ranges(assignment.integer_groups, lambda v: _spread(clusters[v.name or ""], ranges))
    for cluster in assignment.clusters:
        masked = [masks[name] for name in cluster.members if name in masks]
        if masked:
            low, high = min(a for a, _ in masked), max(b for _, b in masked)
            qparams, reason = activation_qparams(low, high), f"[{low:.6g}, {high:.6g}] of masked attention scores"
        else:
            qparams, reason = _cluster_qparams(cluster, scheme, ranges, method)
        for name in cluster.members:
            tensors[name] = TensorPlan(name, "activation", qparams, reason)
    _limit_gains(tensors, assignment, scheme)
    for name, (value, axis) in assignment.weights.items():
        tensors[name] = _weight(value, axis, assignment.kernels[name], tensors, scheme, channels)

    def parameters(name: str) -> QParams | None:
        return tensors[name].qparams if name in tensors else None

    shifts = dict(rounding_shifts(assignment.integer_groups, parameters, moments))
    for name, (value, _) in assignment.weights.items():
        stored: Compression | None = tensors[name].stored
        corrected = [g for g in assignment.kernels[name] if rule_of(g.anchor, scheme).gives_floats]
        if stored is None and corrected:
            stored = tensors[name].qparams
        if stored is not None:
            shifts |= added_means(value, stored, assignment.kernels[name], channels)
    layers = {name: part.precision for name, part in scheme.layers.items()}
    return Plan(scheme.precision, tensors, assignment.nodes, shifts=shifts, layers=layers)


def _weight(
    value: ir.Value,
    axis: int | None,
    groups: tuple[KernelGroup, ...],
    tensors: Mapping[str, TensorPlan],
    scheme: Scheme,
    channels: Channels,
) -> TensorPlan:
    """How the weights of some kernels are stored; `tensors` holds the plans of their activations."""
    name = value.name or ""
    kernel, here = scheme.kernel_of(groups[0].anchor), scheme.at(groups[0].anchor)
    if kernel == "fp16-weights":
        return TensorPlan(name, "weight", None, "stored as float16")
    if kernel in ("palettized", "sparse"):
        counts = importance(value, groups, channels)
        if kernel == "palettized":
            palette, said = palettize(constant(value), axis, here, counts)
            return TensorPlan(name, "weight", None, said, palette)
        sparse, said = sparsify(constant(value), here, counts)
        return TensorPlan(name, "weight", None, said, sparse)
    if kernel.startswith("int4") and axis is not None and (entry := _four_bits(value, axis, here)) is not None:
        return entry
    if kernel == "fp8":
        low, high = _extremes(constant(value))
        return TensorPlan(name, "weight", float8_qparams(low, high), "8-bit floats, per tensor")
    granularity = "per tensor" if axis is None else f"one scale a channel (axis {axis})"
    qparams = weight_qparams(constant(value), axis, _biases(groups, tensors, scheme), here.weight_steps)
    return TensorPlan(name, "weight", qparams, f"symmetric int8, {granularity}")


def _four_bits(value: ir.Value, axis: int, scheme: Scheme) -> TensorPlan | None:
    """int4 for weights whose channels fill whole bytes; None for other constants, which get int8."""
    weight = constant(value)
    if weight.ndim < 2 or axis not in (0, 1) or (weight.size // max(1, weight.shape[axis])) % 2:
        return None
    length = weight.shape[1 - axis]
    block = _block(length, scheme)
    if block is None and scheme.block is not None and scheme.least_block is not None:
        return None
    if block is None:
        said = (
            "one scale a channel"
            if scheme.block is None
            else f"one scale a channel ({length} is no multiple of {scheme.block})"
        )
    else:
        said = f"one scale a block of {block}"
    qparams = four_bit_qparams(weight, axis, block)
    return TensorPlan(value.name or "", "weight", qparams, f"symmetric int4, {said}, least squared error")


def _block(length: int, scheme: Scheme) -> int | None:
    """The largest block that the scheme takes and that divides a channel's weights; None if there is none."""
    block = scheme.block
    while block is not None and length % block:
        block = block // 2 if scheme.least_block is not None and block >= 2 * scheme.least_block else None
    return block


def _limit_gains(tensors: dict[str, TensorPlan], assignment: Assignment, scheme: Scheme) -> None:
    """Coarsens output scales that are finer than `scheme.max_gain` allows.

    Nothing is lost that was there: the operands' own rounding is `max_gain` times as large. A coarser scale may
    concern the next kernel, hence the rounds; no chain is longer than all kernels. Scales that still grow after them
    depend on themselves:

        x --> Mul(x, x) --> Concat(x, .)       step**2 / max_gain <= step, for steps over max_gain
    """
    clusters = {name: cluster for cluster in assignment.clusters for name in cluster.members}
    changed: list[str] = []
    for _ in range(len(assignment.integer_groups) + 1):
        changed = []
        for group in assignment.integer_groups:
            output = tensors.get(group.output.name or "")
            if output is None or output.qparams is None:  # ArgMax leaves no quantized value
                continue
            least = _finest(group, rule_of(group.anchor, scheme), tensors, scheme)
            if least > _LARGEST_SCALE:
                raise UnsettledError((output.name,))
            if float(output.qparams.scale) >= np.float32(least):
                continue
            qparams = replace(output.qparams, scale=np.asarray(np.float32(least)))
            reason = f"{output.reason}; step {least:.6g} for the kernel of {group.anchor.op_type} {group.anchor.name}"
            for name in clusters[output.name].members:
                tensors[name] = replace(tensors[name], qparams=qparams, reason=reason)
            changed.append(output.name)
        if not changed:
            return
    raise UnsettledError(tuple(changed))


def _finest(group: KernelGroup, rule: OpRule, tensors: Mapping[str, TensorPlan], scheme: Scheme) -> float:
    """The finest output scale that the group's kernel takes; 0 where it takes any."""
    inputs = [tensors[v.name or ""].qparams for v in integer_inputs(group, rule)]
    scales = [float(q.scale) for q in inputs if q is not None]
    if rule.result_step is not None:
        return rule.result_step(scales) / scheme.max_gain
    weight = group.anchor.inputs[rule.weight] if rule.weight is not None else None
    if weight is None or weight.const_value is None or not math.isfinite(scheme.max_product_gain):
        return 0.0
    axis = rule.weight_axis if scheme.at(group.anchor).per_channel else None
    steps = weight_qparams(constant(weight), axis, _biases((group,), tensors, scheme)).scale
    return scales[0] * float(np.max(steps, initial=0.0)) / scheme.max_product_gain


def _biases(
    groups: Iterable[KernelGroup], tensors: Mapping[str, TensorPlan], scheme: Scheme
) -> list[tuple[QParams | None, Array]]:
    """Of every group whose bias is constant and must fit integers: the parameters of its input, and the bias."""
    return [
        (_input_qparams(group, tensors), constant(group.bias_value))
        for group in groups
        if group.bias_value is not None and group.bias_value.const_value is not None
        if not rule_of(group.anchor, scheme).gives_floats
    ]


def constant(value: ir.Value) -> Array:
    """The array of a constant value."""
    assert value.const_value is not None
    return value.const_value.numpy()


def _input_qparams(group: KernelGroup, tensors: Mapping[str, TensorPlan]) -> QParams | None:
    value = group.anchor.inputs[0]
    entry = tensors.get(value.name or "") if value is not None else None
    return entry.qparams if entry else None


def _cluster_qparams(cluster: Cluster, scheme: Scheme, ranges: Ranges | None, method: str) -> tuple[QParams, str]:
    if cluster.fixed is not None:
        return cluster.fixed, "fixed by the kernel"
    symmetric = scheme.symmetric_activations or cluster.symmetric
    low, high = _spread(cluster, ranges, symmetric)
    if scheme.eight_bit_floats:
        qparams = float8_qparams(low, high)
    else:
        qparams = activation_qparams(low, high, symmetric=symmetric, wide=scheme.wide)
    sources = [v.name or "" for v in cluster.sources]
    if len(cluster.members) == 1:
        origin = "its own values" if cluster.sources[0].const_value is not None else method
    else:
        shown = ", ".join(sources[:3]) + (f" and {len(sources) - 3} more" if len(sources) > 3 else "")
        origin = f"{method} over {shown}; shared by {len(cluster.members)} tensors"
    return qparams, f"[{low:.6g}, {high:.6g}] by {origin}"


def _spread(cluster: Cluster, ranges: Ranges | None, symmetric: bool = False) -> Interval:
    """The range over all members of a cluster."""
    low, high = 0.0, 0.0
    for value in cluster.sources:
        a, b = _interval(value, ranges, cluster.within, symmetric)
        low, high = min(low, a), max(high, b)
    return low, high


def _extremes(array: Array) -> Interval:
    return (float(np.min(array)), float(np.max(array))) if array.size else (0.0, 0.0)


def _interval(value: ir.Value, ranges: Ranges | None, within: Interval, symmetric: bool) -> Interval:
    if value.const_value is not None:
        return _extremes(constant(value))
    if ranges is None:
        raise CalibrationError(f"tensor {value.name}: int8 needs a range, and no calibration data was given (--calib)")
    try:
        return ranges(value.name or "", within, symmetric)
    except KeyError:
        raise CalibrationError(
            f"tensor {value.name}: the statistics do not cover it; calibrate again with this target and precision"
        ) from None
